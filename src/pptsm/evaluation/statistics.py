"""How far an accuracy can be trusted: intervals by video and by group, and whether it is above chance.

Apart from `metrics`, because SciPy takes half a second to import and prediction does not need it; `scipy.stats` takes
another second, and is imported where few groups need it.

Shape legend: N videos, G groups, O outcomes that a video can have, M values of a share, R values of the correlation.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, gammaln, logit, ndtri

MISS = 0.05  # share of all intervals that may miss what they are to cover
# The grid of the posterior by group: values of a share and of the correlation, and how often it is laid anew, closer.
SHARES, CORRELATIONS, ZOOMS = 100, 24, 3
NO_MASS = 1e-9  # of the largest value: what lies outside when the grid is laid anew
LOGITS = (float(logit(1e-5)), float(logit(0.999)))  # of the correlations: 0 and 1 themselves have no Dirichlet
JEFFREYS = 0.5  # pseudo-videos of each outcome

Floats = NDArray[np.floating]
Counts = NDArray[np.int64]
Interval = tuple[float, float]


def interval(right: int, total: int, miss: float = MISS) -> Interval:
    """Interval of a share of independent videos; sensible near 0 and 1 and for few videos.

    Args:
        right: videos that were recognised.
        total: of so many, at least 1.
        miss: share of such intervals that may miss; 0.05 gives a 95 % interval.

    Source: Wilson, "Probable Inference" (1927); Brown et al., "Interval Estimation for a Binomial
    Proportion" (2001).
    """
    share, z = right / total, ndtri(0.5 + 0.5 * (1 - miss))
    denominator = 2 * (total + z**2)
    middle = (2 * total * share + z**2) / denominator
    reach = z / denominator * np.sqrt(4 * total * share * (1 - share) + z**2)
    return float(middle - reach) if right > 0 else 0.0, float(middle + reach) if right < total else 1.0


def interval_by_group(right_N: NDArray[np.bool_], groups_N: list[str], miss: float = MISS) -> Interval | None:
    """Interval of the share of videos recognised in groups never seen (an actor, a scene); None with one group.

    Videos of one group succeed and fail together, so a few groups of many videos tell less than the number of their
    videos suggests. How much they do follows from the groups' own shares. Few groups say little about that: therefore
    every correlation counts, weighed by how well it explains the shares (`_elsewhere`). Where each group is wholly
    right or wholly wrong, a group may tell no more than one video: then the exact interval of the groups is covered
    too. Never narrower than `interval`. benchmarks/coverage.py measures how often it covers.

    Args:
        right_N: whether each video was recognised; N at least 1.
        groups_N: its group.
        miss: as in `interval`.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial"
    (1934), for the groups.
    """
    counts_GO = _by_group(groups_N, right_N, ~right_N)
    right_G, wrong_G = counts_GO.T
    groups = len(counts_GO)
    if groups == 1:
        return None
    found = [interval(int(right_G.sum()), len(groups_N), miss)]
    if groups < len(groups_N):  # else each video is its own group
        found.append(_elsewhere(counts_GO, miss))
        if not (right_G * wrong_G).any():
            from scipy import stats

            whole = stats.binomtest(int((right_G > 0).sum()), groups).proportion_ci(1 - miss, method="exact")
            found.append((float(whole.low), float(whole.high)))
    return min(low for low, _ in found), max(high for _, high in found)


def _by_group(groups_N: list[str], *outcomes_N: NDArray[np.bool_]) -> Counts:
    """[G, O]: how many videos of each group have each outcome."""
    group_N, _ = pd.factorize(np.asarray(groups_N, dtype=object))
    return np.stack([np.bincount(group_N, outcome_N) for outcome_N in outcomes_N], axis=1).astype(np.int64)


def _elsewhere(counts_GO: Counts, miss: float) -> Interval:
    """Interval of a share in groups never seen, from what was counted in some groups.

    Each group has shares of its own, which scatter about the shares of all groups as a Dirichlet distribution; two
    videos of one group are then correlated, the more the wider the scatter. Beforehand every correlation from 0 to 1 is
    equally likely, and the shares of all groups have Jeffreys' prior. The interval is the middle of the posterior.

    Args:
        counts_GO: videos of each outcome. Of two outcomes the first one's share is sought; of three the first one's
            less the last one's.
        miss: share of the posterior outside of the interval, half of it on each side.

    Source: Skellam, "A probability distribution derived from the binomial distribution by regarding the probability of
    success as variable between the sets of trials" (1948); Mosimann, "On the compound multinomial distribution" (1962).
    """
    of_two = counts_GO.shape[1] == 2
    totals, times = np.unique(counts_GO.sum(axis=1), return_counts=True)
    places = np.arange(SHARES)
    pairs_MM = places[:, None] + (0 if of_two else places)  # where the second outcome's share stands; of two [M, 1]
    first, last, step, logits = 0.0, 0.0, 1 / SHARES, LOGITS  # the grid's corner and spacing, and its correlations
    for zoom in range(ZOOMS):
        logits_R, width = np.linspace(*logits, CORRELATIONS, retstep=True)
        size_R = np.exp(-logits_R)  # (1 - correlation) / correlation: the Dirichlet's pseudo-videos
        second = 1 - first - last - step * (np.arange(pairs_MM.max() + 1) + (0.5 if of_two else 1))
        log_MMR = _log_part(counts_GO[:, 1], second, size_R)[pairs_MM]
        log_MMR = log_MMR + _log_part(counts_GO[:, 0], first + step * (places + 0.5), size_R)[:, None]
        if not of_two:
            log_MMR += _log_part(counts_GO[:, 2], last + step * (places + 0.5), size_R)
        log_MMR -= times @ (gammaln(size_R + totals[:, None]) - gammaln(size_R))
        log_MMR += np.log(expit(logits_R) * expit(-logits_R))  # equally likely correlations, on a grid of logits
        mass_MMR = np.exp(log_MMR - log_MMR.max())
        mass_MM = mass_MMR.sum(axis=2)
        if zoom == ZOOMS - 1:
            break
        begin, end = _with_mass(mass_MM.sum(axis=1))
        begin_last, end_last = (0, 0) if of_two else _with_mass(mass_MM.sum(axis=0))
        first, last = first + step * begin, last + step * begin_last
        step *= max(end - begin, end_last - begin_last) / SHARES
        begin, end = _with_mass(mass_MMR.sum(axis=(0, 1)))
        logits = max(LOGITS[0], logits[0] + width * (begin - 1)), min(LOGITS[1], logits[0] + width * end)
    if of_two:
        edges, mass = first + step * np.arange(SHARES + 1), mass_MM[:, 0]
    else:
        edges = first - last + step * (np.arange(2 * SHARES) - SHARES + 0.5)
        mass = np.bincount((places[:, None] - places + SHARES - 1).ravel(), mass_MM.ravel())
    reached = np.concatenate([[0.0], mass.cumsum()]) / mass.sum()
    return float(np.interp(miss / 2, reached, edges)), float(np.interp(1 - miss / 2, reached, edges))


def _log_part(count_G: Counts, share_M: Floats, size_R: Floats) -> Floats:
    """[M, R]: an outcome's part in the logarithm of likelihood and prior; minus infinity for a share not above 0."""
    possible = share_M > 0
    share = np.where(possible, share_M, 1.0)
    alpha_MR = share[:, None] * size_R
    counts, times = np.unique(count_G[count_G > 0], return_counts=True)
    part_MR = (JEFFREYS - 1) * np.log(share)[:, None] - times.sum() * gammaln(alpha_MR)
    for count, often in zip(counts, times, strict=True):
        part_MR += often * gammaln(alpha_MR + count)
    return np.where(possible[:, None], part_MR, -np.inf)


