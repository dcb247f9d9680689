"""The text files in which a person says what names cannot tell: classes and groups.

All are UTF-8, with or without a byte order mark, with any line ends; empty lines do not count.
"""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from pptsm.errors import UserError

SHOWN = 5  # examples in a sentence


def plain(label: str) -> str:
    """What spellings of one class have in common: "Air drumming", "air_drumming"; é as one sign or as two."""
    return unicodedata.normalize("NFC", label).replace(" ", "_").casefold()


def read_label_file(name: str) -> list[str]:
    """Class names in the order of the logits; lines are "archery" or, as published lists have it, "17 archery".

    Lines are numbered where each begins with a number, the numbers are those from 0 or from 1 without
    holes, and the names behind them differ. The numbers then decide the order, not the lines.

    Raises:
        UserError: the file cannot be read or is empty, names a class twice, or might be meant either way.
    """
    lines = [line for _, line in _lines(name, "the label file")]
    if not lines:
        raise UserError(f"the label file {name!r} is empty: it must name the classes, one a line.")
    matches = [re.fullmatch(r"(\d+)\s+(\S.*)", line) for line in lines]
    numbered = {int(match[1]): match[2] for match in matches if match}
    names = [match[2] for match in matches if match]
    if len(names) == len(lines) and (len(lines) == 1 or len(set(names)) > 1):  # else "1 handed", "2 handed"
        first = min(numbered)
        if first > 1 or sorted(numbered) != list(range(first, first + len(lines))) or len(set(names)) < len(names):
            raise UserError(
                f"every line of the label file {name!r} begins with a number, but these are not the numbers from 0 or "
                f"from 1, each once, before a name of its own ({', '.join(map(repr, lines[:SHOWN]))}). Number the "
                'classes from 0 in the order of the logits; a name that itself begins with a number is "0 1 handed".'
            )
        lines = [numbered[number] for number in sorted(numbered)]
    refuse_alike(lines, f"the label file {name!r}")
    return lines


def refuse_alike(labels: Sequence[str], where: str) -> None:
    """Raise a UserError where two of these labels would be taken for one class."""
    counts = Counter(map(plain, labels))
    if alike := sorted(label for label in labels if counts[plain(label)] > 1):
        raise UserError(
            f"{where} has class names more than once, or told apart only by case, spaces or underscores: "
            f"{', '.join(map(repr, alike[: 2 * SHOWN]))}. Give each class one spelling."
        )


def read_groups(name: str, known: Collection[str], wanted: Sequence[str]) -> dict[str, str]:
    """Path below the root -> group, from lines "path,group" (CSV; the first may say just that).

    Args:
        name: the file.
        known: paths that it may name.
        wanted: paths that it must name.

    Raises:
        UserError: the file cannot be read, a line is something else, or paths are unknown, named twice or missing.
    """
    groups: dict[str, str] = {}
    faults = []
    for number, line in _lines(name, "index.group_file"):
        row = [cell.strip() for cell in next(csv.reader([line]))]
        if [cell.lower() for cell in row] == ["path", "group"]:
            continue
        path = _as_id(row[0])
        if len(row) != 2 or not all(row):
            faults.append(f'line {number} is {line!r}, not "path,group"')
        elif path in groups:
            faults.append(f"line {number} names {path!r} again")
        elif path not in known:
            faults.append(f"line {number} names {path!r}, which is not below index.root")
        else:
            groups[path] = row[1]
    if missing := [path for path in wanted if path not in groups]:
        faults.insert(0, f"{len(missing)} of {len(wanted)} videos are not named, for example {missing[0]!r}")
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
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {what} {name!r} as UTF-8 text: {error}.") from None
    # not splitlines(): that would break a class name at U+2028 and its like
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
