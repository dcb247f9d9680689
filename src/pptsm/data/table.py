"""The index as a table: its columns, and how it is written and read."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

SPLITS = ("train", "val", "test")

# column -> type; `id` is the path below the root, with / between folders
COLUMNS: Mapping[str, str] = {
    "id": "str",
    "label": "str",
    "label_index": "int64",  # -1 where the label is not known
    "group": "str",
    "split": "str",  # train, val, test, or empty: takes no part
    "status": "str",  # ok, truncated, unreadable, missing or unmatched
    "reason": "str",
    "num_frames": "int64",
    "fps": "float64",
    "width": "int64",
    "height": "int64",
    "duration_sec": "float64",
    "size_bytes": "int64",
    "sha256": "str",
}


def save_index(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV."""
    table.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def load_index(path: Path) -> pd.DataFrame:
    """Read a table that `save_index` wrote; labels such as "nan" or "None" stay words."""
    types = dict(COLUMNS)
    return pd.read_csv(path, dtype=types, keep_default_na=False)


def load_labels(path: Path) -> list[str]:
    """Class names, one a line."""
    return path.read_text(encoding="utf-8").splitlines()


def in_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """The usable rows of one split, in the table's order, numbered from 0."""
    return table[table["split"] == split].reset_index(drop=True)


def spread_over_classes(videos: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows, numbered from 0: the first of each class in turn, then the second of each, and so on.

    A table is sorted by id, so by class: its first rows would be one class or two.

    Args:
        videos: rows with `label_index`.
        most: how many rows to take.
    """
    turn = videos.groupby("label_index").cumcount()
    order = videos.assign(turn=turn).sort_values(["turn", "label_index"], kind="stable")
    return order.drop(columns="turn").head(most).reset_index(drop=True)