def _with_mass(mass: Floats) -> tuple[int, int]:
    """The first cell that counts and the one behind the last."""
    cells = np.flatnonzero(mass > NO_MASS * mass.max())
    return int(cells[0]), int(cells[-1]) + 1


@dataclass(frozen=True)
class Gain:
    """What one network recognises more than another, of the same videos; shares are -1 to 1."""

    gain: float
    gain_low: float | None  # 95 % interval; None where all videos are of one group
    gain_high: float | None

    def in_words(self) -> str:
        """In points of top-1."""
        if self.gain_low is None or self.gain_high is None:
            return f"{self.gain * 100:+.1f} points of top-1 (no interval: all videos are of one group)"
        gain, low, high = (f"{share * 100:+.1f}" for share in (self.gain, self.gain_low, self.gain_high))
        return f"{gain} points of top-1 (95 % interval {low} to {high})"


def gain_over(right_N: NDArray[np.bool_], other_right_N: NDArray[np.bool_], groups_N: list[str]) -> Gain:
    """The difference of two networks' accuracies on the same videos, with the interval of a paired comparison.

    It is that of independent videos or, where that is wider, that of groups never seen, as in `interval_by_group`: what
    both know, and what neither knows, says nothing about the difference. It covers the choice of the videos, not that
    of the seed.

    Args:
        right_N, other_right_N: whether each video was recognised, by either network; N at least 1.
        groups_N: its group.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions" (2005), for
    independent videos.
    """
    won_N, lost_N = right_N & ~other_right_N, ~right_N & other_right_N
    gain = float(won_N.mean() - lost_N.mean())
    counts_GO = _by_group(groups_N, won_N, ~(won_N | lost_N), lost_N)
    groups = len(counts_GO)
    if groups == 1:
        return Gain(gain, None, None)
    found = [_paired(int(won_N.sum()), int(lost_N.sum()), len(won_N))]
    if groups < len(groups_N):
        found.append(_elsewhere(counts_GO, MISS))
        if ((counts_GO > 0).sum(axis=1) == 1).all():  # each group may tell no more than one video
            found.append(_paired(int((counts_GO[:, 0] > 0).sum()), int((counts_GO[:, 2] > 0).sum()), groups))
    return Gain(gain, min(low for low, _ in found), max(high for _, high in found))


