"""What a run's parameters say otherwise than the preset that they were written from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pptsm.params.reading import read_sections
from pptsm.presets.compose import BASE, PRESETS, WRITTEN_BY, Choice, chosen_values, differing, merged
from pptsm.runtime.errors import UserError

NOT_DECIDING = "compute"  # for this section no stage runs again


@dataclass(frozen=True)
class Setting:
    """A value of params.yaml that is another than the preset's."""

    name: str  # as dvc's --set-param names it
    here: str
    preset: str


@dataclass(frozen=True)
class Settings:
    """A parameters file beside its preset."""

    preset: str  # its name
    text: str  # the file, without what decides nothing
    changed: list[Setting]


def settings(path: Path) -> Settings:
    """Compare a parameters file with the preset that its head names; where it names none, with the base.

    Raises:
        UserError: the file cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    values = {name: value for name, value in read_sections(path).items() if name != NOT_DECIDING}
    name, expected = _preset(text)
    changed = [
        Setting(key, _shown(value), _shown(_value(expected, key)))
        for key, value in _flat(differing(expected, values)).items()
    ]
    shown = re.sub(rf"(?m)^{NOT_DECIDING}:.*\n(?:[ \t#].*\n)*", "", text)
    return Settings(name, shown, changed)


def _preset(text: str) -> tuple[str, dict[str, Any]]:
    """The name of the preset, without what was set beside it, and its complete values."""
    base = read_sections(PRESETS / f"{BASE}.yaml")
    found = re.search(f"^{WRITTEN_BY}(pptsm preset .+)$", text, re.MULTILINE)
    try:
        if found:
            choice = Choice.of_command(found[1])
            return choice.name, merged(base, chosen_values(PRESETS, Choice(choice.name, choice.weights)))
    except (UserError, ValueError):  # the line was edited, or is of another version
        pass
    return BASE, base


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
