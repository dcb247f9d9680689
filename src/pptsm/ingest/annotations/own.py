"""Format `csv`: a table of one's own, `path,label[,split][,group][,start_sec,end_sec]` in any order."""

import csv
import io
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pandas as pd

from pptsm.ingest.annotations.matching import Root, by_path
from pptsm.ingest.annotations.reading import BLANK, Faults, places, read_text, splits_of_files
from pptsm.ingest.splits import SPLIT_NAMES
from pptsm.runtime.errors import UserError

COLUMNS = ("path", "label", "split", "group", "start_sec", "end_sec")
NEEDED = ("path", "label")


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all files; a column `split` goes before what a file's name says."""
    tables = {file: read_table(file, faults) for file in files}
    for file, table in tables.items():
        _require_columns(file, list(table.columns[:-1]))
    bare = [file for file, table in tables.items() if "split" not in table]
    splits = splits_of_files(bare, alone=len(files) == 1)
    parts = [table.assign(split=splits[file]) if file in splits else table for file, table in tables.items()]
    clips = pd.concat(parts, ignore_index=True).fillna("")
    faults.add_rows(clips, clips["label"] == "", lambda row: f"gives {row['path']!r} no label")
    clips["split"] = named_splits(clips, faults)
    for column in ("start_sec", "end_sec"):
        clips[column] = _seconds(clips, column, faults) if column in clips else np.nan
    faults.add_rows(
        clips,
        clips["start_sec"].isna() != clips["end_sec"].isna(),
        lambda _: "has one of start_sec and end_sec: give both, or neither for the whole file",
    )
    faults.add_rows(
        clips,
        clips["start_sec"] >= clips["end_sec"],
        lambda row: f"starts at {row['start_sec']:g} s and ends at {row['end_sec']:g} s: the end comes after the start",
    )
    clips["path"] = by_path(clips, root, faults)
    return clips


def read_table(path: Path, faults: Faults) -> pd.DataFrame:
    """A CSV file with a header: its columns as text without spaces around it, in small letters, and `where`.

    Empty lines do not count; one with more or fewer fields than the header is a fault.

    Raises:
        UserError: it cannot be read, or is no CSV.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        first, rows = reader.line_num + 1, list(reader)
    except csv.Error as error:
        raise UserError(f"the annotations {str(path)!r} are no CSV, line {reader.line_num}: {error}.") from None
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"the annotations {str(path)!r} have the columns {', '.join(twice)} more than once.")
    numbers: Sequence[int] = range(first, first + len(rows))
    if reader.line_num >= first + len(rows):  # quotes hold line breaks
        numbers = list(accumulate((1 + "".join(row).count("\n") for row in rows[:-1]), initial=first))
    if set(map(len, rows)) != {len(header)} or not all(map(any, rows)):
        rows, numbers = _of_width(len(header), rows, numbers, path, faults)
    table = pd.DataFrame({name: [row[place].strip(BLANK) for row in rows] for place, name in enumerate(header)})
    table["where"] = places(path, numbers)
    return table


def named_splits(clips: pd.DataFrame, faults: Faults) -> pd.Series:
    """train, val, test or empty for what the column `split` says; another word is a fault."""
    splits = clips["split"].map({name: SPLIT_NAMES.get(name.lower(), "") for name in clips["split"].unique()})
    faults.add_rows(
        clips,
        (splits == "") & (clips["split"] != ""),
        lambda row: f"has the split {row['split']!r}; known are {', '.join(SPLIT_NAMES)}",
    )
    return splits


def _of_width(
    width: int, rows: list[list[str]], numbers: Sequence[int], path: Path, faults: Faults
) -> tuple[list[list[str]], list[int]]:
    """The rows of so many fields with their lines; another is a fault. Empty ones, as spreadsheets leave, are none."""
    good = []
    for number, row in zip(numbers, rows, strict=True):
        if len(row) == width and any(row):
            good.append((row, number))
        elif any(row):
            faults.add(
                f"{path.name} line {number} has {len(row)} fields, but its header has {width} (a comma in a name needs "
                'quotes around it: "a, b")'
            )
    return [row for row, _ in good], [number for _, number in good]


def _require_columns(path: Path, header: list[str]) -> None:
    if unknown := [name for name in header if name not in COLUMNS]:
        raise UserError(
            f"the annotations {str(path)!r} have a column {unknown[0]!r} in line 1; known are {', '.join(COLUMNS)}, "
            "with commas between them."
        )
    if missing := [name for name in NEEDED if name not in header]:
        raise UserError(
            f"the annotations {str(path)!r} lack the column {missing[0]!r}; line 1 names {', '.join(header) or 'none'}."
        )


def _seconds(clips: pd.DataFrame, column: str, faults: Faults) -> pd.Series:
    """Seconds from 0; NaN where the cell is empty."""
    seconds = pd.to_numeric(clips[column], errors="coerce").astype(float)
    wrong = (clips[column] != "") & ~(np.isfinite(seconds) & (seconds >= 0))
    faults.add_rows(clips, wrong, lambda row: f"has {column} {row[column]!r}, which is no number of seconds from 0")
    return seconds.mask(wrong)
