"""Format `ucf101`: the official lists, `Class/video.avi 1` to train with and `Class/video.avi` to test with.

`classInd.txt`, if it is among the files, gives the order of the classes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pptsm.ingest.annotations.lists import LISTED, QUOTED
from pptsm.ingest.annotations.matching import Root, by_path
from pptsm.ingest.annotations.reading import Faults, read_lines, require_lists, splits_of_files
from pptsm.ingest.texts import plain, read_label_file

AS_LIST = "set index.format to list, where the label is what stands behind the path"
OFFICIAL = re.compile(r"(train|test)list", re.IGNORECASE)


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all lists; the class is the folder, and what stands behind a path must say the same."""
    lists = [file for file in files if not is_order(file)]
    require_lists(lists, files)
    clips = read_lists(_splits(lists), root, faults)
    clips["label"] = [folder_of(path) for path in clips["path"]]
    faults.add_rows(clips, clips["label"] == "", lambda row: f'is {row["path"]!r}, not "Class/video.avi"')
    require_agreement(clips, labels(files), faults)
    return clips


def read_lists(splits: Mapping[Path, str], root: Root, faults: Faults) -> pd.DataFrame:
    """Columns path, given (text behind the path), split and where of lists, each of a split.

    A line that names no video stays whole: it will be missing, and be shown.
    """
    parts = []
    for file, split in splits.items():
        lines = read_lines(file)
        taken = [_taken_apart(line, root) for line in lines["text"]]
        table = pd.DataFrame(taken, columns=["path", "given"], dtype="str")
        parts.append(table.assign(split=split, where=list(lines["where"])))
    clips = pd.concat(parts, ignore_index=True)
    clips["path"] = by_path(clips, root, faults)
    return clips


def require_agreement(clips: pd.DataFrame, order: list[str] | None, faults: Faults, by_pattern: bool = False) -> None:
    """What lines give behind a path is the class of column `label`: by its name, or by one number for each class.

    Args:
        clips: columns path, given, label ("": not known, so not compared) and where.
        order: the classes by their numbers, from 1 in all lines or from 0 in all; None: any numbers.
        faults: gets the lines that say something else.
        by_pattern: index.pattern gives the label, and so may join several numbers in one.
    """
    compared = clips[(clips["given"] != "") & (clips["label"] != "")]
    is_number = compared["given"].str.fullmatch(r"\d{1,9}").astype(bool)
    pairs = zip(compared["given"].tolist(), compared["label"].tolist(), strict=True)
    same_name = pd.Series([plain(given) == plain(label) for given, label in pairs], compared.index, dtype=bool)
    remedy = f"name the lists in index.annotations and {AS_LIST}" if by_pattern else AS_LIST
    faults.add_rows(
        compared,
        ~is_number & ~same_name,
        lambda row: f"gives {row['path']!r} the label {row['given']!r}, but the class is {row['label']!r}: {remedy}",
    )
    numbered = compared[is_number & ~same_name]
    numbers, classes = numbered["given"].astype(int), numbered["label"].map(plain)
    if order is not None:
        expected = classes.map({plain(label): number for number, label in enumerate(order, start=1)})
        wrong = (numbers != expected) if set(expected - numbers) != {1} else numbers < 0
        faults.add_rows(
            numbered,
            wrong,
            lambda row: f"gives {row['path']!r} the number {row['given']}, classInd.txt another or none",
        )
        return
    wrong = classes != classes.groupby(numbers).transform("first")
    if not by_pattern:
        wrong |= numbers != numbers.groupby(classes).transform("first")
    faults.add_rows(
        numbered,
        wrong,
        lambda row: (
            f"gives {row['path']!r} the number {row['given']}, but its class {row['label']!r} or its number stood in "
            f"another pair before: {remedy}"
        ),
    )


def fits(lines: Sequence[str]) -> bool:
    """Whether all lines are `Class/video.avi`, and those with a number or name have one for each class."""
    taken = [found.groups(default="") for line in lines if (found := LISTED.fullmatch(line))]
    clips = pd.DataFrame(taken, columns=["path", "given"], dtype="str")
    clips["label"] = [folder_of(path.replace("\\", "/")) for path in clips["path"]]
    faults = Faults()
    require_agreement(clips.assign(where=""), None, faults)
    return len(taken) == len(lines) and bool((clips["label"] != "").all()) and not faults.count


def folder_of(path: str) -> str:
    """The name of the folder that a video lies in; empty if it lies in none."""
    return path.rpartition("/")[0].rpartition("/")[2]


def labels(files: list[Path]) -> list[str] | None:
    """The classes in the official order, if classInd.txt is there."""
    return next((read_label_file(str(file)) for file in files if is_order(file)), None)


def is_order(file: Path) -> bool:
    """Whether a file is UCF101's list of classes."""
    return file.stem.lower() == "classind"


def _taken_apart(line: str, root: Root) -> tuple[str, str]:
    if (quoted := QUOTED.fullmatch(line)) and line not in root.ids:
        return quoted[2], quoted[3] or ""
    found = LISTED.fullmatch(line)
    return (found[1], found[2] or "") if found else (line, "")


def _splits(files: list[Path]) -> dict[Path, str]:
    official = {file: found[1].lower() for file in files if (found := OFFICIAL.match(file.name))}
    return official | splits_of_files([file for file in files if file not in official])
