"""Classify videos with an exported ONNX file; needs neither Paddle nor params.yaml."""

import math
import resource
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pptsm.data.clips import evaluation_indices, views_of_file
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import ClipArray, normalise, views_of
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.evaluation.metrics import ranking, require_numbers, softmax, video_logits
from pptsm.evaluation.model_file import DIGEST
from pptsm.params.choices import Sampling
from pptsm.runtime.errors import UserError
from pptsm.runtime.jobs import run_jobs
from pptsm.runtime.paths import StrPath, as_path
from pptsm.runtime.pool import JobFailure, limit_memory
from pptsm.serving.metadata import ModelMetadata
from pptsm.video.types import FrameRange, Frames, Part, Seconds, VideoError, shown

BATCH_VALUES = 10 * 8 * 3 * 224 * 224  # of the views that are computed at once: ten of the published size
MOST_VIEWS = 10
TIMEOUT_SEC = 600.0  # for a file, the default of `pptsm predict`


@dataclass(frozen=True)
class Guess:
    """A class and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What was found out about a video: its most probable classes, or why there are none."""

    file: Path | None  # None: its frames came as an array
    top: list[Guess]
    error: str | None = None
    logits: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)  # [K], of the whole video


Video = StrPath | NDArray[np.uint8]  # a file (or FOLDER/img_%05d.jpg), or RGB frames [T, H, W, 3]
TimeRange = tuple[float, float]  # seconds from the first frame: those frames that begin at the first or later, before
# the second


