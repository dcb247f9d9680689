"""What finished folds say together: a table per fold, means with intervals, classes, confusions and doubtful labels.

Shape legend: N videos, each once for a seed; S seeds.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pptsm.crossval.folds import Fold
from pptsm.evaluation.statistics import interval, interval_by_group

Finished = Sequence[tuple[Fold, dict[str, Any], pd.DataFrame]]  # fold, its result, its predictions

CAUTIONS = (
    "No model comes of it: it says how well this recipe does on groups like these. The model that is shipped is "
    "trained by `dvc repro`, on its own split.",
    "Settings that were chosen because cross-validation liked them may not be reported with its figures: these would "
    "be too good. Choose with --keep-test, and report the test split, once.",
    "The folds of a seed share most of their training videos, and seeds share all: the interval is that of the videos "
    "and their groups, and folds and seeds are no further samples (Bengio and Grandvalet, 2004).",
)


def fold_rows(finished: Finished) -> pd.DataFrame:
    """One row per fold, role and sampling."""
    rows = []
    for fold, result, _ in finished:
        counted = result["counted"]
        for role, samplings in result["metrics"].items():
            verdict = result["verdicts"].get(role) or {}
            for sampling, values in samplings.items():
                rows.append(
                    {
                        "share": fold.share,
                        "seed": fold.seed,
                        "fold": fold.number + 1,
                        "role": role,
                        "sampling": sampling,
                        **{
                            f"{split}_{name}": counted.get(f"{split}_{name}", 0)
                            for split in ("train", "val", "test")
                            for name in ("videos", "groups")
                        },
                        **{name: values[name] for name in ("top1", "top5", "mean_class_accuracy", "loss")},
                        "train_top1": verdict.get("train_top1"),
                    }
                )
    return pd.DataFrame(rows)


def pooled(finished: Finished, groups: dict[str, str], role: str, sampling: str, share: int = 100) -> pd.DataFrame:
    """One row per seed and video of the folds of a share.

    Returns:
        `seed`, `id`, `label`, `top1`, `score1`, `right`, `group`, and the label's `loss` where all folds have it.
    """
    tables = [
        table[(table["role"] == role) & (table["sampling"] == sampling)].assign(seed=fold.seed)
        for fold, _, table in finished
        if fold.share == share
    ]
    columns = ["seed", "id", "label", "top1", "score1"]
    if not tables:
        return pd.DataFrame(columns=[*columns, "right", "group"])
    columns += ["loss"] * all("loss" in table for table in tables)
    table = pd.concat(tables, ignore_index=True)[columns]
    return table.assign(right=table["label"] == table["top1"], group=table["id"].map(groups))


def figures(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """The accuracy of one role and sampling over all seeds, from `pooled` rows; shares are 0 to 1.

    Each seed has its own mean and 95 % intervals, of videos and of groups never seen; those that stand for all seeds
    are the means of their ends: other seeds see the same videos again, and narrow nothing.
    """
    seeds = {int(seed): table[table["seed"] == seed] for seed in sorted(set(table["seed"]))}
    means = {seed: float(of_seed["right"].mean()) for seed, of_seed in seeds.items()}
    by_video = [interval(int(of_seed["right"].sum()), len(of_seed)) for of_seed in seeds.values()]
    found = [interval_by_group(of["right"].to_numpy(dtype=bool), of["group"].tolist()) for of in seeds.values()]
    by_group = [ends for ends in found if ends is not None]
    known = by_group if len(by_group) == len(seeds) else by_video
    counts = table["label"].value_counts()
    confused = pd.crosstab(table["label"], table["top1"]).reindex(index=classes, columns=classes, fill_value=0)
    one = next(iter(seeds.values()))
    return {
        "videos": len(one),
        "groups": int(one["group"].nunique()),
        "top1": float(np.mean(list(means.values()))),
        "low": float(np.mean([low for low, _ in known])),
        "high": float(np.mean([high for _, high in known])),
        "low_by_video": float(np.mean([low for low, _ in by_video])),
        "high_by_video": float(np.mean([high for _, high in by_video])),
        "by_seed": means,
        "chance": max(1 / len(classes), float(one["label"].value_counts().max() / len(one))),
        "classes": {
            name: {
                "videos": int(counts[name] // len(seeds)),
                "top1": float(table.loc[table["label"] == name, "right"].mean()),
            }
            for name in classes
            if name in counts
        },
        "confusion": confused.to_numpy().tolist(),  # rows are labels, columns answers; all seeds together
    }


def doubtful(table: pd.DataFrame) -> pd.DataFrame:
    """Videos that every seed's network, none of which had seen them, calls by one and the same other name.

    Args:
        table: `pooled` rows of two seeds or more; of one nothing is doubtful.

    Returns:
        `id`, `label`, `answer` and the mean probability `score`, the surest first.
    """
    columns = ["id", "label", "answer", "score"]
    if table["seed"].nunique() < 2:
        return pd.DataFrame(columns=columns)
    by_video = table.groupby(["id", "label"]).agg(
        answers=("top1", "nunique"), answer=("top1", "first"), score=("score1", "mean")
    )
    rows = by_video.reset_index()
    rows = rows[(rows["answers"] == 1) & (rows["answer"] != rows["label"])]
    return rows.sort_values(["score", "id"], ascending=[False, True])[columns].reset_index(drop=True)


def agreement(table: pd.DataFrame) -> float | None:
    """How often two seeds' networks give a video they had not seen the same name; None with one seed."""
    answers = table.pivot_table(index="id", columns="seed", values="top1", aggfunc="first")
    if answers.shape[1] < 2:
        return None
    pairs = combinations(answers.columns, 2)
    return float(np.mean([(answers[one] == answers[other]).mean() for one, other in pairs]))


def by_chance(table: pd.DataFrame) -> float:
    """How often two answers would be the same if they were drawn as often as each name is given, and independently."""
    shares = table["top1"].value_counts(normalize=True)
    return float((shares**2).sum())


def curve(finished: Finished, groups: dict[str, str], sampling: str, classes: list[str]) -> list[dict[str, Any]]:
    """The student's accuracy by the share of the training groups, the smallest first; empty with one share."""
    shares = sorted({fold.share for fold, _, _ in finished})
    if len(shares) < 2:
        return []
    rows = []
    for share in shares:
        of_share = [(fold, result) for fold, result, _ in finished if fold.share == share]
        values = figures(pooled(finished, groups, "student", sampling, share), classes)
        counted = pd.DataFrame([result["counted"] for _, result in of_share])
        rows.append(
            {
                "share": share,
                "train_videos": float(counted["train_videos"].mean()),
                "train_groups": float(counted["train_groups"].mean()),
                "train_top1": train_top1([result for _, result in of_share]),
                **{name: values[name] for name in ("top1", "low", "high", "by_seed")},
            }
        )
    return rows


def train_top1(results: Sequence[dict[str, Any]], role: str = "student") -> float | None:
    """How many of its training clips a role recognised in its last epoch, the mean over folds; None: not trained."""
    found = [verdict["train_top1"] for result in results if (verdict := result["verdicts"].get(role))]
    return float(np.mean(found)) if found else None
