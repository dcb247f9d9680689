"""Experiments beside each other: what differs, gains on the same videos, and means over seeds.

Shape legend: N videos.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pptsm.evaluation.over_seeds import OverSeeds, over_seeds
from pptsm.evaluation.paired import mcnemar_p
from pptsm.evaluation.statistics import Gain, gain_over
from pptsm.experiments.gather import Experiment
from pptsm.runtime.errors import UserError

SEED = "seed"  # the parameter that repeats a training: videos and split have seeds of their own
NO_RESULT = "compute."  # begins the parameters that change none
ABSENT = "(none)"


@dataclass(frozen=True)
class Paired:
    """An experiment against the baseline, on the same videos."""

    videos: int
    groups: int
    gain: Gain
    only_here: int  # videos that this one alone recognised
    only_baseline: int
    p_value: float  # exact test of McNemar
    p_adjusted: float = 1.0  # by Holm, for all experiments that are compared


@dataclass(frozen=True)
class Row:
    """An experiment in the comparison."""

    experiment: Experiment
    sampling: str
    differs: dict[str, str]  # parameter -> its value here, of those that are others than the baseline's
    figures: dict[str, Any] | None  # of the network in this sampling; None: there are none
    paired: Paired | None
    not_paired: str | None  # why there is no test
    other_training: bool = False  # the same test videos, but another index: another training set, or other groups


@dataclass(frozen=True)
class Setting:
    """Experiments that differ in the seed of their training alone."""

    names: tuple[str, ...]
    differs: dict[str, str]
    seeds: tuple[int, ...]
    top1: OverSeeds
    by_seed: tuple[float, ...]
    gain: OverSeeds | None  # over the baseline's setting, seed by seed; None: fewer than two seeds in common
    is_baseline: bool


@dataclass(frozen=True)
class Compared:
    """What is shown."""

    network: str
    baseline: str | None  # name of the experiment with which the others are compared
    no_baseline: str | None  # why there is none
    rows: list[Row]
    settings: list[Setting] = field(default_factory=list)  # only where one has several seeds

    def of(self, name: str) -> Row:
        """The row of an experiment."""
        return next(row for row in self.rows if row.experiment.name == name)


def compare(
    experiments: Sequence[Experiment], network: str = "student", sampling: str | None = None, against: str | None = None
) -> Compared:
    """Compare experiments with the first one, or with another.

    Args:
        experiments: as `gather` gives them: the last commit first.
        network: whose figures.
        sampling: by which; None: each experiment's own headline.
        against: name of the baseline; None: the first.

    Raises:
        UserError: the baseline that was asked for has no figures of this network.
    """
    first = next((each for each in experiments if each.name == against), experiments[0])
    base = first if _figures(first, network, sampling or first.sampling) is not None else None
    if base is None and against is not None:
        raise UserError(
            f"{against} cannot be the baseline: {_why_none(first, network, sampling or first.sampling)}. Finish it, or "
            "name another one with --against."
        )
    rows = [_row(each, base or first, base, network, sampling) for each in experiments]
    compared = Compared(
        network=network,
        baseline=base.name if base else None,
        no_baseline=None if base else f"{first.name}: {_why_none(first, network, sampling or first.sampling)}",
        rows=_adjusted(rows),
    )
    settings = _settings(compared)
    several = any(len(setting.seeds) > 1 for setting in settings)
    return Compared(network, compared.baseline, compared.no_baseline, compared.rows, settings if several else [])


def _row(each: Experiment, against: Experiment, base: Experiment | None, network: str, sampling: str | None) -> Row:
    own = sampling or each.sampling
    figures = _figures(each, network, own)
    differs = {} if each is against or not each.parameters else differing(each.parameters, against.parameters)
    paired, reason, other_training = None, None, False
    if figures is None:
        reason = _why_none(each, network, own)
    elif base is not None and each is not base:
        paired, reason = _paired(_answers(each, network, own), _answers(base, network, sampling or base.sampling))
        other_training = paired is not None and not _same_training(each, base)
    return Row(each, own, differs, figures, paired, reason, other_training)


def differing(here: dict[str, Any], there: dict[str, Any]) -> dict[str, str]:
    """The parameters that have another value, or are missing, on either side: key -> value here."""
    keys = [*here, *(key for key in there if key not in here)]
    missing = object()
    return {
        key: _shown(here[key]) if key in here else ABSENT
        for key in keys
        if here.get(key, missing) != there.get(key, missing)
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _figures(each: Experiment, network: str, sampling: str) -> dict[str, Any] | None:
    found = each.metrics.get(network, {}).get(sampling)
    return found if isinstance(found, dict) and np.isfinite(found.get("top1", np.nan)) else None


def _why_none(each: Experiment, network: str, sampling: str) -> str:
    if each.state == "left" and each.kind != "experiment":
        return f"its dvc.lock has no run of its own parameters ({each.left[0]} did not run)"
    if each.state == "left":
        return f"it was left before its end ({each.left[0]} did not run)"
    if each.state != "done":
        return {"failed": "it failed", "queued": "it is queued", "running": "it runs"}.get(
            each.state, "it has no figures"
        )
    if network not in each.metrics:
        return f"it has no {network}; it has {', '.join(each.metrics)}"
    return f"its {network} has no {sampling} figures"


def _answers(each: Experiment, network: str, sampling: str) -> pd.DataFrame | None:
    """One row per video: `id`, `label`, `group`, `content`, `right`; None where a file for it is missing."""
    if each.predictions is None or each.videos is None:
        return None
    table = each.predictions
    table = table[(table["role"] == network) & (table["sampling"] == sampling)]
    videos = each.videos.drop_duplicates("id").set_index("id")
    if table.empty or table["id"].duplicated().any() or not set(table["id"]) <= set(videos.index):
        return None
    of = videos.loc[table["id"]]
    return pd.DataFrame(
        {
            "id": table["id"].to_numpy(),
            "label": table["label"].to_numpy(),
            "group": of["group"].to_numpy(),
            "content": [f"{digest} {first}" for digest, first in zip(of["sha256"], of["first_frame"], strict=True)],
            "right": (table["top1"] == table["label"]).to_numpy(dtype=bool),
        }
    ).set_index("id")


def _paired(here: pd.DataFrame | None, there: pd.DataFrame | None) -> tuple[Paired | None, str | None]:
    """The test; or None and why the two cannot be paired."""
    if here is None or there is None:
        return None, "no paired test: the answers of each video are not kept for both"
    common = here.index.intersection(there.index)
    if len(common) < max(len(here), len(there)):
        return None, f"no paired test: other videos ({len(common)} of {len(here)} are also the baseline's {len(there)})"
    there = there.loc[here.index]
    for column, what in (("content", "the content"), ("label", "the label"), ("group", "the group")):
        if changed := int((here[column] != there[column]).sum()):
            return None, f"no paired test: {what} of {changed} of {len(here)} videos is another"
    right, other = here["right"].to_numpy(), there["right"].to_numpy()
    won, lost = int((right & ~other).sum()), int((~right & other).sum())
    gain = gain_over(right, other, here["group"].tolist())
    return Paired(len(here), int(here["group"].nunique()), gain, won, lost, mcnemar_p(won, lost)), None


def _same_training(one: Experiment, other: Experiment) -> bool:
    """Whether both were trained on the same videos, which the index names with what is in them."""
    if one.videos is None or other.videos is None:
        return False
    tables = [each.videos.sort_values("id").reset_index(drop=True) for each in (one, other)]  # type: ignore[union-attr]
    return tables[0].equals(tables[1])


def _adjusted(rows: list[Row]) -> list[Row]:
    """The rows with p values that allow for how many are looked at.

    Source: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    ordered = sorted((row for row in rows if row.paired), key=lambda row: row.paired.p_value if row.paired else 1.0)
    reached, found = 0.0, {}
    for place, row in enumerate(ordered):
        assert row.paired is not None
        reached = max(reached, min(1.0, row.paired.p_value * (len(ordered) - place)))
        found[row.experiment.name] = reached
    return [
        Row(**{**vars(row), "paired": Paired(**{**vars(row.paired), "p_adjusted": found[row.experiment.name]})})
        if row.paired
        else row
        for row in rows
    ]


