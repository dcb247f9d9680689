"""The embedded dataset: a textured shape moves over a plain, noisy ground, drawn and encoded to real videos.

Eight classes in four pairs; each class is the other one of its pair played backwards. No frame, and no
set of frames without their order, tells the two apart: a network without the temporal shift cannot pass
50 %, one with it can be nearly perfect. That makes a run on this dataset a proof that the method works.

Array legend: T frames, H/W pixels; brightness and colour in 0..1 until a frame is finished.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pptsm.params.schema import Motion
from pptsm.runtime.console import progress
from pptsm.runtime.paths import StrPath
from pptsm.video.encode import write_video

Image = NDArray[np.float64]  # [H, W, 3] or [H, W], 0..1

# forward class -> the same played backwards
PAIRS = {"right": "left", "down": "up", "clockwise": "anticlockwise", "grow": "shrink"}
CLASSES = tuple(sorted([*PAIRS, *PAIRS.values()]))
TEXTURE_PX = 48


@dataclass(frozen=True)
class Pose:
    """Where the shape is in one frame: centre and half-size as shares of the frame, angle in radians."""

    x: float
    y: float
    half_size: float
    angle: float


def draw_dataset(folder: StrPath, params: Motion) -> int:
    """Write `videos_per_class` videos of each class as folder/<class>/<scene>_<number>.mp4.

    A scene fixes the look of the ground and of the shape; videos of one scene belong on the same side of
    a split. The same parameters give the same bytes.

    Returns:
        The number of videos written.
    """
    folder = Path(folder)
    jobs = [(name, number) for number in range(params.videos_per_class) for name in CLASSES]
    for name, number in progress(jobs, "motion", "videos"):
        scene = number % params.groups
        rng = np.random.default_rng([params.seed, CLASSES.index(name), number])
        scene_rng = np.random.default_rng([params.seed, 1_000 + scene])
        frames = draw_video(name, params, scene_rng, rng)
        path = folder / name / f"scene{scene:02d}_{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, params.fps, params.codec)
    return len(jobs)


def draw_video(
    name: str, params: Motion, scene_rng: np.random.Generator, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The frames [T, H, W, 3] of one video of class `name`.

    `scene_rng` decides the looks, `rng` where and how fast the shape moves, and the noise.
    """
    forward = name in PAIRS
    poses = trajectory(name if forward else _forward_of(name), params, rng)
    if not forward:
        poses.reverse()
    texture, ground = _texture(scene_rng), scene_rng.uniform(0.0, 0.2, size=3)
    corners = int(scene_rng.integers(3, 7))
    clean = np.stack([_draw_frame(pose, texture, ground, corners, params.frame_px) for pose in poses])
    noisy = clean + rng.normal(0, params.noise, size=clean.shape)
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)


def trajectory(name: str, params: Motion, rng: np.random.Generator) -> list[Pose]:
    """The poses of a forward class; their distribution as a set is that of the backward class too."""
    time = np.linspace(-0.5, 0.5, params.num_frames) * params.extent * rng.uniform(0.7, 1.0)
    x, y = rng.uniform(0.42, 0.58, size=2)
    half_size, angle = rng.uniform(0.2, 0.28), rng.uniform(0, 2 * np.pi)
    match name:
        case "right":
            return [Pose(x + t, y, half_size, angle) for t in time]
        case "down":
            return [Pose(x, y + t, half_size, angle) for t in time]
        case "clockwise":
            return [Pose(x, y, half_size * 1.25, angle + t * np.pi) for t in time]
        case "grow":
            return [Pose(x, y, half_size * float(np.exp(1.6 * t)), angle) for t in time]
    raise ValueError(f"no forward class named {name}")


def _forward_of(backward: str) -> str:
    return next(name for name, reverse in PAIRS.items() if reverse == backward)


def _texture(rng: np.random.Generator) -> Image:
    """A square [TEXTURE_PX, TEXTURE_PX, 3], light on one side of a wavy line through its middle, dark on the other.

    Lopsided on purpose: the turn of a pattern that looks alike from all sides could not be seen.
    """
    colours = np.stack([rng.uniform(0.7, 1.0, size=3), rng.uniform(0.2, 0.5, size=3)])
    axis = np.linspace(-1, 1, TEXTURE_PX)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    wave = 0.35 * np.sin(2 * np.pi * (rng.uniform(0.4, 1.0) * v + rng.uniform(0, 1)))
    share = 1 / (1 + np.exp(-12 * (u + wave)))[..., None]
    return np.asarray(share * colours[0] + (1 - share) * colours[1])


def _draw_frame(pose: Pose, texture: Image, ground: NDArray[np.float64], corners: int, frame_px: int) -> Image:
    """Sample the texture through the inverse of the pose; outside a regular polygon the ground shows."""
    axis = (np.arange(frame_px) + 0.5) / frame_px
    dy, dx = np.meshgrid(axis - pose.y, axis - pose.x, indexing="ij")
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    u, v = (dx * cos + dy * sin) / pose.half_size, (-dx * sin + dy * cos) / pose.half_size
    # distance to a regular polygon's edge along each ray, 1 at the corners
    sector = np.pi / corners
    ray = (np.arctan2(v, u) % (2 * sector)) - sector
    inside = np.hypot(u, v) * np.cos(ray) / np.cos(sector)
    edge = pose.half_size * frame_px
    alpha = np.clip((1 - inside) * edge + 0.5, 0, 1)[..., None]  # one pixel of anti-aliasing
    columns, rows = (np.clip((w + 1) / 2 * TEXTURE_PX, 0, TEXTURE_PX - 1).astype(int) for w in (u, v))
    return np.asarray(alpha * texture[rows, columns] + (1 - alpha) * ground)
