"""Format `ucf101`: the official lists, `Class/video.avi 1` to train with and `Class/video.avi` to test with.

`classInd.txt`, if it is among the files, gives the order of the classes.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pptsm.data.video import VIDEO_SUFFIXES
from pptsm.ingest.annotations.matching import Root, by_path
from pptsm.ingest.annotations.reading import Faults, read_lines, require_lists, splits_of_files
from pptsm.ingest.texts import plain, read_label_file

# "Class/video.avi 1" or "Class/my video.avi": the path ends with the last word that ends like a video
LISTED = re.compile(rf"(.*(?:{'|'.join(map(re.escape, VIDEO_SUFFIXES))}))(?:\s+(.*))?", re.IGNORECASE)
OFFICIAL = re.compile(r"(train|test)list", re.IGNORECASE)


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all lists; the class is the folder, and the number behind it must be that of classInd.txt."""
    lists = [file for file in files if not is_order(file)]
    require_lists(lists, files)
    clips = read_lists(_splits(lists), root, faults)
    clips["label"] = [path.rpartition("/")[0].rpartition("/")[2] for path in clips["path"]]
    faults.add_rows(clips, clips["label"] == "", lambda row: f'is {row["path"]!r}, not "Class/video.avi"')
    if (order := labels(files)) is not None:
        numbers = {plain(label): str(number) for number, label in enumerate(order, start=1)}
        expected = [numbers.get(plain(label), "") for label in clips["label"]]
        wrong = (clips["number"] != "") & (clips["number"] != expected)
        faults.add_rows(
            clips, wrong, lambda row: f"gives {row['path']!r} the number {row['number']}, classInd.txt another or none"
        )
    return clips


def read_lists(splits: Mapping[Path, str], root: Root, faults: Faults) -> pd.DataFrame:
    """Columns path, number (text behind the path), split and where of lists, each of a split.

    A line that names no video stays whole: it will be missing, and be shown.
    """
    parts = []
    for file, split in splits.items():
        lines = read_lines(file)
        matches = [LISTED.fullmatch(line) for line in lines["text"]]
        paths = [match[1] if match else line for match, line in zip(matches, lines["text"], strict=True)]
        numbers = [(match[2] or "") if match else "" for match in matches]
        parts.append(pd.DataFrame({"path": paths, "number": numbers, "split": split, "where": lines["where"]}))
    clips = pd.concat(parts, ignore_index=True)
    clips["path"] = by_path(clips, root, faults)
    return clips


def labels(files: list[Path]) -> list[str] | None:
    """The classes in the official order, if classInd.txt is there."""
    return next((read_label_file(str(file)) for file in files if is_order(file)), None)


def is_order(file: Path) -> bool:
    """Whether a file is UCF101's list of classes."""
    return file.stem.lower() == "classind"


def _splits(files: list[Path]) -> dict[Path, str]:
    official = {file: found[1].lower() for file in files if (found := OFFICIAL.match(file.name))}
    return official | splits_of_files([file for file in files if file not in official])