def _settings(compared: Compared) -> list[Setting]:
    """Experiments with figures, together where they differ in the seed of the training alone."""
    groups: dict[str, list[Row]] = {}
    for row in compared.rows:
        if row.figures is not None and isinstance(row.experiment.parameters.get(SEED), int):
            groups.setdefault(_but_seed(row.experiment), []).append(row)
    by_key = {key: _by_seed(rows) for key, rows in groups.items()}
    base = compared.of(compared.baseline) if compared.baseline else None
    base_key = _but_seed(base.experiment) if base else None
    found = []
    for key, by_seed in by_key.items():
        tops = {seed: float(row.figures["top1"]) for seed, row in by_seed.items() if row.figures}
        gain = None
        if base_key is not None and key != base_key and base_key in by_key:
            theirs = {seed: float(row.figures["top1"]) for seed, row in by_key[base_key].items() if row.figures}
            common = [seed for seed in tops if seed in theirs]
            if len(common) > 1:
                gain = over_seeds([tops[seed] - theirs[seed] for seed in common], -1, 1)
        first = next(iter(by_seed.values()))
        differs = {name: value for name, value in first.differs.items() if name != SEED}
        names = tuple(row.experiment.name for row in by_seed.values())
        means = over_seeds(list(tops.values()), 0, 1)
        found.append(Setting(names, differs, tuple(tops), means, tuple(tops.values()), gain, key == base_key))
    return found


