"""Which groups are for the test in which fold, for validation, and for training on fewer videos: pure functions.

Shape legend: G groups, K classes, F folds.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pptsm.runtime.console import one_line
from pptsm.runtime.errors import UserError

SHARES = (25, 50, 100)  # percent of a fold's training groups, of a learning curve
PARTS = 4  # so many equal parts a fold's training groups are divided into for it
SHOWN = 5  # names in a sentence


@dataclass(frozen=True)
class Fold:
    """One training and its test: a seed, a fold of it, and the share of the training groups that is trained on."""

    seed: int
    number: int  # from 0
    share: int = 100  # percent

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"seed-{self.seed}-fold-{self.number}-of-the-groups-{self.share}"


def divide(videos: pd.DataFrame, folds: int, seed: int) -> dict[str, int]:
    """Group -> fold, from 0: each fold with about the same number of videos of each class, as far as groups allow.

    The groups whose classes are most uneven come first, in random order where they are alike; each goes where it
    leaves each class's videos most evenly spread. No fold stays without a group.

    Args:
        videos: columns `group` and `label_index`.
        folds: at most as many as there are groups.
        seed: of the order.

    Source: the rule of scikit-learn's StratifiedGroupKFold.
    """
    counts_GK = pd.crosstab(videos["group"], videos["label_index"])
    of_class_K = counts_GK.to_numpy().sum(axis=0)
    shuffled = np.random.default_rng([seed, folds]).permutation(len(counts_GK))
    uneven_G = counts_GK.to_numpy()[shuffled].std(axis=1)
    order = shuffled[np.argsort(-uneven_G, kind="stable")]
    found_FK = np.zeros((folds, len(of_class_K)))
    place: dict[str, int] = {}
    for done, row in enumerate(order):
        group_K = counts_GK.to_numpy()[row]
        empty = [fold for fold in range(folds) if not found_FK[fold].any()]
        open_folds = empty if len(order) - done <= len(empty) else range(folds)

        def spread(fold: int, group_K: np.ndarray = group_K) -> tuple[float, float]:
            after_FK = found_FK.copy()
            after_FK[fold] += group_K
            return round(float((after_FK / of_class_K).std(axis=0).mean()), 12), float(found_FK[fold].sum())

        best = min(open_folds, key=spread)
        found_FK[best] += group_K
        place[str(counts_GK.index[row])] = best
    return place


def require_groups(videos: pd.DataFrame, folds: int, curve: bool) -> None:
    """Refuse videos whose groups are too few to be held out in turn.

    Raises:
        UserError: with the numbers found.
    """
    groups = sorted(set(videos["group"]))
    shown = ", ".join(map(one_line, groups[:SHOWN])) + (", ..." if len(groups) > SHOWN else "")
    remedy = (
        "Groups are what index.pattern or index.group_file say (an actor, a scene, a recording; without either each "
        "video is its own)"
    )
    if len(groups) < folds:
        raise UserError(
            f"cross-validation in {folds} folds needs at least {folds} groups, and the index has {len(groups)} "
            f"({shown or 'none'}) in {len(videos)} videos. Ask for fewer --folds, or name smaller groups: {remedy}."
        )
    several = videos.groupby("label")["group"].nunique() > 1
    if not several.any():
        raise UserError(
            f"cross-validation holds whole groups out, and each of the {len(several)} classes has one group alone "
            f"({len(groups)} groups: {shown}): no class could be learned and tested. {remedy}."
        )
    least = len(groups) - -(-len(groups) // folds)
    if curve and least < PARTS:
        raise UserError(
            f"a learning curve divides the training groups of a fold into {PARTS} parts, and with {len(groups)} groups "
            f"in {folds} folds some fold has {least}. Leave --learning-curve out, or name smaller groups: {remedy}."
        )


def of_one_group(videos: pd.DataFrame) -> list[str]:
    """The classes whose videos are all of one group: in the fold that tests it nothing of it is trained on."""
    counts = videos.groupby("label")["group"].nunique()
    return [str(label) for label in counts.index[counts == 1]]


def split_videos(videos: pd.DataFrame, fold: Fold, folds: int, val_share: float) -> pd.DataFrame:
    """The videos of a fold, with their `split`: test the fold's groups, of the others val and train.

    Args:
        videos: usable rows of the index.
        fold: which.
        folds: how many there are.
        val_share: of the groups that are not tested; 0 where the recipe needs no validation.

    Returns:
        The rows that take part, in their order.
    """
    place = divide(videos, folds, fold.seed)
    tested = videos["group"].map(place) == fold.number
    others = videos[~tested]
    split = pd.Series("train", index=others.index)
    if val_share > 0 and (parts := min(others["group"].nunique(), max(2, round(1 / val_share)))) > 1:
        split[others["group"].map(divide(others, parts, fold.seed)) == 0] = "val"
    if fold.share < 100:
        train = others[split == "train"]
        part = train["group"].map(divide(train, PARTS, fold.seed))
        split = split.drop(train.index[part >= PARTS * fold.share // 100])
    kept = videos.loc[split.index.union(videos.index[tested])].copy()
    kept["split"] = split.reindex(kept.index).fillna("test")
    return kept.reset_index(drop=True)
