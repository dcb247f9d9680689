"""Classify videos with an exported ONNX file; needs neither Paddle nor params.yaml."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pptsm.data.transforms import ClipArray, Pixels, normalise
from pptsm.data.views import pixels_of_file, pixels_of_frames
from pptsm.evaluation.metrics import ranking, require_numbers, softmax, video_logits
from pptsm.params.choices import Precision, Runtime, Sampling
from pptsm.runtime.console import note
from pptsm.runtime.cores import cores
from pptsm.runtime.errors import UserError
from pptsm.runtime.paths import StrPath, as_path
from pptsm.runtime.pool import JobFailure, memory_limit
from pptsm.serving.decode import Decoders, decoders
from pptsm.serving.opening import open_network
from pptsm.video.types import FrameRange, Part, Seconds, VideoError, shown

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
        model: an ONNX file, written by the export or by `pptsm convert`; or a package, the folder of stage `package`.
        sampling: "uniform" or "dense"; None: the one that the network was trained for.
        runtime: "onnxruntime" or "openvino"; "auto": the faster one here, where the network takes long enough to tell.
        precision: "float32", "bfloat16" or "int8"; "auto": what the file is, or of a package the fastest that passed
            its gate.

    Attributes:
        metadata: its classes (`labels`), the clips that it takes (`clip`), and the `warning` where it was not above
            chance when its training ended.
        runtime: what computes it.
        precision: what it is computed in.

    Raises:
        UserError: the file is missing, no ONNX file, not as it was exported, or was not written by the export; or the
            runtime is not installed, or cannot compute in this precision.

    Example:
        >>> from pptsm import Predictor
        >>> predictor = Predictor("model.onnx", runtime="onnxruntime")
        >>> predictor
        Predictor('model.onnx', sampling='uniform'): 8 classes, clips of [8, 3, 56, 56], student-...
        >>> predictor.runtime, predictor.precision
        ('onnxruntime', 'float32')
        >>> predictor.metadata.labels
        ['anticlockwise', 'clockwise', 'down', 'grow', 'left', 'right', 'shrink', 'up']
    """

    def __init__(
        self,
        model: StrPath,
        sampling: Sampling | None = None,
        runtime: Runtime | Literal["auto"] = "auto",
        precision: Precision | Literal["auto"] = "auto",
    ) -> None:
        for name, value, words in (
            ("sampling", sampling, (None, *get_args(Sampling))),
            ("runtime", runtime, ("auto", *get_args(Runtime))),
            ("precision", precision, ("auto", *get_args(Precision))),
        ):
            if value not in words:
                raise UserError(f"{name} is {value!r}, and should be one of {', '.join(map(str, words))}.")
        network = open_network(as_path(model, "the exported model"), runtime, precision)
        self.file, self.metadata, self.has_digest = network.exported.file, network.metadata, network.exported.has_digest
        self.runtime, self.precision, self._score = (
            network.engine.runtime,
            network.engine.precision,
            network.engine.score,
        )
        self.sampling: Sampling = sampling or self.metadata.clip.sampling
        calibration = self.metadata.calibration  # which holds for its own sampling alone
        self._calibration = calibration if calibration and calibration.sampling == self.sampling else None

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
            return self.ranked(normalise(self._pixels(video, part)), top_k, _name_of(video))
        except MemoryError:
            raise VideoError(f"it takes more memory than {memory_limit()}") from None

    def _pixels(self, video: Video, part: Part | TimeRange) -> Pixels:
        if not isinstance(video, np.ndarray):
            return pixels_of_file(as_path(video, "a video"), self.metadata.clip, self.sampling, _checked_part(part))
        if part is not None:
            raise UserError("`part` is for files: of an array of frames, pass that part of the array.")
        return pixels_of_frames(video, self.metadata.clip, self.sampling)

    def guesses(self, views: ClipArray, top_k: int = 5, name: str = "these views") -> list[Guess]:
        """The `top_k` most probable classes of a video, from its normalised views: the one way to an answer.

        Args:
            views: float32 [V*S, 3, H, W] or [V, S, 3, H, W], of one video.
            top_k: how many classes.
            name: of the video, for an error.

        Raises:
            UserError: as `logits`.
        """
        return self.ranked(views, top_k, name)[0]

    def ranked(
        self, views: ClipArray, top_k: int = 5, name: str = "these views"
    ) -> tuple[list[Guess], NDArray[np.float32]]:
        """As `guesses`, and the logits [K] of the video."""
        logits = video_logits(self.logits(views, name), self.metadata.clip.average)[None]
        scores = self.probabilities(logits)[0]
        best = ranking(logits, top_k)[0]
        return [Guess(self.metadata.labels[i], round(float(scores[i]), 6)) for i in best], logits[0]

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities [..., K] of logits [..., K], softened by the temperature of the file, where it carries one."""
        return softmax(logits if self._calibration is None else self._calibration.softened(logits))

    def logits(self, views: ClipArray, name: str = "these views") -> NDArray[np.float32]:
        """Logits [V, K] of normalised views [V*S, 3, H, W] or [V, S, 3, H, W], computed a few at a time.

        Raises:
            UserError: the network cannot compute them, or answers with what is not a number.
        """
        views = views.reshape(-1, *self.metadata.clip.shape)
        at_once = min(MOST_VIEWS, max(1, BATCH_VALUES // views[0].size))
        logits_VK = np.concatenate(
            [self._score(views[start : start + at_once]) for start in range(0, len(views), at_once)]
        )
        require_numbers(logits_VK, f"the network, asked about {name},")
        return logits_VK

    def answers(
        self,
        files: Sequence[StrPath],
        decoders: Decoders,
        top_k: int = 5,
        timeout_sec: float | None = TIMEOUT_SEC,
        parts: Sequence[Part] | None = None,
    ) -> Iterator[Answer]:
        """An answer for each file, in their order; while one is computed, other processes decode those after it.

        Args:
            files: videos.
            decoders: processes that decode (`pptsm.serving.decode`).
            top_k: how many classes.
            timeout_sec: a file that takes longer to decode is answered with an error.
            parts: what to look at of each; None: at all of it.
        """
        paths = [as_path(file, "a video") for file in files]
        jobs = zip(paths, parts or [None] * len(paths), strict=True)
        found = decoders.pixels(jobs, self.metadata.clip, self.sampling, timeout_sec)
        for file, pixels in zip(paths, found, strict=True):
            yield (
                Answer(file, [], pixels.reason) if isinstance(pixels, JobFailure) else self._answer(file, pixels, top_k)
            )

    def _answer(self, file: Path, pixels: Pixels, top_k: int) -> Answer:
        try:
            top, logits = self.ranked(normalise(pixels), top_k, _name_of(file))
            return Answer(file, top, logits=logits)
        except UserError as error:
            return Answer(file, [], str(error))
        except MemoryError:
            return Answer(file, [], f"it takes more memory than {memory_limit()}")


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


def predict_files(
    files: Sequence[StrPath],
    model: StrPath,
    sampling: Sampling | None = None,
    top_k: int = 5,
    timeout_sec: float | None = TIMEOUT_SEC,
    parts: Sequence[Part] | None = None,
) -> Iterator[Answer]:
    """Classify files in their order, as `pptsm predict` does: a file on which a decoder hangs or crashes is an error.

    Args:
        files: videos.
        model: the exported ONNX file, or a package.
        sampling: None: the one that the model was trained for.
        top_k: how many classes.
        timeout_sec: a file that takes longer to decode is answered with an error.
        parts: what to look at of each; None: at all of it.
    """
    with decoders(min(len(files), cores())) as processes:
        yield from Predictor(model, sampling).answers(files, processes, top_k, timeout_sec, parts)


def note_cautions(predictor: Predictor, command: str) -> None:
    """Say in the log of a command why a model's answers are not to be trusted, where there is a reason."""
    if not predictor.has_digest:
        note(
            f"{command}: {predictor.file} was exported before files had a digest: whether it is as it was then cannot "
            "be told. Exported again, it has one."
        )
    if predictor.metadata.warning:
        note(f"warning: {predictor.metadata.warning}")
