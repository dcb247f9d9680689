"""Formats `list` and `paddlex`: lines `path number`, or `folder frames number` for folders of frames.

PaddleVideo and mmaction2 have such a list for each split. PaddleX lays `label.txt` (`0 abseiling`) beside `train.txt`
and `val.txt`. The numbers stand at the end, behind spaces or a tab, so that a path may have spaces.
"""

import re
from pathlib import Path

import pandas as pd

from pptsm.errors import UserError
from pptsm.ingest.annotations.matching import Root, by_path
from pptsm.ingest.annotations.reading import Faults, read_lines, require_lists, splits_of_files
from pptsm.ingest.texts import read_label_file

LINE = re.compile(r"(.*\S)[ \t]+(\d{1,9})")
FRAMES = re.compile(r"(.*\S)[ \t]+\d+")
LABELS = "label.txt"


def read(files: list[Path], order: list[str] | None, root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all lists.

    Args:
        files: of the lists.
        order: the classes by their numbers from 0; without it a class is called by its number.
        root: what is there.
        faults: gets those lines that are none, and numbers without a class.
    """
    own = [file for file in files if not is_labels(file)]
    require_lists(own, files)
    parts = [_numbered(file, faults).assign(split=split) for file, split in splits_of_files(own).items()]
    clips = pd.concat(parts, ignore_index=True)
    if order is None:
        clips["label"] = clips["number"].astype(str)
    else:
        unknown = clips["number"] >= len(order)
        faults.add_rows(
            clips, unknown, lambda row: f"has the class {row['number']}, but {len(order)} are named, from 0"
        )
        names = dict(enumerate(order))
        clips["label"] = clips["number"].map(names).fillna("")
    clips["path"] = by_path(clips, root, faults)
    return clips


def labels(files: list[Path], label_file: str | None) -> list[str] | None:
    """The classes by their numbers from 0, as label.txt or else index.label_file names them."""
    own = [str(file) for file in files if is_labels(file)]
    name = own[0] if own else label_file
    return None if name is None else read_label_file(name)


def numbers(files: list[Path]) -> list[str]:
    """The class numbers that lists have, in their order, as text."""
    faults = Faults()
    found = pd.concat([_numbered(file, faults)["number"] for file in files])
    return [str(number) for number in sorted(found.unique())]


def require_labels(files: list[Path]) -> None:
    """Raise a UserError where PaddleX's label.txt is not among the files."""
    if not any(map(is_labels, files)):
        raise UserError(
            f"index.annotations: format paddlex has {LABELS} beside train.txt and val.txt, but the files are "
            f"{', '.join(file.name for file in files[:5])}. Name the folder, or set index.format to list."
        )


def is_labels(file: Path) -> bool:
    """Whether a file is PaddleX's list of classes."""
    return file.name.lower() == LABELS


def _numbered(file: Path, faults: Faults) -> pd.DataFrame:
    """Columns path, number and where of one list."""
    lines = read_lines(file)
    matches = [LINE.fullmatch(line) for line in lines["text"]]
    bad = pd.Series([match is None for match in matches], dtype=bool)
    faults.add_rows(lines, bad, lambda row: f'is {row["text"]!r}, not "path number" or "folder frames number"')
    good = [match for match in matches if match]
    paths = [_without_frames(match[1]) for match in good]
    where = list(lines.loc[~bad, "where"])
    return pd.DataFrame({"path": paths, "number": [int(match[2]) for match in good], "where": where})


def _without_frames(path: str) -> str:
    """A folder without the number of its frames; a video's path ends with its suffix."""
    match = FRAMES.fullmatch(path)
    return match[1] if match else path
