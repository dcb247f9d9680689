"""Formats `list` and `paddlex`: lines `path number`, or `folder frames number` for folders of frames.

PaddleVideo and mmaction2 have such a list for each split. PaddleX lays `label.txt` (`0 abseiling`) beside `train.txt`
and `val.txt`. The label stands at the end, behind spaces or a tab, so that a path may have spaces; behind the name of a
video file it may be the class's name itself (`run/1.mp4 air drumming`). A test may have no labels, or -1 for none.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from pptsm.ingest.annotations.matching import Root, by_path
from pptsm.ingest.annotations.reading import (
    Faults,
    as_ids,
    read_lines,
    require_lists,
    splits_of_files,
    without_suffix,
)
from pptsm.ingest.texts import ClassNames, read_class_names
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.video.video import VIDEO_SUFFIXES

# "Class/video.avi 1" or "Class/my video.avi": the path ends with the last word that ends like a video
LISTED = re.compile(rf"(.*(?:{'|'.join(map(re.escape, VIDEO_SUFFIXES))}))(?:\s+(.*))?", re.IGNORECASE)
QUOTED = re.compile(r"""(["'])(.+?)\1(?:[ \t]+(.*))?""")
LAST = re.compile(r"(.*\S)[ \t]+(\S+)")  # a text and its last word
NUMBER = re.compile(r"-?\d+")
SEVERAL = re.compile(r"-?\d+(?:[,;|]-?\d+)+")
LABELS = "label.txt"
MOST_NUMBERS = 4  # that are looked for behind a path: one is a label, two are frames and a label
MOST_DIGITS = 9


class Line(NamedTuple):
    """What a line says.

    Attributes:
        path: of the video file or folder of frames.
        label: a number from 0, or a class's name; empty if there is none.
        kind: of the label.
        fault: why it cannot be used; empty for nearly all.
    """

    path: str
    label: str
    kind: Literal["number", "name", "none"]
    fault: str = ""


def parse(text: str, frames: bool, known: Callable[[str], bool]) -> Line:
    """Take a line apart.

    Args:
        text: the line, without spaces around it.
        frames: whether lists name folders of frames, with the number of these between path and label.
        known: whether a path is one below the root: it decides where the path may end in two places.
    """
    if re.match(r"#\s", text) and not known(text):
        return Line(text, "", "none", f"is {text!r}, a comment, which lists do not have")
    path, rest = _path_and_rest(text, known)
    words = rest.split()
    fault = ""
    if not words and path == without_suffix(path) and not known(path):
        fault = f'is {text!r}, not "path number" or "folder frames number"'
    elif any(map(SEVERAL.fullmatch, words)):
        fault = _several(path, rest, frames)
    elif not all(map(NUMBER.fullmatch, words)):
        return Line(path, rest, "name")
    elif len(words) > 1:
        # "run/1 121 3" is a folder of 121 frames; "run/1.mp4 0 2" is so only where the root has such folders
        of_folder = len(words) == 2 and (frames or path == without_suffix(path)) and int(words[0][:MOST_DIGITS]) > 0
        fault = "" if of_folder else _several(path, rest, frames)
    number = words[-1] if words else "-1"
    if not fault and number != "-1" and not re.fullmatch(rf"\d{{1,{MOST_DIGITS}}}", number):
        fault = f"gives {path!r} the class {number[:20]}, which is no number of a class"
    if fault or number == "-1":
        return Line(path, "", "none", fault)
    return Line(path, str(int(number)), "number")


def read(
    files: list[Path], names: ClassNames | None, first_class: Literal["auto", 0, 1], frames: bool, root: Root,
    faults: Faults,
) -> pd.DataFrame:  # fmt: skip
    """The clips of all lists.

    Args:
        files: of the lists.
        names: of the classes; without them a class is called by its number.
        first_class: the number of the first class in the lists; auto: found out.
        frames: whether the root has folders of frames.
        root: what is there.
        faults: gets those lines that are none, labels that are missing, and numbers without a class.

    Raises:
        UserError: whether the lists count from 0 or from 1 cannot be known.
    """
    own = [file for file in files if not is_labels(file)]
    require_lists(own, files)
    known = _known(root)
    parts = [_parsed(file, frames, known).assign(split=split) for file, split in splits_of_files(own).items()]
    clips = pd.concat(parts, ignore_index=True)
    wrong = clips["fault"] != ""
    faults.add_rows(clips, wrong, lambda row: row["fault"])
    clips = clips[~wrong].reset_index(drop=True)
    _require_labels(clips, faults)
    numbered = clips["kind"] == "number"
    if names is not None and numbered.any():
        numbers = clips.loc[numbered, "label"].astype(int)
        first = _first_class(numbers, names, first_class)
        clips.loc[numbered, "label"] = numbers.map(dict(enumerate(names.labels, first))).fillna("")
        unknown = clips.index.isin(numbers.index[(numbers < first) | (numbers >= first + len(names.labels))])
        hint = ""
        if first == 0 and numbers.min() > 0:
            hint = ". None has the class 0, so the lists may count from 1: then set index.first_class to 1"
        said = f"but {len(names.labels)} are named, from {first}{hint}"
        faults.add_rows(
            clips.assign(number=numbers.astype(str)), unknown, lambda row: f"has the class {row['number']}, {said}"
        )
    clips["path"] = by_path(clips, root, faults)
    return clips[["path", "label", "split", "where"]]


def class_names(files: list[Path], label_file: str | None) -> ClassNames | None:
    """The classes by their numbers, as label.txt or else index.label_file names them."""
    own = [str(file) for file in files if is_labels(file)]
    name = own[0] if own else label_file
    return None if name is None else read_class_names(name)


def numbers(files: list[Path], frames: bool, root: Root) -> list[str] | None:
    """The class numbers that lists have, in their order, as text; None where they name the classes.

    Lines are taken apart as `read` does it, for which the files below the root count.
    """
    known = _known(root)
    parts = [_parsed(file, frames, known) for file in files if not is_labels(file)]
    clips = pd.concat(parts)
    if (clips["kind"] == "name").any():
        return None
    found = {int(label) for label in clips.loc[clips["kind"] == "number", "label"].unique()}
    return [str(number) for number in sorted(found)]


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


def _path_and_rest(text: str, known: Callable[[str], bool]) -> tuple[str, str]:
    """A path, and what stands behind it."""
    if (quoted := QUOTED.fullmatch(text)) and not known(text):
        return quoted[2], (quoted[3] or "").strip()
    listed = LISTED.fullmatch(text)
    # "my.mp4 clips/x 3": there a folder has a video's suffix
    if listed and ("/" not in (listed[2] or "") or known(listed[1])):
        return listed[1], listed[2] or ""
    places = [text]
    while len(places) <= MOST_NUMBERS and (found := LAST.fullmatch(places[-1])):
        if not (NUMBER.fullmatch(found[2]) or SEVERAL.fullmatch(found[2])):
            break
        places.append(found[1])
    # a test's line may have no label; then what ends the folder's name is no number of a class
    path = next((place for place in [*places[1:], text] if known(place)), places[-1])
    return path, text[len(path) :].strip()


def _several(path: str, rest: str, frames: bool) -> str:
    folder = "" if frames or len(rest.split()) != 2 else " (or the frames of a folder: then set index.frame_name)"
    return f"gives {path!r} several labels, {rest!r}{folder}, but a video is of one class here"


def _known(root: Root) -> Callable[[str], bool]:
    ids = root.ids | root.aside
    bare = {without_suffix(name) for name in ids}

    def known(path: str) -> bool:
        return path in ids or path in bare or (name := as_ids([path], root.path)[0][0]) in ids or name in bare

    return known


def _parsed(file: Path, frames: bool, known: Callable[[str], bool]) -> pd.DataFrame:
    """The columns of `Line` and `where`, of one list."""
    lines = read_lines(file)
    found = [parse(text, frames, known) for text in lines["text"]]
    return pd.DataFrame(found, columns=list(Line._fields), dtype="str").assign(where=list(lines["where"]))


def _require_labels(clips: pd.DataFrame, faults: Faults) -> None:
    """A label for each clip that is not of the test, and all of one kind."""
    bare = clips["kind"] == "none"
    of_test = clips["split"] == "test"
    faults.add_rows(clips, bare & ~of_test, lambda row: f"gives {row['path']!r} no label")
    if (bare & of_test).any():
        note(f"index: {(bare & of_test).sum()} of {of_test.sum()} clips in the test's list have no label: left out")
    kinds = clips.loc[~bare, "kind"].value_counts()
    if len(kinds) > 1:
        faults.add_rows(
            clips,
            clips["kind"] == kinds.index[-1],
            lambda row: f"gives {row['path']!r} the label {row['label']!r}, where most lines have a {kinds.index[0]}",
        )


def _first_class(numbers: pd.Series, names: ClassNames, chosen: Literal["auto", 0, 1]) -> int:
    """The number that the lists give the first class.

    It is known where the lists have a class 0 or the last number, and where each name has a number from 0 on, as in
    published folders: so the lists' numbers mean those. Names from 1 are no such sign, because UCF101's stand beside
    lists from 0 too.
    """
    if chosen != "auto":
        return chosen
    count, lowest, highest = len(names.labels), int(numbers.min()), int(numbers.max())
    if lowest == 0 and names.first == 1:
        note(
            f"index: the lists count classes from 0 and {names.file} from 1: the lists' class 0 is {names.labels[0]!r}"
        )
    if lowest > 0 and names.first == 0 and highest < count:
        note(
            f"index: no clip has the class 0, {names.labels[0]!r}: the lists' numbers are read as {names.file} has "
            "them, from 0; if the lists count from 1, set index.first_class to 1"
        )
    if lowest == 0 or names.first == 0:
        return 0
    if highest >= count:
        return 1 if names.first == 1 else 0
    written = "without numbers" if names.first is None else f"from {names.first}"
    raise UserError(
        f"index.annotations: it cannot be known whether the lists count classes from 0 or from 1. They have the "
        f"numbers {lowest} to {highest}, neither 0 nor {count}, and {names.file} names {count} classes {written}. "
        f"Class {lowest} would be {names.labels[lowest]!r} counted from 0, and {names.labels[lowest - 1]!r} counted "
        "from 1: set index.first_class to 0 or 1."
    )
