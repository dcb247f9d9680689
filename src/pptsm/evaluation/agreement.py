"""Several networks asked about the same videos: how often they agree, and how far apart they are over groups.

Shape legend: N videos, G groups, M networks, B resamples.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLES = 4000
SEED = 2026  # the same videos give the same interval each time
AT_ONCE = 1 << 22  # numbers drawn at once: 20,000 groups would else fill the memory


def agreement_matrix(answers: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """[M, M]: the share of the videos to which two networks give the same answer, right or wrong.

    Args:
        answers: of each network the class of each video, in the same order; at least one video.
    """
    codes_MN = pd.factorize(np.asarray(answers, dtype=object).ravel())[0].reshape(len(answers), -1)
    return np.array([[float((one == other).mean()) for other in codes_MN] for one in codes_MN])


def bootstrap_by_group(
    right_N: NDArray[np.bool_],
    other_right_N: NDArray[np.bool_],
    groups_N: Sequence[str],
    miss: float = 0.05,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """The percentile interval of the difference of two networks' accuracies, whole groups drawn with replacement.

    Few groups make it too narrow (`statistics.gain_over` allows for that); with many the two are alike.

    Args:
        right_N, other_right_N: whether each video was recognised, by either network; N at least 1.
        groups_N: its group.
        miss: share of such intervals that may miss.
        resamples: B.

    Returns:
        Both ends, -1 to 1; None where all videos are of one group.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; of clusters: Davison and
    Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.
    """
    group_N, _ = pd.factorize(np.asarray(groups_N, dtype=object))
    sizes_G = np.bincount(group_N)
    if len(sizes_G) == 1:
        return None
    gained_G = np.bincount(group_N, right_N.astype(np.int64) - other_right_N.astype(np.int64))
    rng, groups = np.random.default_rng(SEED), len(sizes_G)
    found = []
    for start in range(0, resamples, at_once := max(1, AT_ONCE // groups)):
        drawn_BG = rng.integers(groups, size=(min(at_once, resamples - start), groups))
        found.append(gained_G[drawn_BG].sum(axis=1) / sizes_G[drawn_BG].sum(axis=1))
    low, high = np.quantile(np.concatenate(found), [miss / 2, 1 - miss / 2])
    return float(low), float(high)
