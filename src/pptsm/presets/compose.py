"""Presets: short files that say only what sets them apart, laid over the base to give a complete params.yaml.

`base.yaml` has every value with its meaning; a preset names values that differ, and may be laid over another
one (`based_on: NAME`). Comments and order are the base's. The written file says in its head which command wrote it.
"""

import re
import shlex
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pptsm.params.checking import check_params
from pptsm.params.reading import YamlError, parse_yaml, read_sections
from pptsm.params.schema import Params
from pptsm.runtime.errors import UserError
from pptsm.weights.registry import evaluable_weights

PRESETS = Path(__file__).parent  # the package's own
BASE = "base"
BASED_ON = "based_on"
# Line breaks of YAML 1.1 and 1.2, control characters, and what is no UTF-8 text
UNWRITABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
WRITTEN_BY = "# Written by: "

Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """What `pptsm preset` was asked for; the same choice gives the same file.

    Attributes:
        name: of a preset.
        weights: a name that `pptsm weights` lists, for a preset that trains nothing.
        settings: `section.key=value` words, laid over the preset.
    """

    name: str
    weights: str | None = None
    settings: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that makes this choice."""
        weights = [] if self.weights is None else ["--weights", self.weights]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        return shlex.join(["pptsm", "preset", self.name, *weights, *settings])

    @classmethod
    def of_command(cls, command: str) -> "Choice":
        """The choice that such a command makes."""
        _, _, name, *rest = shlex.split(command)
        options = list(zip(rest[::2], rest[1::2], strict=True))
        weights = next((value for option, value in options if option == "--weights"), None)
        return cls(name, weights, tuple(value for option, value in options if option == "--set"))


def preset_names(folder: Path) -> dict[str, str]:
    """Name -> first line of each preset in a folder, sorted; the base is none of them."""
    files = sorted(folder.glob("*.yaml"))
    if not any(path.stem == BASE for path in files):
        raise UserError(f"no presets: looked for {folder.absolute()}/*.yaml, with {BASE}.yaml among them.")
    texts = {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in files}
    first_lines = {name: text.partition("\n")[0].lstrip("# ") for name, text in texts.items()}
    del first_lines[BASE]
    return first_lines


def preset_values(folder: Path, name: str) -> Values:
    """What a preset sets, with what it is based on: sections of values.

    Raises:
        UserError: there is no such preset, or presets are based on each other in a circle.
        ParamsError: the file is no YAML of sections.
    """
    values: Values = {}
    seen: list[str] = []
    current: str | None = name
    while current is not None:
        if current not in preset_names(folder):
            requested = f"preset {seen[-1]!r} is based on {current!r}, but" if seen else f"no preset {current!r};"
            raise UserError(f"{requested} there are {', '.join(preset_names(folder))}.")
        if current in seen:
            raise UserError(f"presets {' -> '.join([*seen, current])} are based on each other.")
        seen.append(current)
        own = read_sections(folder / f"{current}.yaml")
        based_on = own.pop(BASED_ON, None)
        current = None if based_on is None else str(based_on)
        values = merged(own, values)
    return values


def chosen_values(folder: Path, choice: Choice) -> Values:
    """What a choice sets in the base: the preset's values, those of its weights, then the settings.

    Raises:
        UserError: the preset or the weights are unknown, the preset trains, or a setting is none.
    """
    values = preset_values(folder, choice.name)
    if choice.weights is not None:
        if values.get("student", {}).get("epochs") != 0:
            raise UserError(
                f"preset {choice.name} trains, and --weights is for one that takes a checkpoint as it is (eval). To "
                f"start the training from it: --set student.start.weights={choice.weights}"
            )
        row = evaluable_weights(choice.weights)
        values = merged(values, row.params or {})
        values = merged(
            values, {"student": {"start": {"weights": row.name}}, "report": {"title": f"{row.note}, as published"}}
        )
    return merged(values, parse_settings(choice.settings))


def difference(folder: Path, choice: Choice) -> Values:
    """What of a choice differs from the base."""
    base = read_sections(folder / f"{BASE}.yaml")
    return differing(base, merged(base, chosen_values(folder, choice)))


def chosen_params(folder: Path, choice: Choice) -> Params:
    """The checked parameters of a choice.

    Raises:
        ParamsError: a key is unknown, or a value wrong.
    """
    values = merged(read_sections(folder / f"{BASE}.yaml"), chosen_values(folder, choice))
    return check_params(values, choice.command)


def compose(folder: Path, choice: Choice) -> str:
    """The text of a complete params.yaml: the base with its comments and order, and the choice's values in it.

    The comment at its head says what the file is, which command wrote it, and what the preset says of itself.

    Raises:
        UserError: as `chosen_values`.
        ParamsError: a key is unknown, or a value wrong.
    """
    chosen_params(folder, choice)
    title, body = _head_and_body((folder / f"{BASE}.yaml").read_text(encoding="utf-8"))
    preset_head, _ = _head_and_body((folder / f"{choice.name}.yaml").read_text(encoding="utf-8"))
    yaml = _yaml()
    base = yaml.load(body)
    _lay_over(base, chosen_values(folder, choice))
    out = StringIO()
    yaml.dump(base, out)
    return "\n".join(
        [
            title.splitlines()[0],
            "# Lists stand in block style, one item per line.",
            f"{WRITTEN_BY}{choice.command}",
            "#",
            preset_head,
            "",
            out.getvalue(),
        ]
    )


def written_by(folder: Path, text: str) -> str | None:
    """The command that writes just this parameters file; None where it was edited since: then work would be lost."""
    found = re.search(f"^{WRITTEN_BY}(pptsm preset .+)$", text, re.MULTILINE)
    try:
        return found[1] if found and compose(folder, Choice.of_command(found[1])) == text else None
    except (UserError, ValueError):  # of another version, or the line itself was edited
        return None


def as_yaml(values: Values) -> str:
    """Sections of values as YAML, a line a value."""
    out = StringIO()
    _yaml().dump(_lists_in_a_line(values), out)
    return out.getvalue()


def parse_settings(settings: tuple[str, ...]) -> Values:
    """`section.key=value` words as nested values; a value is read as YAML.

    Raises:
        UserError: a word is no such assignment, or its value no YAML.
    """
    values: Values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not (name and equals):
            raise UserError(f"--set {setting!r}: expected section.key=value, such as index.root=/videos.")
        if found := UNWRITABLE.search(setting):  # the command stands in a comment, which such a character would end
            raise UserError(
                f"--set {setting!r}: expected section.key=value in a line, but it has the character {found[0]!a}, "
                "which the text of params.yaml cannot have. In a value between double quotes a line break is \\n."
            )
        try:
            value = parse_yaml(text)
        except YamlError as fault:
            raise UserError(
                f"--set {setting!r}: {text!r} is not valid YAML{fault} A text with signs that YAML knows stands in "
                f"quotes of its own: --set \"{name}='...'\""
            ) from None
        if isinstance(value, str) and value.startswith("~/"):  # a shell opens it at the start of a word only
            value = str(Path(value).expanduser())
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


def _lay_over(base: CommentedMap, change: Values) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and base[key]:
            _lay_over(base[key], value)
        else:
            base[key] = value


def differing(base: Values, values: Values) -> Values:
    """The nested values of which `base` has others, or none."""
    found: Values = {}
    for key, value in values.items():
        if key not in base or value != base[key]:
            inner = isinstance(value, dict) and isinstance(base.get(key), dict) and base[key]
            found[key] = differing(base[key], value) if inner else value
    return found


def _lists_in_a_line(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists_in_a_line(inner) for key, inner in value.items()}
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    return value


def _head_and_body(text: str) -> tuple[str, str]:
    """The comment at the top, and what follows the empty line after it."""
    head, _, body = text.partition("\n\n")
    return head, body


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml
