"""Split conformal prediction: which classes may be, at a coverage that validation videos vouch for.

Videos of one group (an actor, a scene) succeed and fail together, so groups, not videos, are exchangeable with those to
come. Hierarchical conformal prediction holds for such groups without any further assumption: each group weighs the
same, each video an equal part of its group, and one group more, of which nothing is known, weighs as they do. Where
each video is a group of its own, this is split conformal prediction as it is usually done.

Source: Lee, Barber and Willett, "Distribution-free inference with hierarchical data" (2023); Vovk et al., "Algorithmic
Learning in a Random World" (2005), for videos without groups. The set of all classes above a level is that of Sadinle,
Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels" (2019).

Shape legend: N videos, K classes, L levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pptsm.evaluation.metrics import softmax
from pptsm.runtime.errors import UserError

MOST_LEVELS = 512  # that are kept; with more videos some are left out, and a set may be larger than it had to be
SLACK = 1e-6  # of a probability: what another batch or another machine may change in it
ROUNDING = 1e-9  # of a share: 1 - 0.9 is not 0.1

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Levels:
    """How probable a class must at least be held for to be among those that may be, for each coverage."""

    groups: int  # of the validation videos
    least_L: tuple[float, ...]  # probability, descending
    coverage_L: tuple[float, ...]  # share of videos to come whose class has at least that probability, ascending


def group_weights(groups_N: Sequence[str]) -> Floats:
    """[N]: the weight of each video, so that each group weighs the same; they add up to 1."""
    _, group_N, sizes_G = np.unique(np.asarray(groups_N, dtype=str), return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(sizes_G) * sizes_G[group_N]))


def conformal_levels(logits_NK: Floats, labels_N: NDArray[np.int64], groups_N: Sequence[str]) -> Levels:
    """What validation videos say of the probability that a video's own class gets.

    Args:
        logits_NK: of the validation videos, N at least 1.
        labels_N: their classes.
        groups_N: their groups.
    """
    own_N = softmax(logits_NK)[np.arange(len(labels_N)), labels_N]
    groups = len(set(groups_N))
    order = np.argsort(-own_N, kind="stable")
    coverage_N = np.cumsum(group_weights(groups_N)[order]) * groups / (groups + 1)
    levels = dict(zip(own_N[order].tolist(), coverage_N.tolist(), strict=True))  # of equal probabilities the last
    least, coverage = list(levels), list(levels.values())
    if len(least) > MOST_LEVELS:  # the high coverages all, the others at even distances
        half = MOST_LEVELS // 2
        kept = [
            *np.linspace(0, len(least) - half - 1, half).astype(int).tolist(),
            *range(len(least) - half, len(least)),
        ]
        least, coverage = [least[place] for place in kept], [coverage[place] for place in kept]
    rounded = tuple(float(f"{value * (1 - SLACK):.6g}") for value in least)
    return Levels(groups, rounded, tuple(round(value, 9) for value in coverage))


def fewest_groups(coverage: float) -> int:
    """So many validation groups are needed for a coverage: 1 / (1 - coverage).

    Raises:
        UserError: the coverage is none.
    """
    if not 0 < coverage < 1:
        raise UserError(f"the coverage is {coverage:g}, and should be above 0 and below 1, as 0.9.")
    return math.ceil(1 / (1 - coverage) - ROUNDING)


def least_probability(levels: Levels, coverage: float) -> float:
    """The probability from which on a class may be, at this coverage.

    Raises:
        UserError: there were too few validation groups to vouch for it, or it is no coverage.
    """
    needed = fewest_groups(coverage)
    if levels.groups < needed:
        enough = 1 - 1 / levels.groups
        remedy = f"With these, ask for at most {_down(enough)}" if levels.groups > 1 else "Nothing can be said with one"
        raise UserError(
            f"coverage {coverage:g} needs validation videos of at least {needed} groups, 1 / (1 - coverage), and this "
            f"model was calibrated with {levels.groups}. {remedy}; or hold out more groups (index.val_share) and train "
            "again."
        )
    return next(
        least
        for least, covered in zip(levels.least_L, levels.coverage_L, strict=True)
        if covered >= coverage - ROUNDING
    )


def prediction_set(probabilities_K: Floats, least: float) -> NDArray[np.int64]:
    """The classes with at least this probability, best first; the best one where none has it.

    Classes of equal probability are all in it or all out. That the best one is in it makes no coverage smaller.
    """
    order = np.argsort(-probabilities_K, kind="stable")
    return order[: max(1, int((probabilities_K >= least).sum()))].astype(np.int64)


def _down(share: float) -> str:
    return f"{math.floor(share * 100 + ROUNDING) / 100:g}"
