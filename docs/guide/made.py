"""The parts of the guide that are made from the code: commands, parameters, names, presets, errors, decisions.

Each function gives a text in Markdown.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from ruamel.yaml import YAML

import pptsm
from pptsm.cli import COMMANDS, app
from pptsm.params.schema import Params
from pptsm.presets.compose import PRESETS

PACKAGE = Path(str(pptsm.__file__)).parent
REFUSING = ("Error", "_fail", "refuse", "Stopped")  # how functions and classes end that are given such a sentence
KINDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true | false",
    "null": "null",
    "object": "names with values",
    "string": "text",
}
BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
GROUPS = {"Args", "Attributes", "Returns", "Raises"}  # headings in docstrings


def cell(text: str) -> str:
    """A text as it may stand in a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def code(text: object) -> str:
    """A text as code in a table's cell."""
    return f"`{str(text).replace('|', chr(92) + '|')}`"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table, or nothing where there is no row."""
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


# Commands


def commands() -> str:
    """Every command and stage with its arguments and options, as `--help` says them."""
    group: Any = typer.main.get_command(app)
    typed = {command.__name__ for command in COMMANDS}
    parts = ["### What a person types", *(_command(group, name) for name in sorted(typed))]
    stages = [name for name in group.commands if name not in typed]
    parts += ["### Stages, in the order of dvc.yaml", *(_command(group, name) for name in stages)]
    return "\n\n".join(parts)


def _command(group: Any, name: str) -> str:
    command = group.commands[name]
    context = typer.Context(command, info_name=f"pptsm {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = []
    for parameter in command.params:
        if record := parameter.get_help_record(context):
            words = record[0].replace("  ", " ").strip()
            rows.append((code(words), cell(record[1]).replace("[", "\\[")))
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    listed = table(("argument or option", "what it says"), rows)
    return f"#### pptsm {name}\n\n```text\n{' '.join(usage.split())}\n```\n\n{text}\n\n{listed}"


# Parameters


def parameters() -> str:
    """Every value of params.yaml: what the base has, what may stand there, and what it means."""
    base = (PRESETS / "base.yaml").read_text(encoding="utf-8")
    values = YAML(typ="safe").load(base)
    schema = Params.model_json_schema()
    meanings = dict(_comments(base))
    parts: dict[str, list[tuple[str, ...]]] = {}
    for key, value in _leaves(values):
        section = key.partition(".")[0] if "." in key else "for all stages"
        allowed = _allowed(schema, key)
        said = meanings.get(key) or _said_elsewhere(key, meanings)
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
        parts.setdefault(section, []).append((code(key), code(shown), allowed, cell(said)))
    text = []
    for section, rows in sorted(parts.items(), key=lambda part: part[0] != "for all stages"):
        head = cell(meanings.get(section, ""))
        text.append(f"## {section}\n\n{head[:1].upper() + head[1:]}\n")
        text.append(table(("parameter", "base", "may be", "meaning"), rows))
    return "\n".join(text)


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _said_elsewhere(key: str, meanings: dict[str, str]) -> str:
    """The student's fields are the teacher's, which have the words."""
    return meanings.get(key.replace("student.", "teacher.", 1), "")


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """The comment of each key: beside it, in the lines below that go on, or in whole lines before it."""
    path: list[tuple[int, str]] = []
    key, said, before = "", "", ""
    for line in text.splitlines():
        if opened := re.match(r"^( *)([a-z_0-9]+):(?: |$)(.*)$", line):
            if key:
                yield key, said
            indent = len(opened[1])
            path = [*[part for part in path if part[0] < indent], (indent, opened[2])]
            key = ".".join(name for _, name in path)
            beside = re.search(r"(?:^|\s)#\s?(.*)$", opened[3])
            said, before = " ".join(filter(None, [before, beside[1] if beside else ""])), ""
        elif more := re.match(r"^( *)#\s?(.*)$", line):
            if len(more[1]) > 4:  # goes on below a comment that stands beside a key
                said += f" {more[2]}"
            elif path:
                before += f" {more[2]}"
    yield key, said


def _allowed(schema: dict[str, Any], key: str) -> str:
    node = schema
    for name in key.split("."):
        node = _resolved(schema, node)["properties"][name]
    return cell(_kind(schema, node))


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _kind(schema: dict[str, Any], node: dict[str, Any]) -> str:
    node = _resolved(schema, node)
    if "anyOf" in node:
        return ", or ".join(dict.fromkeys(_kind(schema, part) for part in node["anyOf"]))
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return " | ".join(map(str, node["enum"]))
    kind = node.get("type")
    if kind == "array":
        return f"list of: {_kind(schema, node.get('items', {}))}"
    bounds = [f"{word} {_number(node[bound])}" for bound, word in BOUNDS.items() if bound in node]
    return " ".join([KINDS.get(kind, "any"), *bounds])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e13 else f"{value:g}"


# From Python


def names() -> str:
    """The public names with their signatures and docstrings, and the public methods of the classes."""
    parts = []
    for name in pptsm.__all__:
        found = getattr(pptsm, name)
        parts.append(_name(f"pptsm.{name}", found, "###"))
        for method, function in vars(found).items() if inspect.isclass(found) else ():
            if not method.startswith("_") and inspect.isfunction(function) and inspect.getdoc(function):
                parts.append(_name(f"{name}.{method}", function, "####"))
    return "\n\n".join(parts)


def _name(name: str, found: Any, level: str) -> str:
    signature = inspect.signature(found)
    arguments = "".join(f"\n    {_plain(str(each))}," for each in signature.parameters.values())
    returned = "" if inspect.isclass(found) else f" -> {_plain(inspect.formatannotation(signature.return_annotation))}"
    return (
        f"{level} {name}\n\n```text\n{name}({arguments}\n){returned}\n```\n\n{_docstring(inspect.getdoc(found) or '')}"
    )


def _plain(annotation: str) -> str:
    text = re.sub(r"\b(typing|os|numpy\.typing|numpy|collections\.abc|pathlib)\.", "", annotation)
    text = re.sub(
        r"Annotated\[(\w+), (?:[^][]|\[[^][]*\])*\]", r"\1", text
    )  # bounds are for the check, not for the reader
    return re.sub(r"\bpptsm(\.\w+)*\.(\w+)", r"\2", text).replace("'", '"')


def _docstring(text: str) -> str:
    """Google's form as Markdown: lists of arguments, examples as code."""
    text, _, example = text.partition("Example:\n")
    out, group = [], ""
    for line in text.splitlines():
        if line.rstrip(":") in GROUPS and line.endswith(":"):
            group = line.rstrip(":")
            out += ["", f"**{group}**", ""]
        elif group in ("Args", "Attributes", "Raises") and (item := re.match(r"^    (\w+): (.*)$", line)):
            out.append(f"- `{item[1]}`: {item[2]}")
        else:
            out.append(line.strip() if group else line)
    for part in filter(None, inspect.cleandoc(example).split("\n\n")):
        out += ["", f"```pycon\n{part}\n```" if part.startswith(">>>") else part]
    return "\n".join(out)


