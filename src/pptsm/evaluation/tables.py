"""Evaluation as tables: one row per video, one row per class."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pptsm.evaluation.metrics import (
    Labels,
    Logits,
    accuracy,
    class_accuracy,
    confusion_matrix,
    in_top,
    ranking,
    softmax,
)
from pptsm.evaluation.reliability import calibration_error, reliability
from pptsm.evaluation.statistics import interval, interval_by_group, judge

TOP = 5
DIGITS = 6  # of a probability in a table


def prediction_rows(videos: pd.DataFrame, logits: Logits, classes: list[str]) -> pd.DataFrame:
    """One row a video: id, label, the best five classes with their probabilities, and the label's cross-entropy `loss`.

    Args:
        videos: index rows (`id`, `label`), in the order of the logits.
        logits: [N, K].
        classes: class names.
    """
    best, scores = ranking(logits, TOP), softmax(logits)
    table = videos[["id", "label"]].reset_index(drop=True).copy()
    for place in range(best.shape[1]):
        table[f"top{place + 1}"] = [classes[index] for index in best[:, place]]
        table[f"score{place + 1}"] = scores[np.arange(len(scores)), best[:, place]].round(DIGITS)
    label_N = table["label"].map({name: index for index, name in enumerate(classes)}).to_numpy()
    believed_N = scores[np.arange(len(scores)), label_N]
    return table.assign(loss=-np.log(np.maximum(believed_N, np.finfo(np.float64).tiny)).round(6))


def class_rows(logits: Logits, labels: Labels, classes: list[str]) -> pd.DataFrame:
    """One row a class that has videos: class, videos, accuracy."""
    counts = np.bincount(labels, minlength=len(classes))
    table = pd.DataFrame({"class": classes, "videos": counts, "accuracy": class_accuracy(logits, labels).round(6)})
    return table[table["videos"] > 0].reset_index(drop=True)


def macro_f1(logits: Logits, labels: Labels) -> float:
    """The mean of the classes' F1, each weighing the same: of all classes that a video shows or was taken for.

    F1 is the harmonic mean of how many of a class's videos were recognised and how many that were called so are.

    Args:
        logits: [N, K], N at least 1.
        labels: [N].
    """
    matrix = confusion_matrix(logits, labels)
    either = matrix.sum(axis=0) + matrix.sum(axis=1)
    return float((2 * np.diag(matrix)[either > 0] / either[either > 0]).mean())


def metric_values(logits: Logits, labels: Labels, groups: list[str], compared: int = 1) -> dict[str, Any]:
    """The headline figures with their intervals and the verdict on chance, rounded for reading.

    Args:
        logits: [N, K], N at least 1.
        labels: [N].
        groups: the group of each video; `top1_low` and `top1_high` take videos for independent,
            `top1_low_by_group` and `top1_high_by_group` take groups for it, and are None with one group.
        compared: epochs among which these videos chose the weights, as `statistics.judge` takes it. The verdict rests
            on `low` and `low_by_video`, which allow for that choice; the four ends above are of plain 95 % intervals.
    """
    right, classes = in_top(logits, labels, 1), logits.shape[1]
    low, high = interval(int(right.sum()), len(right))
    low_by_group, high_by_group = interval_by_group(right, groups) or (None, None)
    verdict = judge(right, labels, groups, classes, compared)
    surest_N = softmax(logits).max(axis=1).round(DIGITS)  # as the predictions have it, so that a table gives the same
    values = asdict(accuracy(logits, labels)) | {
        "macro_f1": macro_f1(logits, labels),
        "calibration_error": calibration_error(reliability(surest_N, right)),
        "top1_low": low,
        "top1_high": high,
        "groups": verdict.groups,
        "top1_low_by_group": low_by_group,
        "top1_high_by_group": high_by_group,
        "classes": classes,
        "chance": verdict.chance,
        "largest_class": verdict.largest_class,
        "compared": compared,
        "low": verdict.low,
        "low_by_video": verdict.low_by_video,
        "above_chance": verdict.above_chance,
    }
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def in_words(values: dict[str, Any]) -> str:
    """The line that the evaluation prints of one row of `metric_values`."""
    words = f"top-1 {values['top1']:.2%}"
    if values["classes"] > TOP:  # with fewer, top-5 is always right
        words += f", top-5 {values['top5']:.2%}"
    chance = f"{values['chance']:.1%}"
    if values["above_chance"] is None:
        return f"{words}; one group cannot tell whether that is above chance ({chance})"
    return f"{words}; above chance ({chance})" if values["above_chance"] else f"{words}; NOT ABOVE CHANCE ({chance})"
