"""Classify video files with an exported ONNX file; needs neither Paddle nor params.yaml."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pptsm.data.clips import views_of_file
from pptsm.data.names import Sampling
from pptsm.data.video import Part, VideoError
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.evaluation.metrics import ranking, softmax, video_logits
from pptsm.serving.metadata import ModelMetadata
from pptsm.workers import Unfinished, killable

BATCH_VIEWS = 10
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


class Predictor:
    """An exported network, ready to classify files.

    Raises:
        UserError: the file is missing, no ONNX file, or was not written by the export.
    """

    def __init__(self, onnx_file: Path, sampling: Sampling | None = None) -> None:
        session = open_session(onnx_file)
        self._score = onnx_scorer(session)
        self.metadata = ModelMetadata.of(session, onnx_file)
        self.sampling: Sampling = sampling or self.metadata.clip.sampling

    def predict(self, path: Path, top_k: int = 5, part: Part = None) -> list[Guess]:
        """The `top_k` most probable classes of a video or of a part of it, best first.

        Raises:
            VideoError: the file cannot be decoded, is cut off, or has no such part.
        """
        clip = self.metadata.clip
        views = views_of_file(path, clip, self.sampling, part)
        views = views.reshape(-1, *clip.shape)  # [V, S, 3, H, W]
        logits_VK = np.concatenate(
            [self._score(views[start : start + BATCH_VIEWS]) for start in range(0, len(views), BATCH_VIEWS)]
        )
        logits = video_logits(logits_VK, clip.average)[None]
        scores = softmax(logits)[0]
        return [Guess(self.metadata.labels[i], round(float(scores[i]), 6)) for i in ranking(logits, top_k)[0]]


def predict_files(
    files: list[Path],
    model: Path,
    sampling: Sampling | None,
    top_k: int,
    timeout_sec: float,
    parts: Sequence[Part] | None = None,
) -> Iterator[Answer]:
    """Classify files one by one, in their order, in a process that is killed where a file keeps it busy or crashes it.

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
    _predictor = Predictor(model, sampling)


def _predict(file: Path, top_k: int, part: Part) -> Answer:
    assert _predictor is not None
    try:
        return Answer(file, _predictor.predict(file, top_k, part))
    except VideoError as error:
        return Answer(file, [], str(error))
