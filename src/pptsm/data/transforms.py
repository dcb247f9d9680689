"""From decoded frames to what the network sees: pure functions on uint8 RGB frames.

Shape legend: T frames, S segments, V views, H/W pixels. A box is (left, top, right, bottom) in pixels.
Resizing is Pillow's bilinear filter, which averages when it shrinks; so did the frames that the published
checkpoints were trained on.

Source: PaddleVideo's PP-TSM configurations and transforms (sizes, crop positions and their order).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]  # [T, H, W, 3]
ClipArray = NDArray[np.float32]  # [T, 3, H, W], normalised
Box = tuple[float, float, float, float]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
RESIZE_PX = 256
CROP_PX = 224
MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)


def resized_size(width: int, height: int, short_side_px: int, keep_aspect: bool) -> tuple[int, int]:
    """(width, height) after scaling the short side to `short_side_px`.

    Without `keep_aspect` the long side becomes 4/3 of the short one, as in the official pipeline. A frame
    whose short side already fits stays as it is, in both cases.
    """
    if min(width, height) == short_side_px:
        return width, height
    if width <= height:
        return short_side_px, int(short_side_px * (height / width if keep_aspect else 4 / 3))
    return int(short_side_px * (width / height if keep_aspect else 4 / 3)), short_side_px


def center_crop(width: int, height: int, crop_px: int) -> tuple[int, int]:
    """Left and top of the crop in the middle (halves rounded to even, as the official code does)."""
    return round((width - crop_px) / 2), round((height - crop_px) / 2)


def full_height_crops(width: int, height: int, crop_px: int) -> list[tuple[int, int]]:
    """Left and top of the three crops of a dense view, in the official order: left, right, centre."""
    step_x, step_y = (width - crop_px) // 4, (height - crop_px) // 4
    return [(0, 2 * step_y), (4 * step_x, 2 * step_y), (2 * step_x, 2 * step_y)]


def evaluation_views(
    frames: Frames,
    sampling: Literal["uniform", "dense"],
    keep_aspect: bool = False,
    *,
    resize_px: int = RESIZE_PX,
    crop_px: int = CROP_PX,
) -> ClipArray:
    """The frames of all views of a video, as the official evaluation orders them.

    Args:
        frames: uint8 RGB [n*S, H, W, 3], chosen by `uniform_indices` (n = 1) or `dense_indices`, clip by
            clip.
        sampling: "uniform" takes the centre crop, "dense" three crops at full height.
        keep_aspect: False distorts to 4:3 as the official pipeline does.
        resize_px: short side before the crop.
        crop_px: side of the square crop.

    Returns:
        float32 [V*S, 3, crop_px, crop_px], normalised; uniform V = n, dense V = 3*n with all clips of the
        left crop first, then the right, then the centre.
    """
    height, width = frames.shape[1:3]
    size = resized_size(width, height, resize_px, keep_aspect)
    resized = np.stack([_resize(frame, size) for frame in frames])
    corners = [center_crop(*size, crop_px)] if sampling == "uniform" else full_height_crops(*size, crop_px)
    crops = [resized[:, top : top + crop_px, left : left + crop_px] for left, top in corners]
    return normalise(np.concatenate(crops))


def training_clip(
    frames: Frames,
    rng: np.random.Generator,
    *,
    keep_aspect: bool,
    resize_px: int,
    crop_px: int,
    crop: Literal["multi_scale", "random"],
    flip: bool,
    brightness: float,
) -> ClipArray:
    """One randomly cropped, perhaps mirrored clip; the same crop for all its frames.

    The published recipe resizes, cuts a multi-scale box, resizes that and cuts again; here the boxes are
    composed first and every frame is resampled once, which is cheaper and a little sharper.

    Args:
        frames: uint8 RGB [T, H, W, 3].
        rng: source of every random choice.
        keep_aspect, resize_px, crop_px: as in `evaluation_views`.
        crop: "multi_scale" (scales 1, .875, .75, .66, aspect changed by one step at most) or "random"
            (any position, no change of scale).
        flip: mirror the clip left to right; the caller decides, for the label may change with it.
        brightness: largest change of brightness and of contrast, as a share.

    Returns:
        float32 [T, 3, crop_px, crop_px], normalised.
    """
    height, width = frames.shape[1:3]
    resized = resized_size(width, height, resize_px, keep_aspect)
    if crop == "multi_scale":
        left, top, box_width, box_height = multi_scale_box(*resized, resize_px, rng)
    else:
        left, top, box_width, box_height = 0.0, 0.0, float(resized[0]), float(resized[1])
    # the second, random crop of crop_px from the box, which stands for resize_px (multi_scale) or itself
    inner_width = box_width * crop_px / (resize_px if crop == "multi_scale" else resized[0])
    inner_height = box_height * crop_px / (resize_px if crop == "multi_scale" else resized[1])
    left += (box_width - inner_width) * rng.random()
    top += (box_height - inner_height) * rng.random()
    to_x, to_y = width / resized[0], height / resized[1]
    box = (left * to_x, top * to_y, (left + inner_width) * to_x, (top + inner_height) * to_y)
    pixels = np.stack([_resize(frame, (crop_px, crop_px), box) for frame in frames])
    if flip:
        pixels = pixels[:, :, ::-1]
    clip = normalise(pixels)
    if brightness > 0:
        gain, offset = 1 + rng.uniform(-brightness, brightness, size=2)
        clip = clip * np.float32(gain) + np.float32((offset - 1) / np.mean(STD))
    return clip


def multi_scale_box(
    width: int, height: int, target_px: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a random box: 4 scales, aspect distorted by one step, 13 positions.

    Sizes are shares of the short side; a size within 2 pixels of `target_px` becomes it.
    """
    base = min(width, height)
    sizes = [int(base * scale) for scale in MULTI_SCALES]
    sizes = [target_px if abs(size - target_px) < 3 else size for size in sizes]
    pairs = [(w, h) for i, h in enumerate(sizes) for j, w in enumerate(sizes) if abs(i - j) <= 1]
    box_width, box_height = pairs[rng.integers(len(pairs))]
    # clipped: the rounding up to target_px may leave the frame by a pixel
    box_width, box_height = min(box_width, width), min(box_height, height)
    step_x, step_y = (width - box_width) / 4, (height - box_height) / 4
    positions = box_positions(step_x, step_y)
    left, top = positions[rng.integers(len(positions))]
    return left, top, float(box_width), float(box_height)


