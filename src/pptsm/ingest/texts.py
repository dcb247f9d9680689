"""The text files that say what file names do not: classes and groups.

All are UTF-8, with or without a byte order mark, with any line ends; empty lines do not count.
"""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pptsm.params.packaged import packaged
from pptsm.runtime.errors import UserError

SHOWN = 5  # examples in a sentence


def plain(label: str) -> str:
    """What spellings of one class have in common: "Air drumming", "air_drumming"; é as one sign or as two."""
    return unicodedata.normalize("NFC", label).replace(" ", "_").casefold()


@dataclass(frozen=True)
class ClassNames:
    """The classes that a file names.

    Attributes:
        labels: in the order of the logits.
        first: the number of the first one, 0 or 1, where each line has a number; else None.
        file: where they stand, for a sentence.
    """

    labels: list[str]
    first: int | None
    file: str


def read_label_file(name: str) -> list[str]:
    """Class names in the order of the logits, as `read_class_names` reads them."""
    return read_class_names(name).labels


def read_class_names(name: str) -> ClassNames:
    """Class names; lines are "archery" or, as published lists have it, "17 archery".

    Lines are numbered where each begins with a number, the numbers are those from 0 or from 1 without
    holes, and the names behind them differ. The numbers then decide the order, not the lines.

    Raises:
        UserError: the file cannot be read or is empty, has a comment, names a class twice, or might be meant either
            way.
    """
    rows = _lines(name, "the label file")
    lines = [line for _, line in rows]
    if not lines:
        raise UserError(f"the label file {name!r} is empty: it must name the classes, one a line.")
    if comments := [(number, line) for number, line in rows if re.match(r"#\s", line)]:
        number, line = comments[0]
        raise UserError(
            f"the label file {name!r} has {line[:80]!r} in line {number}. Every line is a class there, and a comment "
            "would shift all that follow: take it out."
        )
    matches = [re.fullmatch(r"(\d+)\s+(\S.*)", line) for line in lines]
    numbered = {int(match[1]): match[2] for match in matches if match}
    names = [match[2] for match in matches if match]
    first = None
    if len(names) == len(lines) and (len(lines) == 1 or len(set(names)) > 1):  # else "1 handed", "2 handed"
        first = min(numbered)
        if first > 1 or sorted(numbered) != list(range(first, first + len(lines))) or len(set(names)) < len(names):
            raise UserError(
                f"every line of the label file {name!r} begins with a number, but these are not the numbers from 0 or "
                f"from 1, each once, before a name of its own ({', '.join(map(repr, lines[:SHOWN]))}). Number the "
                'classes from 0 in the order of the logits; a name that itself begins with a number is "0 1 handed".'
            )
        lines = [numbered[number] for number in sorted(numbered)]
    else:
        _refuse_other_numbering(name, lines)
    refuse_alike(lines, f"the label file {name!r}")
    return ClassNames(lines, first, name)


def _refuse_other_numbering(name: str, lines: list[str]) -> None:
    """Raise a UserError where lines have numbers in another form, `0,run` or `run 0`: they would become names."""
    for form in (r"(\d+)\s*(?:[,;:=|)]|\.(?!\d))\s*(\S.*)", r"(.*\S)\s*[\s,;:=|]\s*(\d+)"):
        pairs = [match.groups() for line in lines if (match := re.fullmatch(form, line))]
        pairs = [pair if pair[0].isdigit() else pair[::-1] for pair in pairs]
        numbers = sorted(int(number[:9]) for number, _ in pairs)
        # "level 1", "level 2" are names
        told_apart = len({text for _, text in pairs}) == len(lines) > 1
        if told_apart and numbers in (list(range(len(lines))), list(range(1, len(lines) + 1))):
            raise UserError(
                f"every line of the label file {name!r} has a number, but not as a number, a space and a name "
                f'({", ".join(map(repr, lines[:SHOWN]))}). Write "0 run"; a name with such a number in it is "0 run 1".'
            )


def refuse_alike(labels: Sequence[str], where: str) -> None:
    """Raise a UserError where two of these labels would be taken for one class."""
    counts = Counter(map(plain, labels))
    if alike := sorted(label for label in labels if counts[plain(label)] > 1):
        raise UserError(
            f"{where} has class names more than once, or names that differ only in case, spaces or underscores: "
            f"{', '.join(map(repr, alike[: 2 * SHOWN]))}. Give each class one spelling."
        )


def read_groups(name: str, known: Collection[str], requested: Sequence[str]) -> dict[str, str]:
    """Path below the root -> group, from lines "path,group" (CSV; the first may say just that).

    Args:
        name: the file.
        known: paths that it may name.
        requested: paths that it must name. A group that is missing by mistake would put a person on both sides of the
            split, so none is made up.

    Raises:
        UserError: the file cannot be read, a line is something else, or paths are unknown, named twice or missing.
    """
    groups: dict[str, str] = {}
    faults = []
    reader = csv.reader(io.StringIO(_text(name, "index.group_file"), newline=""), strict=True)
    last = 0
    try:
        for cells in reader:
            number, last = last + 1, reader.line_num  # quotes hold line breaks
            row = [cell.strip() for cell in cells]
            if not any(row) or [cell.lower() for cell in row] == ["path", "group"]:
                continue
            # a name may begin with a space
            path = cells[0] if cells[0] in known else _as_id(cells[0])
            if len(row) != 2 or not all(row):
                faults.append(f'line {number} is {",".join(cells)!r}, not "path,group"')
            elif path in groups:
                faults.append(f"line {number} names {path!r} again")
            elif path not in known:
                faults.append(f"line {number} names {path!r}, which is not below index.root")
            else:
                groups[path] = row[1]
    except csv.Error as error:
        raise UserError(f"index.group_file {name!r} is no CSV, line {last + 1}: {error}.") from None
    if missing := [path for path in requested if path not in groups]:
        faults.insert(
            0,
            f"{len(missing)} of {len(requested)} videos are not named, for example {missing[0]!r}: it must name every "
            "video; the group of one that nothing else belongs to may be its path",
        )
    if faults:
        more = f" ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise UserError(f"index.group_file {name!r}: {'; '.join(faults[:SHOWN])}{more}.")
    return groups


def by_folder(names: Sequence[str]) -> str:
    """Paths for a sentence: the folders with the most of them, each with a count and an example."""
    examples = {str(Path(name).parent): name for name in reversed(names)}
    folders = Counter(str(Path(name).parent) for name in names).most_common()
    shown = [f"{count} in {folder!r} (for example {examples[folder]!r})" for folder, count in folders[:SHOWN]]
    more = f", and more in {len(folders) - SHOWN} other folders" if len(folders) > SHOWN else ""
    return ", ".join(shown) + more


def _as_id(path: str) -> str:
    """A path as the index writes it: / between folders, no "./" before them."""
    return re.sub(r"^(?:\./+)+", "", path.strip().replace("\\", "/"))


def _lines(name: str, what: str) -> list[tuple[int, str]]:
    """Numbers from 1 and texts of the lines that are not empty."""
    # not splitlines(): that would break a class name at U+2028 and its like
    lines = enumerate(re.split("\r\n|\n|\r", _text(name, what)), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _text(name: str, what: str) -> str:
    try:
        return packaged(Path(name)).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {what} {name!r} as UTF-8 text: {error}.") from None
