"""What repeats of one training say together: the mean over seeds and its interval, on split and data that stay.

Apart from `statistics`, whose intervals are those of the videos: here the videos stay and the seed changes.

Shape legend: S seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pptsm.evaluation.statistics import MISS


@dataclass(frozen=True)
class OverSeeds:
    """A figure of several seeds."""

    mean: float
    low: float | None  # 95 % interval of the mean over all seeds there could be; None with one seed
    high: float | None
    spread: float | None  # standard deviation between seeds; None with one
    seeds: int


def over_seeds(values_S: Sequence[float], least: float | None = None, most: float | None = None) -> OverSeeds:
    """The mean of a figure over seeds, with Student's t interval on S - 1 degrees of freedom.

    It says where the mean of ever more seeds would lie: it covers initial weights, order and random crops, and not the
    choice of the videos, which are the same for each seed. With two or three seeds it is wide, as it must be. Where all
    seeds agree it has no width.

    Args:
        values_S: one figure per seed, S at least 1.
        least, most: bounds that the figure cannot leave, such as 0 and 1 for a share.

    Raises:
        ValueError: there is no value, or one is not a finite number.

    Source: Student, "The probable error of a mean" (1908).

    >>> found = over_seeds([0.90, 0.94, 0.92])
    >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
    (0.92, 0.87, 0.97)
    """
    values = np.asarray(values_S, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean over seeds needs finite numbers, at least one: {list(values_S)}")
    mean = float(values.mean())
    if len(values) == 1:
        return OverSeeds(mean, None, None, None, 1)
    spread = float(values.std(ddof=1))
    reach = float(stats.t.ppf(1 - MISS / 2, len(values) - 1)) * spread / len(values) ** 0.5
    low, high = mean - reach, mean + reach
    low = low if least is None else max(least, low)
    high = high if most is None else min(most, high)
    return OverSeeds(mean, low, high, spread, len(values))
