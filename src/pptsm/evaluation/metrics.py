"""Accuracy from logits: pure functions of arrays, counting videos, never batches.

They take numbers only. `argmax` and sorting would give NaN a class, and a maximum would lose it: so each function asks
`require_numbers` first.

Shape legend: N videos, K classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.errors import UserError

Logits = NDArray[np.floating]  # [N, K]
Labels = NDArray[np.int64]  # [N]


class NoNumbersError(UserError):
    """A network answered with what is not a number, is infinite, or is nothing."""


def require_numbers(logits: Logits, what: str = "the network") -> None:
    """Refuse logits [..., K] of which one is not a finite number, or that are none at all.

    Args:
        logits: of a network.
        what: names it, and what it was asked about.

    Raises:
        NoNumbersError: with the reasons that there are.
    """
    if logits.size and np.isfinite(logits).all():
        return
    found = f"{(~np.isfinite(logits)).sum()} of {logits.size} logits are not a number or infinite"
    raise NoNumbersError(
        f"{what} gave no answer: {found if logits.size else 'no logits at all'}. Its weights have diverged in training "
        "(lower training.base_lr), or they are damaged, or too large for the precision it computes in."
    )


@dataclass(frozen=True)
class Accuracy:
    """Shares of videos, 0 to 1."""

    videos: int
    top1: float
    top5: float
    mean_class_accuracy: float
    loss: float


def accuracy(logits: Logits, labels: Labels) -> Accuracy:
    """All headline figures of one evaluation; how far they can be trusted is in `statistics`.

    Args:
        logits: [N, K], N at least 1.
        labels: [N].

    Raises:
        NoNumbersError: a logit is not a finite number, or there is no video; so in all functions here.
    """
    require_numbers(logits)
    return Accuracy(
        videos=len(labels),
        top1=float(in_top(logits, labels, 1).mean()),
        top5=float(in_top(logits, labels, 5).mean()),
        mean_class_accuracy=float(np.nanmean(class_accuracy(logits, labels))),
        loss=cross_entropy(logits, labels),
    )


def in_top(logits: Logits, labels: Labels, k: int) -> NDArray[np.bool_]:
    """[N]: is the label among the k highest logits? Ties go to the lower class, as in `ranking`."""
    return np.asarray((ranking(logits, k) == labels[:, None]).any(axis=1))


def ranking(logits: Logits, k: int) -> NDArray[np.int64]:
    """[N, min(k, K)]: the classes of the highest logits, best first; ties go to the lower class."""
    require_numbers(logits)
    return np.argsort(-logits, axis=1, kind="stable")[:, :k].astype(np.int64)


def confusion_matrix(logits: Logits, labels: Labels) -> NDArray[np.int64]:
    """[K, K]: videos of class (row) that were taken for class (column)."""
    matrix = np.zeros((logits.shape[1],) * 2, dtype=np.int64)
    np.add.at(matrix, (labels, ranking(logits, 1)[:, 0]), 1)
    return matrix


def class_accuracy(logits: Logits, labels: Labels) -> NDArray[np.float64]:
    """[K]: share of each class's videos that were recognised; NaN for a class without videos."""
    matrix = confusion_matrix(logits, labels)
    totals = matrix.sum(axis=1)
    return np.asarray(np.divide(np.diag(matrix), totals, out=np.full(len(totals), np.nan), where=totals > 0))


def video_logits(views: Logits, average: Literal["logits", "probabilities"]) -> NDArray[np.float32]:
    """[K]: the logits that stand for a video of several views, whose logits are [V, K].

    Args:
        views: one row per view.
        average: "logits" takes their mean. "probabilities" takes the logarithm of the mean of the views' probabilities,
            so that its softmax is that mean, and the rest need not know which it was.
    """
    require_numbers(views)
    video: NDArray[np.float64] = views.astype(np.float64)
    if average == "probabilities":
        log_p = video - np.logaddexp.reduce(video, axis=1, keepdims=True)
        video = np.logaddexp.reduce(log_p, axis=0, keepdims=True) - np.log(len(views))
    mean: NDArray[np.float32] = video.mean(axis=0).astype(np.float32)
    return mean


def softmax(logits: Logits) -> NDArray[np.float64]:
    """[..., K] -> probabilities [..., K]."""
    require_numbers(logits)
    with np.errstate(over="ignore"):  # what is so far below the best has probability 0
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Mean over the videos of -log(probability of the label)."""
    require_numbers(logits)
    wide = logits.astype(np.float64)
    peak = wide.max(axis=1)
    log_sum = peak + np.log(np.exp(wide - peak[:, None]).sum(axis=1))
    return float((log_sum - wide[np.arange(len(labels)), labels]).mean())