# Presets


def presets() -> str:
    """Every preset with the first words of its head."""
    rows = []
    for path in sorted(PRESETS.glob("*.yaml")):
        if path.stem == "base":
            continue
        head = re.match(r"((?:#.*\n)+)", path.read_text(encoding="utf-8"))
        words = " ".join(line.lstrip("# ") for line in head[1].splitlines()) if head else ""
        hardware = re.search(r"Hardware and time: (.*?)(?=\. [A-Z]|\.$|$)", words)
        rows.append((code(path.stem), cell(words.split(". ")[0].rstrip(".")), cell(hardware[1] if hardware else "")))
    return table(("preset", "what it is", "hardware and time"), rows)


# Errors


def sentences() -> str:
    """A page of every sentence with which the package refuses something, by the part that says it."""
    parts = [
        "# Every error's sentence\n\nMade from the code. `…` stands for what changes: a name, a number, another "
        "sentence. What to do stands in the sentence; [troubleshooting](troubleshooting.md) says more of those that "
        "are met most.\n"
    ]
    by_part: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for said in raised(path):
            by_part.setdefault(part, []).append(said)
    for part, said in by_part.items():
        parts.append(f"## {part}\n")
        parts += [f"- {cell(one).replace('*', chr(92) + '*').replace('_', chr(92) + '_')}" for one in sorted(set(said))]
        parts.append("")
    return "\n".join(parts)


def raised(path: Path) -> list[str]:
    """The texts of the errors that a file raises for its user, with … for what is put in when it is raised."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        said = text_of(node.args[0]) if called.endswith(REFUSING) and called != "AttributeError" else ""
        if len(re.sub(r"\W|…", "", said)) > 10:  # more than a frame for another text
            found.append(said)
    return found


def text_of(node: ast.AST) -> str:
    """A text of the code, … for each part that it computes; nothing where it is no text."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) or "…" for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (text_of(left) or "…") + (text_of(right) or "…")
    return ""


# Decisions


def decisions(folder: Path) -> str:
    """A page that lists the decisions by their headings."""
    lines = ["# Decisions", "", "Why it is built like this; short, numbered, in the order in which they were made.", ""]
    for path in sorted(folder.glob("0*.md")):
        title = re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), flags=re.M)
        lines.append(f"- [{title[1] if title else path.stem}]({path.name})")
    return "\n".join(lines) + "\n"


MADE: dict[str, Callable[[], str]] = {
    "commands": commands,
    "parameters": parameters,
    "names": names,
    "presets": presets,
}
