"""How far an accuracy can be trusted: intervals by video and by group, and whether it is above chance.

Apart from `metrics`, because SciPy takes half a second to import and prediction does not need it.

Shape legend: N videos.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 10_000
VALUES_AT_ONCE = 5_000_000  # of a bootstrap; without a limit 5,000 groups take 1.3 GB
CONFIDENCE = 0.95


def interval(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share of independent videos; sensible near 0 and 1 and for few videos.

    Source: Wilson, "Probable Inference" (1927); Brown et al., "Interval Estimation for a Binomial
    Proportion" (2001).
    """
    found = stats.binomtest(right, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def interval_by_group(right_N: NDArray[np.bool_], groups_N: list[str]) -> tuple[float, float]:
    """95 % interval of a share of videos that come in groups (an actor, a scene): whole groups are drawn again.

    Videos of one group succeed and fail together, so a few groups of many videos tell less than their
    videos' number suggests. Where every group has the same share, drawing again shows no spread at all:
    then it is Wilson's interval with a group as the unit. It is never narrower than `interval`.

    Args:
        right_N: whether each video was recognised.
        groups_N: its group.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13 (percentile
    interval); Field and Welsh, "Bootstrapping clustered data" (2007).
    """
    by_group = pd.DataFrame({"right": right_N, "group": groups_N}).groupby("group")["right"].agg(["sum", "count"])
    right, count = by_group["sum"].to_numpy(), by_group["count"].to_numpy()
    low, high = interval(int(right.sum()), int(count.sum()))
    if len(by_group) == len(groups_N):  # each video is its own group
        return low, high
    if len(set(right / count)) == 1:
        share, groups = right.sum() / count.sum(), len(by_group)
        found = interval(round(share * groups), groups)
    else:
        found = _groups_drawn_again(right, count)
    return min(low, found[0]), max(high, found[1])


def _groups_drawn_again(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """95 % percentile interval of a mean over all videos, from each group's sum and number of videos."""
    drawn = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, VALUES_AT_ONCE // len(counts)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(drawn.low), float(drawn.high)


@dataclass(frozen=True)
class Gain:
    """What one network recognises more than another, of the same videos; shares are -1 to 1."""

    gain: float
    gain_low: float  # 95 % interval
    gain_high: float

    def in_words(self) -> str:
        """In points of top-1."""
        gain, low, high = (f"{share * 100:+.1f}" for share in (self.gain, self.gain_low, self.gain_high))
        return f"{gain} points of top-1 (95 % interval {low} to {high})"


def gain_over(right_N: NDArray[np.bool_], other_right_N: NDArray[np.bool_], groups_N: list[str]) -> Gain:
    """The difference of two networks' accuracies on the same videos, with the interval of a paired comparison.

    It is that of independent videos, or, where that is wider, that of whole groups drawn again: what both know, and
    what neither knows, says nothing about the difference. It covers the choice of the videos, not that of the seed.

    Args:
        right_N, other_right_N: whether each video was recognised, by either network; N at least 1.
        groups_N: its group.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions" (2005); the
    bootstrap as in `interval_by_group`.
    """
    difference_N = right_N.astype(np.int64) - other_right_N
    won, lost, total = (difference_N > 0).sum() + 0.5, (difference_N < 0).sum() + 0.5, len(difference_N) + 2
    middle, spread = (won - lost) / total, np.sqrt(won + lost - (won - lost) ** 2 / total) / total
    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) * spread
    low, high = max(-1.0, middle - reach), min(1.0, middle + reach)
    by_group = pd.DataFrame({"more": difference_N, "group": groups_N}).groupby("group")["more"].agg(["sum", "count"])
    more, count = by_group["sum"].to_numpy(), by_group["count"].to_numpy()
    if len(set(more / count)) > 1:  # else drawing again shows no spread at all
        of_groups = _groups_drawn_again(more, count)
        low, high = min(low, of_groups[0]), max(high, of_groups[1])
    return Gain(float(difference_N.mean()), float(low), float(high))


@dataclass(frozen=True)
class Verdict:
    """Whether a network knows more than nothing; shares are 0 to 1."""

    videos: int
    groups: int
    top1: float
    low: float  # lower end of the 95 % interval, by group
    guessing: float  # what guessing reaches: 1 / classes
    largest_class: float  # what naming the most frequent class reaches
    above_chance: bool

    @property
    def chance(self) -> float:
        """The better of the two ways to know nothing."""
        return max(self.guessing, self.largest_class)


def judge(right_N: NDArray[np.bool_], labels_N: NDArray[np.int64], groups_N: list[str], classes: int) -> Verdict:
    """Compare an accuracy with chance: above it only if the whole 95 % interval by group is.

    Args:
        right_N: whether each video was recognised; N at least 1.
        labels_N: its class.
        groups_N: its group.
        classes: how many classes there are.
    """
    low, _ = interval_by_group(right_N, groups_N)
    largest = float(np.bincount(labels_N, minlength=classes).max() / len(labels_N))
    return Verdict(
        videos=len(labels_N),
        groups=len(set(groups_N)),
        top1=float(right_N.mean()),
        low=low,
        guessing=1 / classes,
        largest_class=largest,
        above_chance=low > max(1 / classes, largest),
    )