def _but_seed(each: Experiment) -> str:
    """The same for experiments whose results differ by the seed of the training alone."""
    values = {key: value for key, value in each.parameters.items() if key != SEED and not key.startswith(NO_RESULT)}
    table = each.videos
    data = "" if table is None else int(pd.util.hash_pandas_object(table, index=False).sum())
    return f"{json.dumps(values, sort_keys=True, default=str)} {data}"


def _by_seed(rows: list[Row]) -> dict[int, Row]:
    """The first of each seed: a second run of the same has the same figures."""
    found: dict[int, Row] = {}
    for row in rows:
        found.setdefault(int(row.experiment.parameters[SEED]), row)
    return dict(sorted(found.items()))


def as_values(compared: Compared) -> dict[str, Any]:
    """The comparison as plain values, for JSON; docs/experiments.md names each key."""
    parameters = list(dict.fromkeys(key for row in compared.rows for key in row.differs))
    return {
        "version": 1,
        "network": compared.network,
        "baseline": compared.baseline,
        "no_baseline": compared.no_baseline,
        "parameters": parameters,
        "experiments": [_row_values(row) for row in compared.rows],
        "settings": [
            {
                "experiments": list(setting.names),
                "differs": setting.differs,
                "is_baseline": setting.is_baseline,
                "seeds": list(setting.seeds),
                "by_seed": list(setting.by_seed),
                "top1": asdict(setting.top1),
                "gain": asdict(setting.gain) if setting.gain else None,
            }
            for setting in compared.settings
        ],
    }


FIGURES = (
    "top1", "top1_low", "top1_high", "top1_low_by_group", "top1_high_by_group", "videos", "groups",
    "mean_class_accuracy", "chance", "above_chance",
)  # fmt: skip


def _row_values(row: Row) -> dict[str, Any]:
    each, paired, figures = row.experiment, row.paired, row.figures
    return {
        "name": each.name,
        "kind": each.kind,
        "revision": each.revision,
        "state": each.state,
        "did_not_run": list(each.left),
        "seed": each.parameters.get(SEED),
        "differs": row.differs,
        "sampling": row.sampling,
        "figures": {name: figures.get(name) for name in FIGURES} if figures else None,
        "paired": paired
        and {
            "videos": paired.videos,
            "groups": paired.groups,
            **asdict(paired.gain),
            "only_here": paired.only_here,
            "only_baseline": paired.only_baseline,
            "p_value": paired.p_value,
            "p_adjusted": paired.p_adjusted,
        },
        "not_paired": row.not_paired,
        "other_training_videos": row.other_training,
        "cost": asdict(each.cost),
    }
