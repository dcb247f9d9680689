"""The index as a table: its columns, and how it is written and read. A row is a clip: a file, or a part of one."""

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from pptsm.runtime import pandas_texts  # noqa: F401
from pptsm.runtime.errors import UserError, unusable
from pptsm.runtime.paths import StrPath

SPLITS = ("train", "val", "test")

# What decoding showed (short: fewer frames than are asked for), or why a file was not opened: named in a list but not
# there, there but not named, not matched, excluded by name.
DECODED = ("ok", "truncated", "unreadable")
STATUSES = (*DECODED, "short", "missing", "unlisted", "unmatched", "excluded")
UNLISTED = "in neither split list"  # the reasons of "unlisted"
OTHER_CLASS = "its class is in neither split list"
UNANNOTATED = "no annotation names it"
UNLABELLED = "its annotation gives it no label"

# column -> type
COLUMNS: Mapping[str, str] = {
    "id": "str",  # the path; of a part of a file also the part, in seconds: "day.mp4#12.5-20"
    "path": "str",  # of the file below the root, with / between folders
    "label": "str",
    "label_index": "int64",  # -1 where the label is not known, or its class takes no part
    "group": "str",
    "split": "str",  # train, val, test, or empty: takes no part
    "status": "str",  # one of STATUSES
    "reason": "str",
    "decoder": "str",  # decord or pyav: which of them reads the file; jpeg: a folder of frames; empty where none does
    "first_frame": "int64",  # the clip's first in the file, from 0
    "num_frames": "int64",  # of the clip
    "fps": "float64",
    "width": "int64",
    "height": "int64",
    "duration_sec": "float64",  # of the clip
    "size_bytes": "int64",  # of the file, as its hash
    "sha256": "str",
}


# Spreadsheets take a cell that begins so for a formula, quoted or not, and its name may come from a stranger.
FORMULA = r"[=+\-@\t\r\n']"


class ClipRef(NamedTuple):
    """Where a row's frames are: in `path`, from `first_frame` on; its archive is named by `id`."""

    id: str
    path: str
    first_frame: int


def excerpts(videos: pd.DataFrame) -> list[ClipRef]:
    """An `ClipRef` for each row."""
    columns = (videos[name].tolist() for name in ClipRef._fields)
    return [ClipRef(*row) for row in zip(*columns, strict=True)]


def clip_id(path: str, start_sec: float, end_sec: float) -> str:
    """The id of a part of a file; that of a whole file is its path."""
    return f"{path}#{start_sec:.10g}-{end_sec:.10g}"


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    r"""Write a table that people open in spreadsheets, and that `read_csv` reads back to the last character.

    A text that begins with = + - @ an apostrophe, a tab or a line break has an apostrophe before it: a
    spreadsheet shows it as text. Where a text has a carriage return in it, all are quoted: csv writes that one bare,
    and a reader takes it for the end of a line.

    Args:
        table: columns of text and numbers; text is UTF-8.
        path: the file.
        float_format: of numbers, as `DataFrame.to_csv` takes it.
    """
    safe: pd.DataFrame = table.copy(deep=False)
    quoting: Literal[0, 2] = csv.QUOTE_MINIMAL
    for name in _texts(table):
        marked = _like(table[name], f"^{FORMULA}")
        if marked.any():
            safe[name] = table[name].mask(marked, "'" + table[name].where(marked, ""))
        if _like(table[name], "\r").any():
            quoting = csv.QUOTE_NONNUMERIC
    safe.to_csv(path, index=False, lineterminator="\n", quoting=quoting, float_format=float_format)


def read_csv(content: bytes, types: Mapping[str, Any], **options: Any) -> pd.DataFrame:
    """A table that `write_csv` wrote.

    Args:
        content: of the file.
        types: column -> type, as pandas takes it; `str` for texts.
        options: of `pandas.read_csv`; keep_default_na False where "nan" and "None" may be words.

    Raises:
        ValueError, OverflowError: it is no such table.
    """
    table: pd.DataFrame = pd.read_csv(io.BytesIO(content), dtype=types, **options)
    for name in _texts(table):
        marked = _like(table[name], f"^'{FORMULA}")
        if marked.any():
            table.loc[marked, name] = table.loc[marked, name].str[1:]
    return table


def _texts(table: pd.DataFrame) -> list[str]:
    """The columns that may hold text."""
    return [name for name in table.columns if pd.api.types.is_string_dtype(table[name]) or table[name].dtype == object]


