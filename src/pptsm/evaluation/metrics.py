"""Accuracy from logits: pure functions of arrays, counting videos, never batches.

Shape legend: N videos, K classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.floating]  # [N, K]
Labels = NDArray[np.int64]  # [N]


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
    """
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
        views: a row a view.
        average: "logits" takes their mean. "probabilities" takes the logarithm of the mean of the views' probabilities,
            so that its softmax is that mean, and the rest need not know which it was.
    """
    video: NDArray[np.float64] = views.astype(np.float64)
    if average == "probabilities":
        log_p = video - np.logaddexp.reduce(video, axis=1, keepdims=True)
        video = np.logaddexp.reduce(log_p, axis=0, keepdims=True) - np.log(len(views))
    mean: NDArray[np.float32] = video.mean(axis=0).astype(np.float32)
    return mean


def softmax(logits: Logits) -> NDArray[np.float64]:
    """[..., K] -> probabilities [..., K]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Mean over the videos of -log(probability of the label)."""
    wide = logits.astype(np.float64)
    peak = wide.max(axis=1)
    log_sum = peak + np.log(np.exp(wide - peak[:, None]).sum(axis=1))
    return float((log_sum - wide[np.arange(len(labels)), labels]).mean())
