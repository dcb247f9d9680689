"""The index as a table: its columns, and how it is written and read."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pptsm.errors import UserError

SPLITS = ("train", "val", "test")

# What decoding showed (short: fewer frames than are asked for), or why a file was not opened: named in a list but not
# there, there but not named, not matched, excluded by name.
DECODED = ("ok", "truncated", "unreadable")
STATUSES = (*DECODED, "short", "missing", "unlisted", "unmatched", "excluded")
UNLISTED = "in neither split list"  # the reasons of "unlisted"
OTHER_CLASS = "its class is in neither split list"

# column -> type; `id` is the path below the root, with / between folders
COLUMNS: Mapping[str, str] = {
    "id": "str",
    "label": "str",
    "label_index": "int64",  # -1 where the label is not known, or its class takes no part
    "group": "str",
    "split": "str",  # train, val, test, or empty: takes no part
    "status": "str",  # one of STATUSES
    "reason": "str",
    "decoder": "str",  # decord or pyav: which of them reads the file; empty where none does
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


def save_labels(labels: list[str], path: Path) -> None:
    """Write class names, one a line.

    Raises:
        UserError: a name has a line break in it.
    """
    if broken := [label for label in labels if "\n" in label or "\r" in label]:
        raise UserError(
            f"class names {broken[:5]} have a line break in them, but a file of class names has one name a line. "
            "Rename their folders, or change index.pattern."
        )
    path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8", newline="\n")


def load_labels(path: Path) -> list[str]:
    """Class names, one a line; only a line feed ends a line, all that Unicode also calls a line break is text."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


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