def _like(texts: pd.Series, pattern: str) -> pd.Series:
    """Which cells are texts with a match; in the pattern ^ is the text's beginning only.

    Few texts are changed, and a look at all of a column costs far less than a new column.
    """
    if texts.dtype == object:  # any values
        return texts.map(lambda value: isinstance(value, str) and re.search(pattern, value) is not None).astype(bool)
    return texts.str.contains(pattern, regex=True, na=False).astype(bool)


def save_index(table: pd.DataFrame, path: StrPath) -> None:
    """Write the table as CSV."""
    write_csv(table, Path(path), float_format="%.6g")


def load_index(path: StrPath) -> pd.DataFrame:
    """Read a table that `save_index` wrote; labels such as "nan" or "None" stay words.

    Raises:
        UserError: as `read_table`.
    """
    return read_table(Path(path), "the index", "index", COLUMNS, COLUMNS, keep_default_na=False)


def read_table(
    path: Path, what: str, stage: str, columns: Collection[str], types: Mapping[str, Any], **options: Any
) -> pd.DataFrame:
    """A CSV file that a stage wrote.

    Args:
        path: the file.
        what: its name in a sentence.
        stage: who writes it.
        columns: those that it must have.
        types: column -> type, as pandas takes it, with `options`.

    Raises:
        UserError: it is missing, lacks columns, is cut off, or is something else.
    """
    try:
        content = path.read_bytes()
        table = read_csv(content, types, **options)
    except OSError as error:
        raise unusable(what, path, error.strerror or str(error), stage) from None
    except (ValueError, OverflowError) as error:
        found = f"it has {len(content)} bytes that are no such table ({' '.join(str(error).split())[:160]})"
        raise unusable(what, path, found, stage) from None
    if missing := [name for name in columns if name not in table.columns]:
        found = f"it lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))[:160]}"
        raise unusable(what, path, found, stage)
    # pandas takes fields beyond the header's for names of rows, and moves the others
    if not content.endswith(b"\n") or not isinstance(table.index, pd.RangeIndex):
        found = f"its {len(table)} rows are cut off or have more fields than columns"
        raise unusable(what, path, found, stage)
    return table


def save_labels(labels: list[str], path: StrPath) -> None:
    """Write class names, one a line.

    Raises:
        UserError: as `refuse_unfit_names`.
    """
    path = Path(path)
    refuse_unfit_names(labels)
    path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8", newline="\n")


def refuse_unfit_names(labels: Sequence[str]) -> None:
    """Raise a UserError where a class name cannot stand in a file of one name per line, in UTF-8."""
    if broken := [label for label in labels if re.search("[\n\r\0\ud800-\udfff]", label) or label != label.strip()]:
        raise UserError(
            f"class names {broken[:5]} have a line break, a NUL, what is no UTF-8 text, or spaces around them, but a "
            "file of class names has one name per line. Rename their folders, or mend index.pattern or the annotations."
        )


def load_labels(path: StrPath, index: pd.DataFrame | None = None) -> list[str]:
    """Class names, one a line; only a line feed ends a line, all that Unicode also calls a line break is text.

    Args:
        path: the file.
        index: the table whose classes they are to be.

    Raises:
        UserError: the file is missing, empty, cut off or no text, or does not name the index's classes.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")  # which takes Windows' line ends too
    except OSError as error:
        raise unusable("the class names", path, error.strerror or str(error), "index") from None
    except UnicodeDecodeError as error:
        raise unusable("the class names", path, f"it is no UTF-8 text ({error.reason})", "index") from None
    labels = text.removesuffix("\n").split("\n")
    if not text.endswith("\n") or not all(labels):
        raise unusable(
            "the class names", path, f"it has {len(text)} characters that are not one name per line", "index"
        )
    if index is not None:
        known = index[index["label_index"] >= 0]
        other = known[known["label"] != known["label_index"].map(dict(enumerate(labels)))]
        if len(other):
            row = other.iloc[0]
            found = (
                f"its {len(labels)} names do not fit the index, where class {row['label_index']} is {row['label']!r}"
            )
            raise unusable("the class names", path, found, "index")
    return labels


def videos_by_split(videos: pd.DataFrame, column: str) -> pd.DataFrame:
    """How many rows each value of a column has in each split: a row per value, sorted, and a column per split."""
    value_N, values = pd.factorize(videos[column], sort=True)
    counts = {
        split: np.bincount(value_N[(videos["split"] == split).to_numpy()], minlength=len(values)) for split in SPLITS
    }
    return pd.DataFrame(counts, index=pd.Index(values))


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
