"""Whether a video shows any of the classes: how unlike its logits are to those of known videos.

Two scores, the higher the stranger. The distance is that of the logits from the nearest class of training videos,
measured by how the logits of one class scatter. The energy needs no training videos; a network that is sure of
everything has a low one for everything.

Source: Lee et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks"
(2018), for the distance, here of logits; Liu et al., "Energy-based out-of-distribution detection" (2020).

Shape legend: N videos, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pptsm.evaluation.conformal import ROUNDING, group_weights
from pptsm.evaluation.metrics import require_numbers

SHRINKAGE = 0.1  # of the scatter towards a sphere: few videos say little about K x K numbers
MOST_CLASSES = 64  # a model file carries K x K numbers; with more classes the energy is taken
VIDEOS_OF_A_CLASS = 20  # training videos that are looked at; with 5 the archery clip is found in four trials of five
FEWEST_OF_A_CLASS = 5

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class ClassDistance:
    """Where the logits of each class lie, and how they scatter about it."""

    means_KK: Floats  # of each class its mean logits
    whiten_KK: Floats  # makes the scatter within classes a unit sphere

    def __call__(self, logits_NK: Floats) -> Floats:
        """[N]: squared Mahalanobis distance from the nearest class."""
        require_numbers(logits_NK)
        apart_NKK = logits_NK[:, None].astype(np.float64) - self.means_KK
        return np.asarray(((apart_NKK @ self.whiten_KK) ** 2).sum(axis=2).min(axis=1))


def class_distance(logits_NK: Floats, labels_N: NDArray[np.int64]) -> ClassDistance | None:
    """The distance from training videos; None where there are too many classes, or too few videos of one.

    Args:
        logits_NK: of training videos.
        labels_N: their classes.
    """
    classes = logits_NK.shape[1]
    counts_K = np.bincount(labels_N, minlength=classes)
    if not 2 <= classes <= MOST_CLASSES or counts_K.min() < FEWEST_OF_A_CLASS:
        return None
    require_numbers(logits_NK)
    wide = logits_NK.astype(np.float64)
    means_KK = np.stack([wide[labels_N == number].mean(axis=0) for number in range(classes)])
    apart_NK = wide - means_KK[labels_N]
    scatter_KK = apart_NK.T @ apart_NK / len(apart_NK)
    sphere = np.trace(scatter_KK) / classes
    if sphere <= 0:  # all videos of a class are alike: there is no scale
        return None
    scatter_KK = (1 - SHRINKAGE) * scatter_KK + SHRINKAGE * sphere * np.eye(classes)
    return ClassDistance(means_KK, np.linalg.cholesky(np.linalg.inv(scatter_KK)))


def energy(logits_NK: Floats) -> Floats:
    """[N]: -log of the sum of exp(logit)."""
    require_numbers(logits_NK)
    return np.asarray(-np.logaddexp.reduce(logits_NK.astype(np.float64), axis=1))


def alarm_threshold(scores_N: Floats, groups_N: Sequence[str], share: float) -> float | None:
    """The score above which a video shows none of the classes; at most this share of known videos lies above.

    Groups weigh the same. That holds for groups to come the better, the more groups there were: a bound for any number
    would ask for 1 / share groups.

    Args:
        scores_N: of validation videos.
        groups_N: their groups.
        share: of false alarms.

    Returns:
        None where fewer than 1 / share videos, or a single group, cannot tell.

    Source: Dunn, Wasserman and Ramdas, "Distribution-free prediction sets for two-layer hierarchical models" (2022),
    pooling of the groups' distributions.
    """
    if len(scores_N) < math.ceil(1 / share - ROUNDING) or len(set(groups_N)) < 2:
        return None
    order = np.argsort(scores_N, kind="stable")
    below_N = np.cumsum(group_weights(groups_N)[order])
    level = min(1.0, (1 - share) * (1 + 1 / len(scores_N)))
    place = min(int(np.searchsorted(below_N, level - ROUNDING)), len(order) - 1)
    return float(scores_N[order[place]])
