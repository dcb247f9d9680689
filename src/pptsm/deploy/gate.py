"""The gate of the export: an ONNX file must compute what Paddle computes; and what it costs."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pptsm.data.transforms import ClipArray
from pptsm.errors import UserError
from pptsm.evaluation.engines import Scorer, onnx_scorer, open_session


@dataclass(frozen=True)
class Agreement:
    """How far ONNX Runtime is from Paddle on the same clips."""

    clips: int
    max_relative_difference: float  # of the logits, relative to the largest logit of the clip
    same_top1: bool


def compare(network: Scorer, exported: Scorer, clips: Iterable[ClipArray]) -> Agreement:
    """Score clips [S, 3, H, W] with the network itself and with the exported file."""
    worst, same, count = 0.0, True, 0
    for clip in clips:
        ours, theirs = network(clip[None]), exported(clip[None])
        worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(ours).max()))
        same &= bool((ours.argmax(axis=1) == theirs.argmax(axis=1)).all())
        count += 1
    return Agreement(count, worst, same)


def require(agreement: Agreement, tolerance: float, what: str = "the ONNX file") -> None:
    """The gate.

    Args:
        agreement: what `compare` found.
        tolerance: largest difference of the logits, relative to the largest.
        what: names the file in the error.

    Raises:
        UserError: the exported file does not compute what the network computes.
    """
    # written so that NaN fails too
    if not (agreement.max_relative_difference <= tolerance and agreement.same_top1):
        raise UserError(
            f"{what} does not agree with Paddle on {agreement.clips} real clips: logits differ by "
            f"{agreement.max_relative_difference:.3g} of the largest (allowed {tolerance:g}), same top-1: "
            f"{agreement.same_top1}. Nothing was exported. Check the versions of paddlepaddle and paddle2onnx."
        )


def middle_view(views: ClipArray, segments: int) -> ClipArray:
    """One clip [S, 3, H, W] of a video's views [V*S, 3, H, W]: of several dense clips one that is not at an end."""
    clips = views.reshape(-1, segments, *views.shape[1:])
    clip: ClipArray = clips[len(clips) // 2]
    return clip


def latency_ms(onnx_file: Path, clip: ClipArray, runs: int) -> float:
    """Median time of ONNX Runtime for one clip [S, 3, H, W] on all cores, in milliseconds."""
    score = onnx_scorer(open_session(onnx_file))
    times = []
    for _ in range(runs + 2):  # the first two warm up
        started = time.perf_counter()
        score(clip[None])
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]) * 1000)
