"""From decoded frames to what the network sees: pure functions on uint8 RGB frames, placed by `geometry`.

Shape legend: T frames, S segments, V views, H/W pixels. Resizing is Pillow's bilinear filter, which averages when it
shrinks; so did the frames that the published checkpoints were trained on.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.data.geometry import Box, Frames, Size, crop_places, in_stored_frame, resized_size, training_box
from pptsm.data.names import Sampling
from pptsm.data.sampling import DENSE_CLIPS, DENSE_WINDOW
from pptsm.data.spec import ClipSpec, official_spec

ClipArray = NDArray[np.float32]  # [T, 3, H, W], normalised
Triple = tuple[float, float, float]  # a number a channel

RESIZE_PX = 256
CROP_PX = 224


def views_of(frames: Frames, spec: ClipSpec, sampling: Sampling) -> ClipArray:
    """The frames of all evaluation views of a video.

    Args:
        frames: [n*S, H, W, 3], chosen by `evaluation_indices`, clip by clip.
        spec: sizes, aspect, mean and standard deviation, and the crops of either sampling.
        sampling: whose crops.

    Returns:
        float32 [V*S, 3, test_crop_px, test_crop_px], normalised; V = n times the number of crops, with all clips of the
        first crop first, then all of the second, and so on.
    """
    size, side = resized_size(frames.native, spec.resize_px, spec.aspect), spec.test_crop_px
    resized = np.stack([_resize(frame, size) for frame in frames.pixels])
    crops = []
    for left, top, mirrored in crop_places(spec.crops if sampling == "uniform" else spec.dense_crops, size, side):
        crop = resized[:, top : top + side, left : left + side]
        crops.append(crop[:, :, ::-1] if mirrored else crop)
    return normalise(np.concatenate(crops), spec.mean, spec.std)


def evaluation_views(
    frames: NDArray[np.uint8],
    sampling: Sampling,
    keep_aspect: bool = False,
    *,
    resize_px: int = RESIZE_PX,
    crop_px: int = CROP_PX,
) -> ClipArray:
    """`views_of` as the official evaluation of PP-TSM makes them, of frames in their native size.

    Args:
        frames: uint8 RGB [n*S, H, W, 3], chosen by `uniform_indices` (n = 1) or `dense_indices`, clip by
            clip.
        sampling: "uniform" takes the centre crop, "dense" three crops at full height.
        keep_aspect: False distorts to 4:3 as the official pipeline does.
        resize_px: short side before the crop.
        crop_px: side of the square crop.

    Returns:
        float32 [V*S, 3, crop_px, crop_px]; uniform V = n, dense V = 3*n.
    """
    spec = official_spec(
        num_segments=1,
        resize_px=resize_px,
        crop_px=crop_px,
        keep_aspect=keep_aspect,
        dense_window=DENSE_WINDOW,
        dense_clips=DENSE_CLIPS,
        sampling=sampling,
    )
    height, width = frames.shape[1:3]
    return views_of(Frames(frames, (width, height)), spec, sampling)


def training_clip(
    frames: Frames,
    spec: ClipSpec,
    rng: np.random.Generator,
    *,
    crop: Literal["multi_scale", "random"],
    flip: bool,
    brightness: float,
) -> ClipArray:
    """One randomly cropped, perhaps mirrored clip; the same crop for all its frames.

    Args:
        frames: [T, H, W, 3].
        spec: sizes, aspect, mean and standard deviation.
        rng: source of every random choice.
        crop: "multi_scale" (scales 1, .875, .75, .66, aspect changed by one step at most) or "random"
            (any position, no change of scale).
        flip: mirror the clip left to right; the caller decides, for the label may change with it.
        brightness: largest change of brightness and of contrast, as a share.

    Returns:
        float32 [T, 3, crop_px, crop_px], normalised.
    """
    size = resized_size(frames.native, spec.resize_px, spec.aspect)
    height, width = frames.pixels.shape[1:3]
    box = in_stored_frame(training_box(size, spec, crop, rng), size, (width, height))
    pixels = np.stack([_resize(frame, (spec.crop_px, spec.crop_px), box) for frame in frames.pixels])
    if flip:
        pixels = pixels[:, :, ::-1]
    clip = normalise(pixels, spec.mean, spec.std)
    if brightness > 0:
        gain, offset = 1 + rng.uniform(-brightness, brightness, size=2)
        clip = clip * np.float32(gain) + np.float32((offset - 1) / np.mean(spec.std))
    return clip


def normalise(pixels: NDArray[np.uint8], mean: Triple, std: Triple) -> ClipArray:
    """uint8 [T, H, W, 3] -> float32 [T, 3, H, W]; `mean` and `std` are of values in 0..1."""
    scale = (1 / (255 * np.array(std))).astype(np.float32)
    offset = (np.array(mean) / np.array(std)).astype(np.float32)
    return np.ascontiguousarray((pixels * scale - offset).transpose(0, 3, 1, 2))


def contact_sheet(views: ClipArray, spec: ClipSpec) -> Image.Image:
    """A picture of normalised views [V*S, 3, H, W], a row a view, in the colours that they had before `normalise`."""
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (spec.mean, spec.std))
    pixels = ((views * std + mean) * 255).round().clip(0, 255).astype(np.uint8)
    height, width = pixels.shape[2:]
    rows = pixels.reshape(-1, spec.segments, 3, height, width).transpose(0, 3, 1, 4, 2)  # [V, H, S, W, 3]
    return Image.fromarray(rows.reshape(-1, spec.segments * width, 3))


def _resize(frame: NDArray[np.uint8], size: Size, box: Box | None = None) -> NDArray[np.uint8]:
    if box is None and (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, box=box))
