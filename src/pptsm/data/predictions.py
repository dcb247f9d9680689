"""The table of predictions that stage `evaluate` writes: one row per role, sampling and video."""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from pptsm.data.table import read_table

COLUMNS = ("id", "label", "top1", "score1", "loss", "role", "sampling")  # that it must have
# names are words, even "001", "1" and "nan"
TYPES = defaultdict(
    lambda: "float64",
    dict.fromkeys(("id", "label", "top1", "top2", "top3", "top4", "top5", "role", "sampling"), "str"),
)


def read_predictions(path: Path) -> pd.DataFrame:
    """All rows.

    Raises:
        UserError: as `read_table`.
    """
    return read_table(path, "the predictions", "evaluate", COLUMNS, TYPES, keep_default_na=False)


def of_network(table: pd.DataFrame, role: str, sampling: str) -> pd.DataFrame:
    """The rows of one role and sampling, of predictions or of the accuracy by class."""
    return table[(table["role"] == role) & (table["sampling"] == sampling)].reset_index(drop=True)


def surest_mistakes(headline: pd.DataFrame) -> pd.DataFrame:
    """The rows of one network that are wrong, the highest `score1` first, then by `id`."""
    wrong = headline[headline["label"] != headline["top1"]]
    return wrong.sort_values(["score1", "id"], ascending=[False, True])
