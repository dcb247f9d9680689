"""Why a video is answered so: what is asked of the exported file, and of the network's weights where they are there.

One clip is explained, the middle one of a video's, and of its crops the one in the centre: what several clips show at
different times cannot be laid side by side.

Shape legend: S segments (frames of a clip), h/w places of a feature map, H/W pixels, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pptsm.data.geometry import centre_place, crop_places, in_stored_frame
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import ClipArray, Pixels, normalise, views_of
from pptsm.data.views import evaluation_indices, middle_clip
from pptsm.evaluation.explain import Explanation, explain_clip
from pptsm.params.choices import Sampling
from pptsm.runtime.console import one_line
from pptsm.runtime.errors import UserError
from pptsm.runtime.feed import FeedFailure, feed
from pptsm.serving.predictor import Predictor
from pptsm.video.image_sequence import open_clip
from pptsm.video.types import Box, VideoError, resized_size, shown
from pptsm.video.video import silence_sec

Look = Callable[[ClipArray, int], NDArray[np.float32]]  # clip [S, 3, H, W] and class -> maps [S, h, w]


@dataclass(frozen=True)
class Looked:
    """A video's views, and which of them is the clip to explain."""

    pixels: Pixels  # [V*S, 3, H, W]
    view: int  # the number of the clip among the views
    frames: NDArray[np.int64]  # [S]: its frames' numbers in the video
    begins_sec: NDArray[np.float64] | None  # [S]: when they begin; None: the file does not say
    box: Box  # of the crop, in pixels of the video's frames


@dataclass(frozen=True)
class Explained:
    """A video's answer and the reasons for it."""

    file: Path
    labels: list[str]
    made_by: str  # which network, and what computed it
    answer: int  # to the whole video, as `pptsm predict` gives it
    score: float  # its probability
    views: int  # how many were averaged for it
    clip: Explanation
    images: NDArray[np.uint8]  # [S, H, W, 3]: what the network saw of the clip
    looked: Looked
    maps: NDArray[np.float32] | None  # [S, h, w] of Grad-CAM
    no_maps: str | None  # why there are none


def explain_video(
    video: Path, predictor: Predictor, look: Look | str, label: str | None, silent_sec: float
) -> Explained:
    """Explain the answer to a video, or why another class is not it.

    Args:
        video: a file, or FOLDER/img_%05d.jpg.
        predictor: the exported network.
        look: where the network looks, by its weights; or why that cannot be said.
        label: the class to explain; None: the answer.
        silent_sec: a decoder that shows nothing for so long is ended.

    Raises:
        VideoError: the file cannot be decoded, is cut off, hangs or crashes a decoder.
        UserError: there is no such class; or as `explain_clip`.
    """
    spec, labels = predictor.metadata.clip, predictor.metadata.labels
    asked = None if label is None else _number_of(label, labels)
    looked = looked_of(video, spec, predictor.sampling, silent_sec)
    views = normalise(looked.pixels).reshape(-1, *spec.shape)
    (best, *_), logits_K = predictor.ranked(views, 1, shown(video))
    answer = int(logits_K.argmax())
    label_number = answer if asked is None else asked
    found = explain_clip(predictor.logits, views[looked.view], label_number)
    return Explained(
        file=video,
        labels=labels,
        made_by=f"{predictor.metadata.revision}; {predictor.runtime} in {predictor.precision}, {predictor.sampling}",
        answer=answer,
        score=best.score,
        views=len(views),
        clip=found,
        images=looked.pixels.values.reshape(-1, *spec.shape)[looked.view].transpose(0, 2, 3, 1),
        looked=looked,
        maps=None if isinstance(look, str) else look(views[looked.view], label_number),
        no_maps=look if isinstance(look, str) else None,
    )


def _number_of(label: str, labels: list[str]) -> int:
    if label in labels:
        return labels.index(label)
    near = get_close_matches(label, labels, 3, 0.4) or labels[:5]
    raise UserError(
        f"--label names {one_line(label)}, which is none of the model's {len(labels)} classes. "
        f"Such as: {', '.join(map(one_line, near))}."
    )


def looked_of(video: Path, spec: ClipSpec, sampling: Sampling, silent_sec: float) -> Looked:
    """The views of a video, decoded in a process that is ended where it hangs.

    Raises:
        VideoError: as `explain_video`.
    """
    try:
        with feed(views_and_times, (video.absolute(), spec, sampling), silence_sec(video, silent_sec)) as results:
            found: Looked = next(results)
            return found
    except (FeedFailure, VideoError) as error:
        raise VideoError(f"{shown(video)} cannot be explained: {error}.") from None


def views_and_times(path: Path, spec: ClipSpec, sampling: Sampling) -> Iterator[Looked]:
    """The one result for `feed`.

    Raises:
        VideoError: the file cannot be decoded, or is cut off.
    """
    video = open_clip(path)
    video.require_whole()
    once, places = np.unique(evaluation_indices(len(video), spec, sampling), return_inverse=True)
    frames = video.frames(once)
    size, side = resized_size(frames.native, spec.resize_px, spec.aspect), spec.test_crop_px
    crops = crop_places(spec.crops if sampling == "uniform" else spec.dense_crops, size, side)
    centre = centre_place(crops)
    left, top, _ = crops[centre]
    clips = len(places) // spec.segments
    chosen, timing = middle_clip(len(video), spec, sampling), video.timing()
    yield Looked(
        pixels=views_of(frames, spec, sampling, places),
        view=centre * clips + clips // 2,
        frames=chosen,
        begins_sec=np.asarray(timing.begins_sec)[chosen] if timing.fps else None,
        box=in_stored_frame((left, top, left + side, top + side), size, frames.native),
    )
