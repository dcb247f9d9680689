"""Whether probabilities can be taken at their word: reliability in bins, and its one figure.

Shape legend: N videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Bin:
    """Videos whose answers have about the same probability; shares are 0 to 1."""

    low: float  # of the probability, itself not in the bin
    high: float  # itself in the bin
    videos: int
    confidence: float  # mean probability of their answers
    accuracy: float  # share that was right


def reliability(confidence_N: Floats, right_N: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """The bins of equal width that have videos, in order.

    Args:
        confidence_N: the probability of each video's answer, 0 to 1.
        right_N: whether it was right.
        bins: how many there are from 0 to 1.

    Raises:
        ValueError: a probability is none, or there is no video.
    """
    if not len(confidence_N) or not ((confidence_N >= 0) & (confidence_N <= 1)).all():  # said so that NaN is refused
        raise ValueError(f"{len(confidence_N)} probabilities, of which not all are between 0 and 1")
    edges = np.linspace(0, 1, bins + 1)
    bin_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, bins - 1)
    found = []
    for number in np.unique(bin_N).tolist():
        inside = bin_N == number
        mean, share = float(confidence_N[inside].mean()), float(right_N[inside].mean())
        found.append(Bin(float(edges[number]), float(edges[number + 1]), int(inside.sum()), mean, share))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: by how much probability and share of right answers differ, mean over the videos.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015); with
    15 bins as in Guo et al., "On calibration of modern neural networks" (2017).
    """
    return sum(one.videos * abs(one.confidence - one.accuracy) for one in bins) / sum(one.videos for one in bins)
