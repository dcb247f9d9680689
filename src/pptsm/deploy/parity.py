"""The gate of the export: an ONNX file must compute what Paddle computes; and what it costs."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pptsm.data.transforms import ClipArray
from pptsm.evaluation.engines import Scorer, onnx_scorer, open_session
from pptsm.evaluation.metrics import require_numbers
from pptsm.runtime.errors import UserError

SMALLEST = float(np.finfo(np.float32).tiny)  # of a largest logit: below it differences cannot be measured


@dataclass(frozen=True)
class Agreement:
    """How far ONNX Runtime is from Paddle on the same clips."""

    clips: int
    max_relative_difference: float  # of the logits, relative to the largest logit of the clip
    same_top1: bool


def compare(network: Scorer, exported: Scorer, clips: Iterable[ClipArray]) -> Agreement:
    """Score clips [S, 3, H, W] with the network itself and with the exported file.

    Raises:
        UserError: there is no clip; or of one the logits of either are not finite numbers, not as many, or the same
            for all classes, as those of a network that never learned: two that say nothing cannot be compared.
    """
    differences, same = [], True
    for number, clip in enumerate(clips, start=1):
        ours, theirs = network(clip[None]), exported(clip[None])
        for logits, what in ((ours, "Paddle's network"), (theirs, "the ONNX file")):
            require_numbers(logits, f"{what}, on clip {number} of the comparison,")
        if ours.shape != theirs.shape:
            raise UserError(
                f"the ONNX file gives {list(theirs.shape)} logits of a clip, and Paddle's network {list(ours.shape)}: "
                "they are not the same network. Export it again."
            )
        largest = float(np.abs(ours).max())
        if largest < SMALLEST or (ours.shape[-1] > 1 and np.ptp(ours) == 0):
            raise UserError(
                f"Paddle's network gives all classes the logit {ours.flat[0]:g} on clip {number} of the comparison: "
                "its last layer has learned nothing, so there is nothing to compare. Train it, or take other weights."
            )
        differences.append(float(np.abs(ours.astype(np.float64) - theirs).max()) / largest)
        same &= bool((ours.argmax(axis=1) == theirs.argmax(axis=1)).all())
    if not differences:
        raise UserError("there is no clip to compare the ONNX file with Paddle on. Give videos to the comparison.")
    return Agreement(len(differences), max(differences), same)


def require(agreement: Agreement, tolerance: float, what: str = "the ONNX file") -> None:
    """The gate.

    Args:
        agreement: what `compare` found.
        tolerance: largest difference of the logits, relative to the largest.
        what: names the file in the error.

    Raises:
        UserError: the exported file does not compute what the network computes, or that was not looked at.
    """
    difference = agreement.max_relative_difference
    # said so that NaN is refused
    if agreement.clips >= 1 and 0 <= difference <= tolerance < math.inf and agreement.same_top1:
        return
    raise UserError(
        f"{what} does not agree with Paddle on {agreement.clips} real clips: logits differ by {difference:.3g} of the "
        f"largest (allowed {tolerance:g}), same top-1: {agreement.same_top1}. Nothing was exported. Check the versions "
        "of paddlepaddle and paddle2onnx."
    )


def latency_ms(onnx_file: Path, clip: ClipArray, runs: int) -> float:
    """Median time of ONNX Runtime for one clip [S, 3, H, W] on all cores, in milliseconds."""
    score = onnx_scorer(open_session(onnx_file))
    times = []
    for _ in range(runs + 2):  # the first two warm up
        started = time.perf_counter()
        score(clip[None])
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]) * 1000)
