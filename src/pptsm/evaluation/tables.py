"""Evaluation as tables: one row a video, one row a class."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pptsm.evaluation.metrics import Labels, Logits, accuracy, class_accuracy, ranking, softmax

TOP = 5


def prediction_rows(videos: pd.DataFrame, logits: Logits, classes: list[str]) -> pd.DataFrame:
    """One row a video: id, label, and the best five classes with their probabilities.

    Args:
        videos: index rows (`id`, `label`), in the order of the logits.
        logits: [N, K].
        classes: class names.
    """
    best, scores = ranking(logits, TOP), softmax(logits)
    table = videos[["id", "label"]].reset_index(drop=True).copy()
    for place in range(best.shape[1]):
        table[f"top{place + 1}"] = [classes[index] for index in best[:, place]]
        table[f"score{place + 1}"] = scores[np.arange(len(scores)), best[:, place]].round(6)
    return table


def class_rows(logits: Logits, labels: Labels, classes: list[str]) -> pd.DataFrame:
    """One row a class that has videos: class, videos, accuracy."""
    counts = np.bincount(labels, minlength=len(classes))
    table = pd.DataFrame({"class": classes, "videos": counts, "accuracy": class_accuracy(logits, labels).round(6)})
    return table[table["videos"] > 0].reset_index(drop=True)


def metric_values(logits: Logits, labels: Labels) -> dict[str, Any]:
    """The headline figures, rounded for reading."""
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in asdict(accuracy(logits, labels)).items()
    }
