"""Classify videos with an exported ONNX file; needs neither Paddle nor params.yaml."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pptsm.data.clips import evaluation_indices, views_of_file
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import ClipArray, normalise, views_of
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.evaluation.metrics import NoNumbersError, ranking, require_numbers, softmax, video_logits
from pptsm.evaluation.model_file import DIGEST
from pptsm.params.choices import Sampling
from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import JOB_BYTES, Unfinished, killable, limit_memory
from pptsm.serving.metadata import ModelMetadata
from pptsm.video.types import Frames
from pptsm.video.video import Part, VideoError, shown

BATCH_VALUES = 10 * 8 * 3 * 224 * 224  # of the views that are computed at once: ten of the published size
MOST_VIEWS = 10
TIMEOUT_SEC = 600.0  # for a file, as `pptsm predict` has it unless told otherwise


@dataclass(frozen=True)
class Guess:
    """A class and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What was found out about a file: its most probable classes, or why there are none."""

    file: Path
    top: list[Guess]
    error: str | None = None


Video = str | PathLike[str] | NDArray[np.uint8]  # a file (or FOLDER/img_%05d.jpg), or RGB frames [T, H, W, 3]


class Predictor:
    """An exported network, ready to classify videos.

    >>> from pptsm import Predictor
    >>> predictor = Predictor("model.onnx")
    >>> predictor.predict("a.mp4", top_k=1)
    [Guess(label='left', score=0.981236)]

    Args:
        onnx_file: written by the export, or by `pptsm convert`.
        sampling: "uniform" or "dense"; None: the one that the network was trained for.

    Raises:
        UserError: the file is missing, no ONNX file, not as it was exported, or was not written by the export.
    """

    def __init__(self, onnx_file: str | PathLike[str], sampling: Sampling | None = None) -> None:
        self.file = Path(onnx_file)
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

    def predict(self, video: Video, top_k: int = 5, part: Part = None) -> list[Guess]:
        """The `top_k` most probable classes of a video or of a part of it, best first.

        Args:
            video: the name of a file; or its frames, uint8 RGB [T, H, W, 3], in their order.
            top_k: how many classes, at least 1; fewer where there are fewer.
            part: what to look at of a file.

        Raises:
            VideoError: the file cannot be decoded, is cut off, or has no such part.
            UserError: the array holds no frames, or the network answers with what is not a number.
        """
        if top_k < 1:
            raise UserError(f"top_k is {top_k}, and should be at least 1.")
        clip = self.metadata.clip
        if isinstance(video, np.ndarray):
            if part is not None:
                raise UserError("a part is asked for of an array of frames: give that part of the array.")
            name, views = "an array of frames", views_of_frames(video, clip, self.sampling)
        else:
            name, views = shown(Path(video)), views_of_file(Path(video), clip, self.sampling, part)
        views = views.reshape(-1, *clip.shape)  # [V, S, 3, H, W]
        at_once = min(MOST_VIEWS, max(1, BATCH_VALUES // views[0].size))
        logits_VK = np.concatenate(
            [self._score(views[start : start + at_once]) for start in range(0, len(views), at_once)]
        )
        require_numbers(logits_VK, f"the network, asked about {name},")
        logits = video_logits(logits_VK, clip.average)[None]
        scores = softmax(logits)[0]
        return [Guess(self.metadata.labels[i], round(float(scores[i]), 6)) for i in ranking(logits, top_k)[0]]

    def predict_many(self, videos: Iterable[Video], top_k: int = 5) -> list[list[Guess]]:
        """What `predict` answers of each video, in their order; raises as it does, at the first without an answer."""
        return [self.predict(video, top_k) for video in videos]


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
    files: list[Path],
    model: Path,
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
    jobs = [(file, top_k, part) for file, part in zip(files, parts or [None] * len(files), strict=True)]
    answers = killable(_predict, jobs, 1, timeout_sec, _open_predictor, (model, sampling))
    for file, answer in zip(files, answers, strict=True):
        yield Answer(file, [], answer.reason) if isinstance(answer, Unfinished) else answer


_predictor: Predictor | None = None  # of the process that predicts


def _open_predictor(model: Path, sampling: Sampling | None) -> None:
    global _predictor  # noqa: PLW0603  opened once a process
    limit_memory()
    _predictor = Predictor(model, sampling)


def _predict(file: Path, top_k: int, part: Part) -> Answer:
    assert _predictor is not None
    try:
        return Answer(file, _predictor.predict(file, top_k, part))
    except (VideoError, NoNumbersError) as error:
        return Answer(file, [], str(error))
    except MemoryError:
        return Answer(file, [], f"it takes more than {JOB_BYTES >> 30} GB of memory")
