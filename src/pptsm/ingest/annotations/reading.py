"""What all formats share: the files that are meant, their lines, where a line is, and what is wrong with it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pptsm.ingest.splits import SPLIT_NAMES
from pptsm.runtime import pandas_texts  # noqa: F401
from pptsm.runtime.errors import UserError
from pptsm.video.video import VIDEO_SUFFIXES

SHOWN = 5  # faults in a sentence
BLANK = " \t\r"  # what stands around a text and is no part of it; other control characters may be part of a name
SUFFIXES = (".csv", ".json", ".txt", ".list", ".tsv")  # of the files that are taken from a folder
# Of UCF101's and HMDB51's lists: trainlist01, wave_test_split1; and as other toolboxes name theirs:
# ucf101_val_split_1_videos, hmdb51_train_split_2_rawframes.
SPLIT_NUMBER = re.compile(
    r"(?:(?:train|test|val)list_?0?|_(?:train|test|val)_?split_?0?)([1-3])(?:_(?:videos|rawframes))?$", re.IGNORECASE
)
HMDB51 = re.compile(r"_test_split[1-3]$", re.IGNORECASE)
# Lists of the same clips, once as video files and once as folders of frames
KINDS = re.compile(r"_(videos|rawframes)(?=$|[._])", re.IGNORECASE)
BESIDE = re.compile(
    r"(?:^|[_-])(?:readme|licen[cs]e)$", re.IGNORECASE
)  # files in a published folder that name no clips


@dataclass
class Faults:
    """What is wrong with the annotations, each with its place; raised together, so that one run shows them."""

    texts: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.texts) < SHOWN:
            self.texts.append(text)

    def add_rows(
        self, rows: pd.DataFrame, wrong: pd.Series | NDArray[np.bool_], say: Callable[[pd.Series], str]
    ) -> None:
        """One for each row where `wrong` is true; `say` is asked only for those that are shown."""
        bad = rows[wrong]
        shown = max(0, SHOWN - len(self.texts))
        self.texts += [f"{row['where']} {say(row)}" for _, row in bad.head(shown).iterrows()]
        self.count += len(bad)

    def raise_any(self) -> None:
        """Raise a UserError if there are any."""
        if self.count:
            more = f" ... and {self.count - len(self.texts)} more" if self.count > len(self.texts) else ""
            raise UserError(
                f"index.annotations: {'; '.join(self.texts)}{more}. Mend these lines; docs/coming_from.md shows how "
                "each format is written."
            )


def annotation_files(names: Sequence[str], split_number: int, frames: bool = False) -> list[Path]:
    """The files that index.annotations means: of a folder those with the suffixes of annotations.

    Where they are official lists of several splits, only those of `split_number` and those without a number are taken;
    where there are lists of videos and the same of folders of frames, only those of `frames`.

    Raises:
        UserError: one is not there, a folder has none, or there are lists of other splits only.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != "."]
            inside = [file for file in inside if not BESIDE.search(file.stem)]
            if not inside:
                raise UserError(
                    f"index.annotations names the folder {name!r}, but no file in it ends in {' '.join(SUFFIXES)}."
                )
            files += sorted(inside)
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(
                f"index.annotations names {name!r}, but there is no such file or folder (looked from {Path.cwd()})."
            )
    numbers = {file: int(found[1]) for file in files if (found := SPLIT_NUMBER.search(file.stem))}
    if len(set(numbers.values())) > 1 and split_number not in numbers.values():
        raise UserError(
            f"index.official_split is {split_number}, but the lists are of the splits {sorted(set(numbers.values()))}."
        )
    if len(set(numbers.values())) > 1:
        files = [file for file in files if numbers.get(file, split_number) == split_number]
    return _of_kind(files, "rawframes" if frames else "videos")


def _of_kind(files: list[Path], requested: str) -> list[Path]:
    """Without lists of the other kind whose clips a list of the requested kind has as well."""
    kinds = {file: found[1].lower() for file in files if (found := KINDS.search(file.stem))}
    twins = {KINDS.sub("", file.stem).lower() for file, kind in kinds.items() if kind == requested}
    return [
        file
        for file in files
        if kinds.get(file, requested) == requested or KINDS.sub("", file.stem).lower() not in twins
    ]


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: it cannot be read, or is no UTF-8; with the line.
    """
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the annotations {str(path)!r}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"the annotations {str(path)!r} are not UTF-8 text (line {line}): save them in that encoding."
        ) from None


def read_lines(path: Path) -> pd.DataFrame:
    """The lines that are not empty: columns `text`, without spaces around it, and `where` ("list.txt line 3").

    Only a line feed ends a line (a carriage return before it goes): U+2028 and its like may stand in a name.
    """
    lines = [line.strip(BLANK) for line in read_text(path).split("\n")]
    full = [number for number, line in enumerate(lines) if line]
    return pd.DataFrame({"text": [lines[number] for number in full], "where": places(path, [n + 1 for n in full])})


def places(path: Path, numbers: Sequence[int] | range, what: str = "line") -> list[str]:
    """Where each row is, for a sentence."""
    start = f"{path.name} {what} "
    return [f"{start}{number}" for number in numbers]


def require_lists(lists: Sequence[Path], files: Sequence[Path]) -> None:
    """Raise a UserError where none of the files names clips."""
    if not lists:
        names = ", ".join(file.name for file in files)
        raise UserError(
            f"index.annotations: {names} gives the order of the classes; a file that names clips is missing."
        )


def split_of_file(path: Path) -> str:
    """train, val or test, if just one of them is a word of the file's name; else empty."""
    words = re.findall("[a-z]+", path.stem.lower())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else ""


def splits_of_files(files: Sequence[Path], alone: bool | None = None) -> dict[Path, str]:
    """The split that each file is for, by its name; a file that is alone may leave it open.

    Raises:
        UserError: there are several, and a name does not tell.
    """
    splits = {file: split_of_file(file) for file in files}
    if alone is None:
        alone = len(files) == 1
    if not alone and (unclear := [file.name for file, split in splits.items() if not split]):
        raise UserError(
            f"index.annotations: for which split is {', '.join(map(repr, unclear[:SHOWN]))}? Of several files each has "
            f"one of the words {', '.join(SPLIT_NAMES)} in its name, such as my_train.csv; or a column `split`."
        )
    return splits


def as_ids(paths: Sequence[str], root: str) -> tuple[list[str], NDArray[np.bool_]]:
    """Paths as the index writes them (below the root, / between folders), and which of them lie outside.

    An absolute path below the root becomes one below it.
    """
    tops = {f"{top.as_posix().rstrip('/')}/" for top in (Path(root).absolute(), Path(root).resolve())}
    ids = [_as_id(path, tops) if _unusual(path) else path for path in paths]
    outside = [
        not name or name.startswith("/") or name[1:2] == ":" or (".." in name and ".." in name.split("/"))
        for name in ids
    ]
    return ids, np.array(outside, dtype=bool)


def without_suffix(name: str) -> str:
    """A path without a video's suffix; a folder's name may have dots."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES else name


def _unusual(path: str) -> bool:
    return (
        "\\" in path or "//" in path or path.startswith(("./", "/", " ")) or path.endswith(("/", " ")) or "/./" in path
    )


def _as_id(path: str, tops: set[str]) -> str:
    name = re.sub("/(?:\\.?/)+", "/", path.strip(BLANK).replace("\\", "/"))
    name = name.removeprefix("./").rstrip("/")
    return next((name[len(top) :] for top in tops if name.startswith(top)), name)
