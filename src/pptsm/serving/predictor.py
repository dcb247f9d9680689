"""Classify video files with an exported ONNX file; needs neither Paddle nor params.yaml."""

import concurrent.futures
import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pebble import ProcessExpired, ProcessPool

from pptsm.data.clips import views_of_file
from pptsm.data.video import VideoError
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.evaluation.metrics import ranking, softmax
from pptsm.params import Sampling
from pptsm.serving.metadata import ModelMetadata

BATCH_VIEWS = 10
TIMEOUT_SEC = 600.0  # for a file, as `pptsm predict` has it unless told otherwise
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


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

    def predict(self, path: Path, top_k: int = 5) -> list[Guess]:
        """The `top_k` most probable classes of a video, best first.

        Raises:
            VideoError: the file cannot be decoded.
        """
        clip = self.metadata.clip
        views = views_of_file(path, clip, self.sampling)
        views = views.reshape(-1, clip.segments, *views.shape[1:])  # [V, S, 3, H, W]
        logits = np.concatenate(
            [self._score(views[start : start + BATCH_VIEWS]) for start in range(0, len(views), BATCH_VIEWS)]
        ).mean(axis=0, keepdims=True)
        scores = softmax(logits)[0]
        return [Guess(self.metadata.labels[i], round(float(scores[i]), 6)) for i in ranking(logits, top_k)[0]]


def predict_files(
    files: list[Path], model: Path, sampling: Sampling | None, top_k: int, timeout_sec: float
) -> Iterator[Answer]:
    """Classify files one by one, in their order, each as soon as it is asked for.

    The work is done in another process: some broken containers keep the decoder busy for ever or crash it.

    Args:
        files: videos.
        model: the exported ONNX file.
        sampling: None: the one that the model was trained for.
        top_k: how many classes.
        timeout_sec: a file that takes longer is answered with an error.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPool(1, initializer=_open_predictor, initargs=[model, sampling], context=context) as pool:
        try:
            for file in files:
                job = pool.schedule(_predict, args=[file, top_k], timeout=timeout_sec)
                try:
                    yield Answer(file, job.result())
                except VideoError as error:
                    yield Answer(file, [], str(error))
                except concurrent.futures.TimeoutError:
                    yield Answer(file, [], f"it took longer than {timeout_sec:g} s")
                except ProcessExpired as error:
                    yield Answer(file, [], f"the decoder crashed (exit code {error.exitcode})")
        except BaseException:
            pool.stop()
            raise


_predictor: Predictor | None = None  # of the process that predicts


def _open_predictor(model: Path, sampling: Sampling | None) -> None:
    global _predictor  # noqa: PLW0603  opened once a process
    if sys.platform == "linux":  # a decoder that hangs must not outlive a killed starter
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _predictor = Predictor(model, sampling)


def _predict(file: Path, top_k: int) -> list[Guess]:
    assert _predictor is not None
    return _predictor.predict(file, top_k)
