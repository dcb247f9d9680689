"""From decoded frames to what the network sees: pure functions on uint8 RGB frames, placed by `geometry`.

Pixels stay uint8, a quarter of the bytes, until they are where the network computes; `normalise` is the last step.

Shape legend: T frames, S segments, V views, H/W pixels. Resizing is Pillow's bilinear filter, which averages when it
shrinks; so did the frames that the published checkpoints were trained on.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.data.geometry import crop_places, in_stored_frame, training_box
from pptsm.data.sampling import DENSE_CLIPS, DENSE_WINDOW
from pptsm.data.spec import ClipSpec, official_spec
from pptsm.params.choices import Sampling
from pptsm.video.pixels import mirrored, resized, split_into
from pptsm.video.types import Frames, resized_size

ClipArray = NDArray[np.float32]  # [T, 3, H, W], normalised


class Pixels(NamedTuple):
    """Cropped frames as uint8, and what makes of them what the network sees: values * scale - offset.

    Fields are arrays, or Paddle's tensors; those of a batch have a first axis more.
    """

    values: Any  # uint8 [T, 3, H, W]
    scale: Any  # float32 [3], one number per channel
    offset: Any  # float32 [3]


RESIZE_PX = 256
CROP_PX = 224


def views_of(
    frames: Frames, spec: ClipSpec, sampling: Sampling, places: Sequence[int] | NDArray[np.int64] | None = None
) -> Pixels:
    """The frames of all evaluation views of a video.

    Args:
        frames: [n, H, W, 3]; each is decoded and resampled once, however many views show it.
        spec: sizes, aspect, mean and standard deviation, and the crops of either sampling.
        sampling: whose crops.
        places: of what `evaluation_indices` chose, clip by clip, in `frames`; None: they are just that.

    Returns:
        [V*S, 3, test_crop_px, test_crop_px]; V = the number of clips times that of crops, with all clips of the
        first crop first, then all of the second, and so on.
    """
    size, side = resized_size(frames.native, spec.resize_px, spec.aspect), spec.test_crop_px
    crops = crop_places(spec.crops if sampling == "uniform" else spec.dense_crops, size, side)
    order = np.arange(len(frames.images)) if places is None else np.asarray(places)
    views = np.empty((len(crops), len(order), 3, side, side), np.uint8)
    for number, frame in enumerate(frames.images):  # one at a time: so few bytes stay in the processor's cache
        whole, shown_at = resized(frame, size), np.flatnonzero(order == number)
        for (left, top, mirror), views_of_crop in zip(crops, views, strict=True):
            cut = whole[top : top + side, left : left + side]
            for place in shown_at:
                split_into(views_of_crop[place], mirrored(cut) if mirror else cut)
    return Pixels(views.reshape(-1, 3, side, side), *scale_and_offset(spec))


def evaluation_views(
    frames: NDArray[np.uint8],
    sampling: Sampling,
    keep_aspect: bool = False,
    *,
    resize_px: int = RESIZE_PX,
    crop_px: int = CROP_PX,
) -> ClipArray:
    """`views_of`, normalised, as the official evaluation of PP-TSM makes them, of frames in their native size.

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
    return normalise(views_of(Frames(frames, (width, height)), spec, sampling))


def training_clip(
    frames: Frames,
    spec: ClipSpec,
    rng: np.random.Generator,
    *,
    crop: Literal["multi_scale", "random"],
    flip: bool,
    brightness: float,
) -> Pixels:
    """One randomly cropped, perhaps mirrored clip; the same crop for all its frames.

    Args:
        frames: [T, H, W, 3].
        spec: sizes, aspect, mean and standard deviation.
        rng: source of every random choice.
        crop: "multi_scale" (scales 1, .875, .75, .66, aspect changed by one step at most) or "random"
            (any position, no change of scale).
        flip: mirror the clip left to right; the caller decides, because the label may change with it.
        brightness: largest change of brightness and of contrast, as a share.

    Returns:
        [T, 3, crop_px, crop_px].
    """
    size, side = resized_size(frames.native, spec.resize_px, spec.aspect), spec.crop_px
    box = training_box(size, spec, crop, rng)
    clip = np.empty((len(frames.images), 3, side, side), np.uint8)
    for frame, planes in zip(frames.images, clip, strict=True):  # one at a time, as above
        height, width = frame.shape[:2]
        cut = resized(frame, (side, side), in_stored_frame(box, size, (width, height)))
        split_into(planes, mirrored(cut) if flip else cut)
    if brightness == 0:
        return Pixels(clip, *scale_and_offset(spec))
    contrast, lighter = rng.uniform(-brightness, brightness, size=2)
    return Pixels(clip, *scale_and_offset(spec, 1 + contrast, lighter / np.mean(spec.std)))


def scale_and_offset(
    spec: ClipSpec, gain: float = 1.0, shift: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """float32 [3] each: what normalises pixels, then multiplies them by `gain` and adds `shift`."""
    mean, std = np.array(spec.mean), np.array(spec.std)  # of values in 0..1
    scale = (1 / (255 * std)).astype(np.float32) * np.float32(gain)
    offset = (mean / std).astype(np.float32) * np.float32(gain) - np.float32(shift)
    return scale, offset


def normalise(pixels: Pixels) -> ClipArray:
    """What the network sees of a clip or a batch of clips, on the host (`loading.normalise_on_device`: on Paddle's)."""
    scale, offset = (numbers[..., None, :, None, None] for numbers in (pixels.scale, pixels.offset))
    clips: ClipArray = pixels.values * scale
    clips -= offset
    return clips


def contact_sheet(views: ClipArray, spec: ClipSpec) -> Image.Image:
    """A picture of normalised views [V*S, 3, H, W], one row per view, in the colours of their frames."""
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (spec.mean, spec.std))
    pixels = ((views * std + mean) * 255).round().clip(0, 255).astype(np.uint8)
    height, width = pixels.shape[2:]
    rows = pixels.reshape(-1, spec.segments, 3, height, width).transpose(0, 3, 1, 4, 2)  # [V, H, S, W, 3]
    return Image.fromarray(rows.reshape(-1, spec.segments * width, 3))