def _paired(won: int, lost: int, total: int) -> Interval:
    """Interval of the difference of two shares of the same independent videos."""
    more, less, of = won + 0.5, lost + 0.5, total + 2
    middle, spread = (more - less) / of, np.sqrt(more + less - (more - less) ** 2 / of) / of
    reach = ndtri(1 - MISS / 2) * spread
    return float(max(-1.0, middle - reach)), float(min(1.0, middle + reach))


@dataclass(frozen=True)
class Verdict:
    """Whether a network knows more than nothing; shares are 0 to 1."""

    videos: int
    groups: int
    top1: float
    low: float  # lower end of the interval by group; with one group, by video
    low_by_video: float
    guessing: float  # what guessing reaches: 1 / classes
    largest_class: float  # what naming the most frequent class reaches
    compared: int  # epochs among which these videos chose the weights; 1: they chose none
    above_chance: bool | None  # None: one group is not enough to say

    @property
    def chance(self) -> float:
        """The better of the two ways to know nothing."""
        return max(self.guessing, self.largest_class)


def judge(
    right_N: NDArray[np.bool_], labels_N: NDArray[np.int64], groups_N: list[str], classes: int, compared: int = 1
) -> Verdict:
    """Compare an accuracy with chance: above it only if the whole interval by group is.

    The best of several epochs is above chance more often than each of them. Where these videos chose the epoch, the
    interval therefore misses that much more seldom (Bonferroni's correction, which holds however alike the epochs are).

    Args:
        right_N: whether each video was recognised; N at least 1.
        labels_N: its class.
        groups_N: its group.
        classes: how many classes there are.
        compared: epochs of which these very videos chose the best.
    """
    by_group = interval_by_group(right_N, groups_N, MISS / compared)
    by_video = interval(int(right_N.sum()), len(right_N), MISS / compared)
    low = (by_group or by_video)[0]
    largest = float(np.bincount(labels_N, minlength=classes).max() / len(labels_N))
    above = low > max(1 / classes, largest)
    return Verdict(
        videos=len(labels_N),
        groups=len(set(groups_N)),
        top1=float(right_N.mean()),
        low=low,
        low_by_video=by_video[0],
        guessing=1 / classes,
        largest_class=largest,
        compared=compared,
        above_chance=None if above and by_group is None else above,
    )
