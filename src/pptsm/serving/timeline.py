"""What a long video shows, and when: windows of it scored one after another, merged into segments by class.

The video is decoded once, in order, in a process that can be killed; this process runs the network on one window while
the next one is decoded. Frames stay in memory, resized to what the network sees, only while a window to come needs
them: it takes as much memory for an hour as for ten minutes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import ClipArray, Pixels, normalise, scale_and_offset, views_of
from pptsm.data.views import evaluation_indices
from pptsm.evaluation.engines import feature_scorer
from pptsm.evaluation.metrics import video_logits
from pptsm.params.choices import Sampling
from pptsm.runtime.console import progress
from pptsm.runtime.feed import FeedFailure, feed
from pptsm.serving.predictor import BATCH_VALUES, MOST_VIEWS, Predictor
from pptsm.serving.windows import Cell, Cutter, Grid, Merger, Scores, Segment, Span, spans_of
from pptsm.video.image_sequence import open_clip
from pptsm.video.pixels import resized
from pptsm.video.types import Frames, Image, Presented, Size, VideoError, resized_size, shown
from pptsm.video.video import Video, silence_sec


class Window(NamedTuple):
    """A window of a video, ready for the network."""

    start_sec: float
    end_sec: float
    views: NDArray[np.uint8]  # [V*S, 3, H, W], as `views_of` makes them


class Plan(NamedTuple):
    """What is known of a video before it is decoded."""

    windows: int | None  # how many; None: the packets do not tell


@dataclass
class Timeline:
    """What was found."""

    labels: list[str]
    windows: list[tuple[float, float, Scores]] = field(default_factory=list)  # start, end and scores, not smoothed
    cells: list[Cell] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)  # by their start
    features: list[NDArray[np.float32]] = field(default_factory=list)  # [C] of each window, where they were asked for


class WindowScorer:
    """The network, asked about windows: from uint8 views to the scores that `Predictor.predict` gives of the same part.

    Args:
        predictor: the exported network.
        features: whether the features that enter its last fully connected layer are wanted too; ONNX Runtime computes
            them in another run, whatever the predictor computes in, so that the scores stay the same.

    Raises:
        UserError: it has no such layer.
    """

    def __init__(self, predictor: Predictor, *, features: bool = False) -> None:
        self.labels = predictor.metadata.labels
        self.clip = predictor.metadata.clip
        self.sampling: Sampling = predictor.sampling
        self._predictor = predictor
        self._features = feature_scorer(predictor.file) if features else None

    def __call__(self, window: Window) -> tuple[Scores, NDArray[np.float32] | None]:
        """The probabilities [K] of a window, and its features [C], the mean over its views.

        Raises:
            UserError: the network cannot be computed, or answers with what is not a number.
        """
        pixels = Pixels(window.views, *scale_and_offset(self.clip))
        views = normalise(pixels).reshape(-1, *self.clip.shape)  # [V, S, 3, H, W]
        about = f"{window.start_sec:g} to {window.end_sec:g} s"
        logits = self._predictor.logits(views, about)
        features = None if self._features is None else self._pooled(views)
        return self._predictor.probabilities(video_logits(logits, self.clip.average)[None])[0], features

    def _pooled(self, views: ClipArray) -> NDArray[np.float32]:
        assert self._features is not None
        at_once = min(MOST_VIEWS, max(1, BATCH_VALUES // views[0].size))
        parts = (views[start : start + at_once] for start in range(0, len(views), at_once))
        pooled: NDArray[np.float32] = np.concatenate([self._features(part) for part in parts]).mean(axis=0)
        return pooled


def timeline_of(
    video: Path, scorer: WindowScorer, grid: Grid, threshold: float, smooth: int, silent_sec: float
) -> Timeline:
    """Score a file's windows and merge them.

    Args:
        video: the file.
        scorer: the network.
        grid: of the windows.
        threshold, smooth: as `Merger` takes them.
        silent_sec: a decoder that shows nothing for so long is ended, and the file refused.

    Raises:
        VideoError: the file cannot be decoded, is cut off, hangs or crashes a decoder, or does not say when its frames
            are shown.
    """
    found, merger = Timeline(scorer.labels), Merger(scorer.labels, grid, threshold, smooth)
    video = video.absolute()  # FFmpeg takes what stands before a colon for a protocol
    arguments = (video, scorer.clip, scorer.sampling, grid)
    try:
        with feed(windows_of_file, arguments, silence_sec(video, silent_sec)) as messages:
            plan: Plan = next(messages)
            for window in progress(messages, "timeline", "windows", total=plan.windows):
                scores, features = scorer(window)
                found.windows.append((window.start_sec, window.end_sec, scores))
                if features is not None:
                    found.features.append(features)
                _add(found, merger.add(window.start_sec, window.end_sec, scores))
    except FeedFailure as error:
        raise VideoError(f"{shown(video)} gets no timeline: {error}.") from None
    except VideoError as error:
        raise VideoError(f"{shown(video)} gets no timeline: {error}.") from None
    _add(found, merger.finish())
    found.segments.sort(key=lambda segment: (segment.start_sec, segment.end_sec, segment.label))
    return found


def _add(found: Timeline, more: tuple[list[Cell], list[Segment]]) -> None:
    found.cells += more[0]
    found.segments += more[1]


def windows_of_file(path: Path, spec: ClipSpec, sampling: Sampling, grid: Grid) -> Iterator[Plan | Window]:
    """A plan, then the windows of a file in their order; for `feed`.

    Where the packets tell when each frame is shown, the frames that the network will see are known beforehand, and of
    the others no pixels are computed.

    Raises:
        VideoError: the file cannot be decoded, is cut off, or does not say when its frames are shown.
    """
    video = open_clip(path)
    video.require_whole()
    if not isinstance(video, Video):
        raise VideoError("a folder of frames does not say when they are shown: make a video of them")
    seen, windows = None, None
    if video.times_are_known:
        timing = video.timing()
        spans = spans_of(timing.begins_sec, timing.end_sec, grid)
        seen, windows = _seen_frames(spans, len(timing.begins_sec), spec, sampling), len(spans)
    yield Plan(windows)
    try:
        yield from windows_of(video.presented(), spec, sampling, grid, seen)
    except MemoryError:
        raise VideoError(
            f"its frames do not fit into memory, where those of {grid.length_sec:g} s are kept at once (--window)"
        ) from None


def _seen_frames(spans: list[Span], count: int, spec: ClipSpec, sampling: Sampling) -> NDArray[np.bool_]:
    """Of each of a video's `count` frames, whether a window shows it to the network."""
    seen = np.zeros(count, np.bool_)
    for span in spans:
        seen[span.frames.first + evaluation_indices(span.frames.num_frames, spec, sampling)] = True
    return seen


