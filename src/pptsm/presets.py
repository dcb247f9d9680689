"""Presets: short files that say only what sets them apart, laid over the base to give a complete params.yaml.

`presets/base.yaml` has every value with its meaning; a preset names values that differ, and may be laid over another
one (`based_on: NAME`). Comments and order are the base's.
"""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pptsm.errors import ParamsError, UserError

BASE = "base"
BASED_ON = "based_on"

Values = dict[str, Any]


def preset_names(folder: Path) -> dict[str, str]:
    """Name -> first line of each preset in a folder, sorted; the base is the preset of the embedded dataset."""
    files = sorted(folder.glob("*.yaml"))
    if not any(path.stem == BASE for path in files):
        raise UserError(f"no presets here: looked for {folder.absolute()}/*.yaml. Run this in the project's folder.")
    return {path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for path in files}


def preset_values(folder: Path, name: str) -> Values:
    """What a preset sets, with what it is based on: sections of values; empty for the base itself.

    Raises:
        UserError: there is no such preset, or presets are based on each other in a circle.
        ParamsError: the file is no YAML of sections.
    """
    values: Values = {}
    seen: list[str] = []
    current: str | None = name
    while current not in (None, BASE):
        assert current is not None
        if current not in preset_names(folder):
            wanted = f"preset {seen[-1]!r} is based on {current!r}, but" if seen else f"no preset {current!r};"
            raise UserError(f"{wanted} there are {', '.join(preset_names(folder))}.")
        if current in seen:
            raise UserError(f"presets {' -> '.join([*seen, current])} are based on each other.")
        seen.append(current)
        own = _read(folder / f"{current}.yaml")
        current = own.pop(BASED_ON, None)
        values = merged(own, values)
    return values


def compose(folder: Path, *changes: Values, title: str = "") -> str:
    """The base with changes laid over it, as text: a complete params.yaml with the base's comments and order.

    Args:
        folder: where `base.yaml` is.
        changes: nested values, the later ones over the earlier; a list or a map is replaced whole.
        title: comment lines for the head of the file instead of the base's own.

    Raises:
        ParamsError: a change names a key that the base does not have.
    """
    yaml = _yaml()
    text = (folder / f"{BASE}.yaml").read_text(encoding="utf-8")
    head, body = _head_and_body(text)
    base = yaml.load(body)
    for change in changes:
        _lay_over(base, change, ())
    out = StringIO()
    yaml.dump(base, out)
    return (title.rstrip("\n") + "\n\n" if title else head) + out.getvalue()


def head_of(path: Path) -> str:
    """The comment lines that a preset begins with."""
    return _head_and_body(path.read_text(encoding="utf-8"))[0].rstrip("\n")


def difference(folder: Path, values: Values) -> Values:
    """What of `values` differs from the base."""
    base = _read(folder / f"{BASE}.yaml")
    return _differing(base, merged(base, values))


def as_yaml(values: Values) -> str:
    """Values as YAML, lists in block style."""
    out = StringIO()
    yaml = _yaml()
    yaml.dump(values, out)
    return out.getvalue()


def parse_settings(settings: list[str]) -> Values:
    """`section.key=value` words as nested values; a value is read as YAML.

    Raises:
        UserError: a word is no such assignment, or its value no YAML.
    """
    values: Values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not (name and equals):
            raise UserError(f"--set {setting!r}: expected section.key=value, such as index.root=/videos.")
        try:
            value: Any = YAML(typ="safe").load(text)
        except YAMLError as error:
            raise UserError(f"--set {setting!r}: {text!r} is no YAML value ({str(error).splitlines()[0]}).") from None
        for part in reversed(name.split(".")):
            value = {part: value}
        values = merged(values, value)
    return values


def merged(values: Values, changes: Values) -> Values:
    """`values` with nested `changes`; both stay as they are."""
    result = dict(values)
    for key, change in changes.items():
        inner = result.get(key)
        both = isinstance(change, dict) and isinstance(inner, dict) and inner
        result[key] = merged(inner, change) if both else change  # type: ignore[arg-type]  # both are maps
    return result


def _lay_over(base: CommentedMap, change: Values, place: tuple[str, ...]) -> None:
    for key, value in change.items():
        if key not in base:
            name = ".".join((*place, str(key)))
            raise ParamsError(f"unknown key {name}; {'.'.join(place) or 'params.yaml'} has {', '.join(map(str, base))}")
        if isinstance(base[key], dict) and len(base[key]) and isinstance(value, dict):
            _lay_over(base[key], value, (*place, str(key)))
        else:
            base[key] = value


def _differing(base: Values, values: Values) -> Values:
    found: Values = {}
    for key, value in values.items():
        if key not in base or value != base[key]:
            inner = isinstance(value, dict) and isinstance(base.get(key), dict) and base[key]
            found[key] = _differing(base[key], value) if inner else value
    return found


def _head_and_body(text: str) -> tuple[str, str]:
    """The comment at the top with the empty line after it, and the rest."""
    head, _, body = text.partition("\n\n")
    return head + "\n\n", body


def _read(path: Path) -> Values:
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path} holds no sections of values.")
    return values


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml
