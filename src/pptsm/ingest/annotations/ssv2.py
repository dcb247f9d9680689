"""Format `ssv2`: the JSON files of Something-Something V2. The class is the template without its brackets.

`something-something-v2-labels.json` (or `labels.json`), if it is among the files, gives the order of the classes.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.console import note
from pptsm.errors import UserError
from pptsm.ingest.annotations.matching import Root, by_keys, stem
from pptsm.ingest.annotations.reading import Faults, places, read_text, splits_of_files


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all files that have templates; others, as the official test, are left out with a note."""
    entries = {file: content for file in files if isinstance(content := _content(file), list)}
    tables = {file: _table(file, content, faults) for file, content in entries.items()}
    faults.raise_any()
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
    for file in files:
        content = _content(file)
        if isinstance(content, dict):
            return _ordered(file, content)
    return None


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