class Predictor:
    """An exported network, ready to classify videos.

    It needs its file alone: no Paddle, no params.yaml. Pixels are computed as in the evaluation, so its answers are
    those that the report counts.

    Args:
        onnx_file: written by the export, or by `pptsm convert`.
        sampling: "uniform" or "dense"; None: the one that the network was trained for.

    Attributes:
        metadata: its classes (`labels`), the clips that it takes (`clip`), and the `warning` where it was not above
            chance when its training ended.

    Raises:
        UserError: the file is missing, no ONNX file, not as it was exported, or was not written by the export.

    Example:
        >>> from pptsm import Predictor
        >>> predictor = Predictor("model.onnx")
        >>> predictor
        Predictor('model.onnx', sampling='uniform'): 8 classes, clips of [8, 3, 56, 56], student-...
        >>> predictor.metadata.labels
        ['anticlockwise', 'clockwise', 'down', 'grow', 'left', 'right', 'shrink', 'up']
    """

    def __init__(self, onnx_file: StrPath, sampling: Sampling | None = None) -> None:
        self.file = as_path(onnx_file, "the exported model")
        if sampling not in (None, *get_args(Sampling)):
            raise UserError(f"sampling is {sampling!r}, and should be one of {', '.join(get_args(Sampling))}, or None.")
        session = open_session(self.file)
        self._score = onnx_scorer(session)
        self.metadata = ModelMetadata.of(session, self.file)
        self.has_digest = DIGEST in session.get_modelmeta().custom_metadata_map  # files of older versions have none
        self.sampling: Sampling = sampling or self.metadata.clip.sampling

    def __repr__(self) -> str:
        """File, sampling, and what network it is."""
        said = self.metadata
        return (
            f"Predictor({str(self.file)!r}, sampling={self.sampling!r}): {len(said.labels)} classes, clips of "
            f"{list(said.clip.shape)}, {said.revision}"
        )

    def predict(self, video: Video, top_k: int = 5, part: Part | TimeRange = None) -> list[Guess]:
        """The `top_k` most probable classes of a video or of a part of it, best first.

        Args:
            video: the name of a file; or its frames, uint8 RGB [T, H, W, 3], in their order.
            top_k: how many classes, at least 1; fewer where the network has fewer.
            part: what to look at of a file: (start, end) in seconds.

        Raises:
            VideoError: (a UserError) the file cannot be decoded, is cut off, or has no such part.
            UserError: `video` is neither, the array holds no frames, memory runs out, or the network answers with what
                is not a number.

        Example:
            >>> predictor.predict("a.mp4", top_k=2)
            [Guess(label='left', score=0.9...), Guess(label='...', score=0.0...)]
            >>> predictor.predict("a.mp4", top_k=1, part=(0.5, 1.5))
            [Guess(label='left', score=0.9...)]

            Frames from elsewhere (a camera, another decoder) are arrays; OpenCV's are BGR, so turn them round:

            >>> frames = np.zeros((16, 64, 64, 3), np.uint8)
            >>> predictor.predict(frames[..., ::-1])[0].label
            'left'
        """
        top_k = _checked_top_k(top_k)
        try:
            return self._predict(video, top_k, part)[0]
        except VideoError as error:
            raise VideoError(f"{_name_of(video)} gets no answer: {error}.") from None

    def predict_many(self, videos: Iterable[Video], top_k: int = 5) -> Iterator[Answer]:
        """An answer for each video, in their order, each as it comes.

        A video that cannot be predicted is an answer with an `error`, as in `pptsm predict`; the others go on. The
        command works in a process of its own, so that it also gets past files on which a decoder hangs or crashes.

        Args:
            videos: as `predict` takes them; a list, or a generator that makes arrays one by one.
            top_k: how many classes.

        Raises:
            UserError: `videos` is one video, or `top_k` no number of classes.

        Example:
            >>> for answer in predictor.predict_many(["a.mp4", "gone.mp4"], top_k=1):
            ...     print(answer.file, answer.error or answer.top[0].label)
            a.mp4 left
            gone.mp4 no such file: gone.mp4
        """
        if isinstance(videos, str | bytes | PathLike) or (isinstance(videos, np.ndarray) and videos.ndim < 5):
            raise UserError("predict_many takes several videos, and was given one: put it into a list, or use predict.")
        if not isinstance(videos, Iterable):
            raise UserError(f"predict_many takes a list of videos, and was given a {type(videos).__name__}.")
        top_k = _checked_top_k(top_k)  # now, not when the first answer is asked for
        return (self.answer(video, top_k) for video in videos)

    def answer(self, video: Video, top_k: int = 5, part: Part | TimeRange = None) -> Answer:
        """As `predict`, with the reason where there is no answer: nothing about one video stops those after it.

        Example:
            >>> predictor.answer("gone.mp4")
            Answer(file=PosixPath('gone.mp4'), top=[], error='no such file: gone.mp4')
        """
        try:
            file = None if isinstance(video, np.ndarray) else as_path(video, "a video")
        except UserError as error:
            return Answer(None, [], str(error))
        try:
            top, logits_K = self._predict(video, _checked_top_k(top_k), part)
            return Answer(file, top, logits=logits_K)
        except UserError as error:
            return Answer(file, [], str(error))

    def _predict(self, video: Video, top_k: int, part: Part | TimeRange) -> tuple[list[Guess], NDArray[np.float32]]:
        try:
            return self._ranked(video, top_k, part)
        except MemoryError:
            raise VideoError(f"it takes more memory than {_memory()}") from None

    def _ranked(self, video: Video, top_k: int, part: Part | TimeRange) -> tuple[list[Guess], NDArray[np.float32]]:
        clip = self.metadata.clip
        if isinstance(video, np.ndarray):
            if part is not None:
                raise UserError("`part` is for files: of an array of frames, pass that part of the array.")
            views = views_of_frames(video, clip, self.sampling)
        else:
            views = views_of_file(as_path(video, "a video"), clip, self.sampling, _checked_part(part))
        views = views.reshape(-1, *clip.shape)  # [V, S, 3, H, W]
        at_once = min(MOST_VIEWS, max(1, BATCH_VALUES // views[0].size))
        logits_VK = np.concatenate(
            [self._score(views[start : start + at_once]) for start in range(0, len(views), at_once)]
        )
        require_numbers(logits_VK, f"the network, asked about {_name_of(video)},")
        logits = video_logits(logits_VK, clip.average)[None]
        scores = softmax(logits)[0]
        best = ranking(logits, top_k)[0]
        return [Guess(self.metadata.labels[i], round(float(scores[i]), 6)) for i in best], logits[0]


def _name_of(video: Video) -> str:
    return "an array of frames" if isinstance(video, np.ndarray) else shown(as_path(video, "a video"))


def _checked_top_k(top_k: Any) -> int:
    try:
        number = index(top_k)
    except TypeError:
        number = 0
    if number < 1:
        raise UserError(f"top_k is {top_k!r}, and should be a whole number, at least 1.")
    return number


def _checked_part(part: Any) -> Part:
    """A pair of numbers as seconds.

    Raises:
        UserError: it is something else.
    """
    if part is None or isinstance(part, FrameRange):
        return part
    try:
        start, end = map(float, part if isinstance(part, tuple | list) else ())
    except (TypeError, ValueError):
        start, end = math.nan, math.nan
    if not 0 <= start < end < math.inf:
        raise UserError(f"part is {part!r}, and should be (start, end) in seconds, the start before the end.")
    return Seconds(start, end)


def _memory() -> str:
    """How much this process may take, in words."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return "there is" if limit == resource.RLIM_INFINITY else f"{limit / (1 << 30):.1f} GB"


def views_of_frames(frames: NDArray[np.uint8], spec: ClipSpec, sampling: Sampling) -> ClipArray:
    """Evaluation views [V*S, 3, H, W] of a whole video that is there as RGB frames [T, H, W, 3], normalised.

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
    return normalise(views_of(Frames(frames[once], (width, height)), spec, sampling, places))


def predict_files(
    files: Sequence[StrPath],
    model: StrPath,
    sampling: Sampling | None,
    top_k: int,
    timeout_sec: float,
    parts: Sequence[Part] | None = None,
) -> Iterator[Answer]:
    """Classify files one by one, in their order, in a process that is killed where a file keeps it busy or crashes it.

    Its memory is limited, as that of all processes that open files from elsewhere.

    Args:
        files: videos.
        model: the exported ONNX file.
        sampling: None: the one that the model was trained for.
        top_k: how many classes.
        timeout_sec: a file that takes longer is answered with an error.
        parts: what to look at of each; None: at all of it.
    """
    paths = [Path(file) for file in files]
    jobs = [(file, top_k, part) for file, part in zip(paths, parts or [None] * len(paths), strict=True)]
    answers = run_jobs(_predict, jobs, 1, timeout_sec, _open_predictor, (Path(model), sampling))
    for file, answer in zip(paths, answers, strict=True):
        yield Answer(file, [], answer.reason) if isinstance(answer, JobFailure) else answer


_predictor: Predictor | None = None  # of the process that predicts


def _open_predictor(model: StrPath, sampling: Sampling | None) -> None:
    global _predictor  # noqa: PLW0603  opened once a process
    limit_memory()
    _predictor = Predictor(model, sampling)


def _predict(file: Path, top_k: int, part: Part) -> Answer:
    assert _predictor is not None
    return _predictor.answer(file, top_k, part)
