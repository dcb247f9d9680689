"""From a video, as a file or as frames, to its evaluation views: without an index, and without tables."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pptsm.data.geometry import centre_place, crop_places, in_stored_frame
from pptsm.data.sampling import centred_indices, dense_indices, twice_indices, uniform_indices
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import ClipArray, Pixels, normalise, views_of
from pptsm.params.choices import Sampling
from pptsm.runtime.errors import UserError
from pptsm.runtime.paths import StrPath
from pptsm.video.image_sequence import open_clip
from pptsm.video.types import Box, Frames, Part, resized_size


def evaluation_indices(num_frames: int, spec: ClipSpec, sampling: Sampling) -> NDArray[np.int64]:
    """0-based indices [n*S] of the frames that evaluation looks at, clip by clip."""
    if sampling == "dense":
        return dense_indices(num_frames, spec.segments, window=spec.dense_window, num_clips=spec.dense_clips).ravel()
    rule = {"official": uniform_indices, "centred": centred_indices, "twice": twice_indices}[spec.frame_rule]
    return rule(num_frames, spec.segments).ravel()


@dataclass(frozen=True)
class Seen:
    """A clip of a video's evaluation as the network got it, and where that lies in the picture."""

    images: NDArray[np.uint8]  # RGB [S, H, W, 3]: the crop in the centre, each frame of side `test_crop_px`
    frames: NDArray[np.uint8]  # [S, H, W, 3]: the whole frames, as stored
    boxes: list[Box]  # of all crops: left, top, right, bottom in pixels of `frames`


def middle_clip(num_frames: int, spec: ClipSpec, sampling: Sampling) -> NDArray[np.int64]:
    """0-based indices [S] of the frames of the middle one of a video's clips in evaluation."""
    indices_NS = evaluation_indices(num_frames, spec, sampling).reshape(-1, spec.segments)
    middle_S: NDArray[np.int64] = indices_NS[len(indices_NS) // 2]
    return middle_S


def seen_clip(frames: Frames, spec: ClipSpec, sampling: Sampling) -> Seen:
    """What the network sees of a clip in evaluation: the crop in the centre, and where all crops lie.

    Args:
        frames: of one clip, S of them.
        spec: of the network.
        sampling: how evaluation looked at the video, which decides its crops.
    """
    size, side = resized_size(frames.native, spec.resize_px, spec.aspect), spec.test_crop_px
    places = crop_places(spec.crops if sampling == "uniform" else spec.dense_crops, size, side)
    centre = centre_place(places)
    views_VSCHW = views_of(frames, spec, sampling).values.reshape(len(places), spec.segments, 3, side, side)
    whole = frames.pixels
    stored = (whole.shape[2], whole.shape[1])
    boxes = [in_stored_frame((left, top, left + side, top + side), size, stored) for left, top, _ in places]
    return Seen(np.ascontiguousarray(views_VSCHW[centre].transpose(0, 2, 3, 1)), whole, boxes)


def views_of_file(path: StrPath, spec: ClipSpec, sampling: Sampling, part: Part = None) -> ClipArray:
    """As `pixels_of_file`, normalised: [V*S, 3, H, W]."""
    return normalise(pixels_of_file(path, spec, sampling, part))


def pixels_of_file(path: StrPath, spec: ClipSpec, sampling: Sampling, part: Part = None) -> Pixels:
    """Evaluation views [V*S, 3, H, W] of a video (file or frames, as `open_clip`) or of a part of it.

    Raises:
        VideoError: the file cannot be decoded, is cut off, or has no such part.
    """
    video = open_clip(path)
    video.require_whole()
    span = video.span(part)
    once, places = np.unique(evaluation_indices(span.num_frames, spec, sampling), return_inverse=True)
    return views_of(video.frames(span.first + once), spec, sampling, places)


def pixels_of_frames(frames: NDArray[np.uint8], spec: ClipSpec, sampling: Sampling) -> Pixels:
    """Evaluation views [V*S, 3, H, W] of a whole video that is there as RGB frames [T, H, W, 3].

    Raises:
        UserError: the array is something else.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise UserError(
            f"frames should be uint8 of shape [T, H, W, 3], RGB from 0 to 255, and are {frames.dtype} of shape "
            f"{list(frames.shape)}."
        )
    height, width = frames.shape[1:3]
    once, places = np.unique(evaluation_indices(len(frames), spec, sampling), return_inverse=True)
    return views_of(Frames(frames[once], (width, height)), spec, sampling, places)


def middle_view(views: ClipArray, segments: int) -> ClipArray:
    """One clip [S, 3, H, W] of a video's views [V*S, 3, H, W]: of several dense clips one that is not at an end."""
    clips = views.reshape(-1, segments, *views.shape[1:])
    clip: ClipArray = clips[len(clips) // 2]
    return clip
