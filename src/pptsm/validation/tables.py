"""An index as the tables that rules speak of: its rows, its usable clips, and a row for each class, group and split."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd

from pptsm.data.table import DECODED, OTHER_CLASS, SPLITS, videos_by_split
from pptsm.params.schema import Validate
from pptsm.validation.coverage import named_by_class
from pptsm.validation.expectations import Table
from pptsm.validation.leakage import shared_with
from pptsm.validation.result import Lines, Row, clip_line, clip_lines


def index_tables(
    table: pd.DataFrame, labels: list[str], params: Validate, needed: Sequence[str]
) -> tuple[dict[str, Table], dict[str, Any]]:
    """The tables of the suites `index` and `splits`, and the limits that their rules name.

    Args:
        table: the index.
        labels: class names.
        params: section validate.
        needed: splits that must have videos.
    """
    usable = table[table["split"] != ""].reset_index(drop=True)
    unused = table[(table["split"] == "") & (table["reason"] != OTHER_CLASS)]
    there = [split for split in SPLITS if (usable["split"] == split).any()]
    asked = [split for split in there if not needed or split in needed]
    limits = {
        "labels": labels,
        "splits": len(asked),
        "split_names": ", ".join(asked),
        "empty_classes": "off" if params.min_videos_per_class else "warning",
        "min_frames": params.min_frames,
        "max_frames": params.max_frames,
        "max_duration_sec": params.max_duration_sec,
        "min_side_px": params.min_side_px,
        "min_videos_per_class": params.min_videos_per_class,
        "min_class_coverage": params.min_class_coverage,
        "max_unreadable_share": params.max_unreadable_share,
        "max_imbalance": params.max_imbalance,
        "leakage": params.leakage,
    }
    tables = {
        "header": Table(table.head(0), _clip_with_value),
        "rows": Table(table, _clip_with_value),
        "clips": _clips(usable),
        "classes": _classes(table, usable, unused, labels, asked),
        "dataset": _dataset(table, usable),
        "needed": _needed(usable, unused, needed),
        "groups": _groups(usable),
    }
    return tables, limits


def _clip_with_value(row: Row, column: str) -> Lines:
    return Lines([f"{clip_line(row)}: {column} is {row[column]}" if column in row else clip_line(row)])


def _clips(usable: pd.DataFrame) -> Table:
    """The usable clips; `shared` is 1 where a clip of another split has frames of it."""
    partner = shared_with(usable)

    def explain(row: Row, column: str) -> Lines:
        if column != "shared":
            return _clip_with_value(row, column)
        pair = usable.iloc[sorted((row.name, partner[row.name]))].to_dict("records")
        return Lines([" = ".join(f"{each['id']} ({each['split']})" for each in pair)])

    return Table(usable.assign(shared=(partner >= 0).astype("int64")), explain)


def _classes(
    table: pd.DataFrame, usable: pd.DataFrame, unused: pd.DataFrame, labels: list[str], asked: Sequence[str]
) -> Table:
    """A row for each class, also one without any usable clip; but not one that the lists leave out.

    `splits` counts those that are asked for and have the class, `gaps` the others that have it not, `coverage` is the
    share of the videos that lists name.
    """
    known = set(table.loc[table["label_index"] >= 0, "label"].unique())
    left_out = set(table["label"].unique()) - known
    counts = videos_by_split(usable, "label")
    counts = counts.reindex(sorted(({*known, *labels} - left_out) | set(counts.index)), fill_value=0)
    beside = [split for split in SPLITS if split not in asked and counts[split].any()]
    rows = pd.DataFrame(
        {
            "id": counts.index,
            "videos": counts.sum(axis=1),
            # of a class without any usable clip other rules speak
            "splits": (counts[list(asked)] > 0).sum(axis=1).where(counts.any(axis=1), len(asked)),
            "gaps": (counts[beside] == 0).sum(axis=1).where(counts.any(axis=1), 0),
            "coverage": named_by_class(table).set_index("id")["share"].reindex(counts.index, fill_value=1.0),
        }
    ).reset_index(drop=True)
    unused_of = _members(unused, "label")

    def explain(row: Row, column: str) -> Lines:
        of = counts.loc[row["id"]]
        if column == "gaps":
            return Lines([f"{row['id']}: not in {', '.join(split for split in beside if of[split] == 0)}"])
        said = f"{row['videos']} usable videos ({', '.join(f'{split} {count}' for split, count in of.items())})"
        if column == "coverage":
            said = f"{row['coverage']:.1%} of its videos are there"
        files = unused_of(row["id"])
        return _headed(f"class {row['id']}: {said}", files)

    return Table(rows, explain)


def _dataset(table: pd.DataFrame, usable: pd.DataFrame) -> Table:
    """All in one row: the share of unreadable files, the number of classes, the largest class by the smallest."""
    decoded = table[table["status"].isin(DECODED)]
    broken = decoded[decoded["status"] != "ok"]
    share = len(broken) / max(1, len(decoded))
    sizes = usable["label"].value_counts()
    imbalance = float(sizes.max() / sizes.min()) if len(sizes) else 1.0

    def explain(_: Row, column: str) -> Lines:
        if column == "classes":
            return Lines([f"usable videos are of {len(sizes)} classes: {', '.join(sorted(sizes.index))}"])
        if column == "imbalance":
            large, small = str(sizes.idxmax()), str(sizes.idxmin())
            return Lines([f"{large} has {sizes[large]} videos, {small} {sizes[small]}: {imbalance:.1f} times as many"])
        return _headed(f"{len(broken)} of {len(decoded)} files ({share:.1%})", broken)

    row = {"id": "all files", "unreadable_share": share, "classes": len(sizes), "imbalance": imbalance}
    return Table(pd.DataFrame([row]), explain)


def _needed(usable: pd.DataFrame, unused: pd.DataFrame, needed: Sequence[str]) -> Table:
    counts = {split: int((usable["split"] == split).sum()) for split in SPLITS}

    def explain(row: Row, _: str) -> Lines:
        others = ", ".join(f"{split} {count}" for split, count in counts.items())
        return _headed(f"split {row['id']}: no usable video ({others})", unused)

    return Table(pd.DataFrame({"id": list(needed), "videos": [counts[split] for split in needed]}), explain)


def _groups(usable: pd.DataFrame) -> Table:
    counts = videos_by_split(usable, "group")
    rows = (counts > 0).sum(axis=1).rename_axis("id").reset_index(name="splits")
    members_of = _members(usable, "group")

    def explain(row: Row, _: str) -> Lines:
        members = members_of(row["id"])
        in_turn = members.assign(turn=members.groupby("split").cumcount()).sort_values("turn", kind="stable")
        return _headed(f"group {row['id']}: in {' and '.join(sorted(set(members['split'])))}", in_turn)

    return Table(rows, explain)


def _members(rows: pd.DataFrame, column: str) -> Any:
    """Value of a column -> its rows; they are grouped once, at the first use."""

    @cache
    def positions() -> dict[Any, Any]:
        return dict(rows.groupby(column).indices)

    return lambda value: rows.iloc[positions().get(value, [])]


def _headed(head: str, rows: pd.DataFrame) -> Lines:
    below = clip_lines(rows, indent="  ")
    return Lines([head, *below.first], below.more)