def box_positions(step_x: float, step_y: float) -> list[tuple[float, float]]:
    """Left and top of a box at each of 13 places; a step is a quarter of the free room, in pixels.

    A box as wide or as high as the frame has no room to move that way, and places fall together. As in the
    official code a corner is then drawn once, but edge middles and quadrants count as often as they come.
    """
    corners = [(x, y) for x, y in ((0, 0), (4, 0), (0, 4), (4, 4)) if (step_x or not x) and (step_y or not y)]
    inner = [(2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]
    return [(x * step_x, y * step_y) for x, y in corners + inner]


def normalise(frames: Frames) -> ClipArray:
    """uint8 [T, H, W, 3] -> float32 [T, 3, H, W] with ImageNet's mean and standard deviation."""
    scale = (1 / (255 * np.array(STD))).astype(np.float32)
    offset = (np.array(MEAN) / np.array(STD)).astype(np.float32)
    return np.ascontiguousarray((frames * scale - offset).transpose(0, 3, 1, 2))


def contact_sheet(views: ClipArray, num_segments: int) -> Image.Image:
    """A picture of normalised views [V*S, 3, H, W], a row a view, in the colours that they had before `normalise`."""
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (MEAN, STD))
    pixels = ((views * std + mean) * 255).round().clip(0, 255).astype(np.uint8)
    height, width = pixels.shape[2:]
    rows = pixels.reshape(-1, num_segments, 3, height, width).transpose(0, 3, 1, 4, 2)  # [V, H, S, W, 3]
    return Image.fromarray(rows.reshape(-1, num_segments * width, 3))


def _resize(frame: NDArray[np.uint8], size: Sequence[int], box: Box | None = None) -> NDArray[np.uint8]:
    if box is None and (frame.shape[1], frame.shape[0]) == tuple(size):
        return frame
    image = Image.fromarray(frame)
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR, box=box))
