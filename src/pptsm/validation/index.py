"""The index and its splits, before any frame is extracted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.data.table import OTHER_CLASS, SPLITS
from pptsm.params.schema import Validate
from pptsm.validation.coverage import coverage_of
from pptsm.validation.expectations import ask
from pptsm.validation.result import Fault, Result, clip_lines
from pptsm.validation.rules import INDEX, SPLIT
from pptsm.validation.tables import index_tables

SET_ASIDE = {  # status -> what such rows are; within the shares that params.yaml allows
    "unmatched": "files that index.pattern does not match",
    "missing": "clips that annotations or lists name, but that are not there",
    "unlisted": "videos that no annotation or list names",
    "excluded": "videos that index.exclude leaves out",
    "short": "videos of too few frames, which index.short_videos leaves out",
}


def validate_index(
    table: pd.DataFrame, labels: list[str], params: Validate, docs: Path, needed: Sequence[str] = ()
) -> Result:
    """Check an index and write the Data Docs pages.

    Args:
        table: the index.
        labels: class names.
        params: limits.
        docs: folder for the HTML.
        needed: splits that must have videos.

    Returns:
        What held and what did not.
    """
    tables, limits = index_tables(table, labels, params, needed)
    found = ask((*INDEX, *SPLIT), tables, limits, docs)
    part_of_this = table[table["reason"] != OTHER_CLASS]
    unused = part_of_this[part_of_this["split"] == ""]
    warnings = [*found.warnings, *_set_aside(part_of_this)]
    return Result(found.suites, found.faults, warnings, _facts(table), clip_lines(unused), coverage_of(part_of_this))


def _set_aside(table: pd.DataFrame) -> list[Fault]:
    """Files that the index set aside, by kind."""
    kinds = ((status, what, table[table["status"] == status]) for status, what in SET_ASIDE.items())
    return [
        Fault(f"{status}_files", f"{len(rows)} {what}", clip_lines(rows)) for status, what, rows in kinds if len(rows)
    ]


def _facts(table: pd.DataFrame) -> dict[str, Any]:
    usable = table[table["split"] != ""]
    return {
        "videos": len(table),
        "usable": len(usable),
        "status": {str(name): int(count) for name, count in table["status"].value_counts().sort_index().items()},
        "splits": {split: int((usable["split"] == split).sum()) for split in SPLITS},
        "groups": int(usable["group"].nunique()),
        "classes": int(usable["label"].nunique()),
        "frames": int(usable["num_frames"].sum()),
        "hours": round(float(usable["duration_sec"].sum()) / 3600, 4),
    }
