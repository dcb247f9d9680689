"""Format `ssv2`: the JSON files of Something-Something V2. The class is the template without its brackets.

`something-something-v2-labels.json` (or `labels.json`), if it is among the files, gives the order of the classes, and
`test-answers.csv` (`42;Pulling something from left to right`) the labels of the test.
"""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.ingest.annotations.matching import Root, by_keys, stem
from pptsm.ingest.annotations.reading import Faults, places, read_lines, read_text, splits_of_files
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all files that have templates, or the answers; others are left out with a note."""
    entries = {file: content for file in _json(files) if isinstance(content := _content(file), list)}
    tables = {file: _table(file, content, faults) for file, content in entries.items()}
    answers = _answers([file for file in files if is_answers(file)], faults)
    faults.raise_any()
    for table in tables.values():
        table["template"] = [
            own or answers.get(name, "") for own, name in zip(table["template"], table["id"], strict=True)
        ]
    unlabelled = [file for file, table in tables.items() if (table["template"] == "").all()]
    for file in unlabelled:
        note(f"index: {file.name} has no templates, so no labels: its {len(tables.pop(file))} entries are left out")
    if not tables:
        raise UserError(
            f"index.annotations: no file with labelled entries in {', '.join(file.name for file in files)}."
        )
    splits = splits_of_files(list(tables))
    clips = pd.concat([table.assign(split=splits[file]) for file, table in tables.items()], ignore_index=True)
    clips["label"] = clips["template"].str.replace(r"[\[\]]", "", regex=True)
    faults.add_rows(clips, clips["label"] == "", lambda row: f"gives video {row['id']} no template")
    if (order := labels(files)) is not None:
        unknown = ~clips["label"].isin([*order, ""])
        faults.add_rows(clips, unknown, lambda row: f"has the class {row['label']!r}, which the labels do not name")
    ids = by_keys(clips, root.by(stem), [list(clips["id"])], faults)
    clips["path"] = [name or f"{number}.webm" for name, number in zip(ids, clips["id"], strict=True)]
    return clips


def labels(files: list[Path]) -> list[str] | None:
    """The classes in the official order, if the file of them is there."""
    for file in _json(files):
        content = _content(file)
        if isinstance(content, dict):
            return _ordered(file, content)
    return None


def is_answers(file: Path) -> bool:
    """Whether a file is the package's list of the test's labels."""
    return file.name.lower().endswith("test-answers.csv")


def _json(files: list[Path]) -> list[Path]:
    return [file for file in files if not is_answers(file)]


def _answers(files: list[Path], faults: Faults) -> dict[str, str]:
    """The label of each video that the answers name, by its id."""
    answers: dict[str, str] = {}
    for file in files:
        lines = read_lines(file)
        found = {where: re.fullmatch(r'"?(\d+)"?\s*;\s*"?(.*?)"?', text) for text, where in lines.values}
        for where, match in found.items():
            if match is None or not match[2]:
                faults.add(f'{where} is no line as "42;Pulling something from left to right"')
            elif answers.setdefault(match[1], match[2]) != match[2]:
                faults.add(f"{where} names video {match[1]} again, with another label")
    return answers


def _content(file: Path) -> list[Any] | dict[str, Any]:
    try:
        content = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"the annotations {str(file)!r} are no JSON: {error}.") from None
    if not isinstance(content, list | dict):
        raise UserError(f"the annotations {str(file)!r} hold a {type(content).__name__}, not a list of entries.")
    return content


def _ordered(file: Path, content: dict[str, Any]) -> list[str]:
    try:
        numbers = {int(number): label for label, number in content.items()}
    except (TypeError, ValueError):
        numbers = {}
    if not numbers or sorted(numbers) != list(range(len(content))):
        raise UserError(
            f"the annotations {str(file)!r} are to give each class its number from 0, each once, such as "
            '{"Approaching something with your camera": "0", ...}.'
        )
    return [numbers[number] for number in range(len(content))]


def _table(file: Path, entries: list[Any], faults: Faults) -> pd.DataFrame:
    """Columns id, template ("" where there is none) and where."""
    where = places(file, range(1, len(entries) + 1), "entry")
    good = []
    for place, entry in zip(where, entries, strict=True):
        if isinstance(entry, dict) and isinstance(entry.get("id"), str | int):
            template = entry.get("template", "")
            good.append((str(entry["id"]), template if isinstance(template, str) else "", place))
        else:
            faults.add(f"{place} is {str(entry)[:60]!r}, which has no id")
    return pd.DataFrame(good, columns=["id", "template", "where"], dtype="str")
