"""How a calibration is made from validation videos, and what it reaches on others: figures for the report.

Shape legend: N videos, K classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pptsm.evaluation.calibration import Calibration, Outliers
from pptsm.evaluation.conformal import conformal_levels, fewest_groups
from pptsm.evaluation.metrics import cross_entropy, in_top, softmax
from pptsm.evaluation.outliers import alarm_threshold, class_distance, energy
from pptsm.evaluation.reliability import calibration_error, reliability
from pptsm.evaluation.statistics import interval, interval_by_group
from pptsm.evaluation.temperature import fit_temperature

FALSE_ALARMS = 0.05  # share of known videos that may be called none of the classes
COVERAGES = (0.8, 0.9, 0.95, 0.99)  # that the report shows, as far as there are groups for them

Floats = NDArray[np.floating]


class Scored(NamedTuple):
    """Videos of a split with their logits."""

    logits_NK: Floats
    labels_N: NDArray[np.int64]
    groups_N: list[str]


def calibrate(
    val: Scored, train: Scored | None, sampling: str, chose: bool, *, temperature: bool = False
) -> Calibration:
    """What validation videos say about answers to come.

    Args:
        val: N at least 1.
        train: training videos, from which distances are measured; None: there are none.
        sampling: by which all were scored.
        chose: whether the validation videos chose the epoch.
        temperature: whether to fit one too.
    """
    distance = None if train is None else class_distance(train.logits_NK, train.labels_N)
    scores_N = energy(val.logits_NK) if distance is None else distance(val.logits_NK)
    threshold = alarm_threshold(scores_N, val.groups_N, FALSE_ALARMS)
    outliers = None if threshold is None else Outliers(threshold, FALSE_ALARMS, distance)
    levels = conformal_levels(val.logits_NK, val.labels_N, val.groups_N)
    softened_by = fit_temperature(val.logits_NK, val.labels_N) if temperature else None
    made = Calibration(sampling, len(val.labels_N), levels, outliers, chose, softened_by)
    return Calibration.of_json(made.to_json(), val.logits_NK.shape[1])  # what is measured is what is read again


def reached(calibration: Calibration, held_out: Scored) -> dict[str, Any]:
    """What a calibration reaches on videos that had no part in it, rounded for reading.

    Args:
        calibration: of the model.
        held_out: N at least 1.

    Returns:
        `coverages`: for each of `COVERAGES` that can be asked for, the share of videos whose class is in the set, with
        its intervals, and the mean size of a set. `false_alarms`: the share that is called none of the classes.
        `temperature`, where there is one: it, and calibration error and loss with it and without.
    """
    possible = [coverage for coverage in COVERAGES if calibration.levels.groups >= fewest_groups(coverage)]
    rows = []
    for coverage in possible:
        sets = [calibration.may_be(logits_K, coverage) for logits_K in held_out.logits_NK]
        inside_N = np.array([label in found for label, found in zip(held_out.labels_N, sets, strict=True)])
        mean_set = round(float(np.mean([len(found) for found in sets])), 4)
        rows.append({"coverage": coverage} | _share(inside_N, held_out.groups_N) | {"mean_set": mean_set})
    alarms = None
    if (rule := calibration.outliers) is not None:
        strange_N = rule.scores(held_out.logits_NK) > rule.threshold
        alarms = {"stated": rule.share} | _share(strange_N, held_out.groups_N)
        alarms["score"] = "energy" if rule.distance is None else "distance"
    found = {
        "videos": len(held_out.labels_N),
        "groups": len(set(held_out.groups_N)),
        "coverages": rows,
        "false_alarms": alarms,
    }
    return found if calibration.temperature is None else found | {"temperature": _softening(calibration, held_out)}


def _softening(calibration: Calibration, held_out: Scored) -> dict[str, Any]:
    """What the temperature changes."""
    right_N, values = in_top(held_out.logits_NK, held_out.labels_N, 1), {"temperature": calibration.temperature}
    for suffix, logits_NK in (("_without", held_out.logits_NK), ("", calibration.softened(held_out.logits_NK))):
        error = calibration_error(reliability(softmax(logits_NK).max(axis=1), right_N))
        values[f"calibration_error{suffix}"] = round(error, 6)
        values[f"loss{suffix}"] = round(cross_entropy(logits_NK, held_out.labels_N), 6)
    return values


def _share(yes_N: NDArray[np.bool_], groups_N: Sequence[str]) -> dict[str, Any]:
    """A share of videos with its 95 % intervals, by video and, where there are several groups, by group."""
    low, high = interval(int(yes_N.sum()), len(yes_N))
    low_by_group, high_by_group = interval_by_group(yes_N, list(groups_N)) or (None, None)
    values: dict[str, float | None] = {"share": float(yes_N.mean()), "low": low, "high": high}
    by_group: dict[str, float | None] = {"low_by_group": low_by_group, "high_by_group": high_by_group}
    return {name: value if value is None else round(value, 6) for name, value in (values | by_group).items()}