def windows_of(
    frames: Iterable[Presented],
    spec: ClipSpec,
    sampling: Sampling,
    grid: Grid,
    seen: NDArray[np.bool_] | None = None,
) -> Iterator[Window]:
    """The windows of frames that come one after the other, each as soon as it is complete.

    Args:
        frames: in order.
        spec: of the network.
        sampling: which frames of a window it sees.
        grid: of the windows.
        seen: of each frame, whether any window shows it; None: unknown, and all are kept while their windows are open.
    """
    cutter, kept, end_sec = Cutter(grid), _Kept(spec, sampling), 0.0
    for number, frame in enumerate(frames):
        for span in cutter.add(frame.begin_sec):
            yield kept.window(span)
        kept.forget_before(cutter.first)
        if cutter.first <= number and (seen is None or seen[number]):
            kept.add(number, frame.image())
        end_sec = frame.end_sec
    for span in cutter.finish(end_sec):
        yield kept.window(span)


class _Kept:
    """Frames that windows to come may need, by number, in the size that the network's crops are cut from."""

    def __init__(self, spec: ClipSpec, sampling: Sampling) -> None:
        self._spec, self._sampling = spec, sampling
        self._images: dict[int, Image] = {}
        self._native: Size = (0, 0)

    def add(self, number: int, image: Image) -> None:
        self._native = (image.shape[1], image.shape[0])
        self._images[number] = resized(image, resized_size(self._native, self._spec.resize_px, self._spec.aspect))

    def forget_before(self, first: int) -> None:
        while self._images and (oldest := next(iter(self._images))) < first:
            del self._images[oldest]

    def window(self, span: Span) -> Window:
        indices = span.frames.first + evaluation_indices(span.frames.num_frames, self._spec, self._sampling)
        once, places = np.unique(indices, return_inverse=True)
        frames = Frames([self._images[number] for number in once.tolist()], self._native)
        views = views_of(frames, self._spec, self._sampling, places)
        return Window(span.start_sec, span.end_sec, views.values)
