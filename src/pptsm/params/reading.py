"""A file of parameters as values, unchecked: it may be any file, and is read as DVC reads it."""

from pathlib import Path
from typing import Any

from pptsm.runtime.errors import ParamsError

MAX_BYTES = 1_000_000  # of a file of parameters; ours has 10,000
MAX_DEPTH = 20


def read_sections(path: Path) -> dict[Any, Any]:
    """The values of a YAML file of sections, unchecked.

    Raises:
        ParamsError: the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:  # no more than is needed to know that it is too much: it may be a device
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            raise ParamsError(
                f"{path} is a link to {path.readlink()}, which is not there: mend or remove it."
            ) from None
        raise ParamsError(
            f"no {path} here ({Path.cwd()}). Go to the project's folder, or write one with `pptsm preset motion`."
        ) from None
    except OSError as error:
        raise ParamsError(
            f"{path} cannot be read: {error.strerror}. It must be a text file; `pptsm preset` writes one."
        ) from None
    if len(content) > MAX_BYTES:
        raise ParamsError(f"{path} is larger than {MAX_BYTES:,} bytes, so it is no file of parameters.")
    try:
        values = parse_yaml(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ParamsError(
            f"{path} is not valid YAML, line {line}: it is not UTF-8. Save it in that encoding."
        ) from None
    except YamlError as fault:
        raise ParamsError(f"{path} is not valid YAML{fault}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise ParamsError(f"{path} holds {found} where sections of values should be; `pptsm preset` writes them.")
    return values


class YamlError(Exception):
    """What is wrong with a text that should be YAML, to be put behind "is not valid YAML"."""


def parse_yaml(text: str) -> Any:
    """A value as DVC's own parser reads it, so that both take a file alike (1e-4 is a number).

    Raises:
        YamlError: with line, fault and remedy.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    try:
        depth = 0
        for event in YAML(typ="safe").parse(text):  # the loader recurses, and thousands of levels end the process
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise YamlError(f": it is nested more than {MAX_DEPTH} levels deep.")
        return YAML(typ="safe").load(text)
    except YamlError:
        raise
    except MarkedYAMLError as error:
        where = error.problem_mark and f", line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
        problem = error.problem or error.context
        remedy = ". A backslash stands in single quotes, or in none" if "escape character" in str(problem) else ""
        raise YamlError(f"{where or ''}: {problem}{remedy}.") from None
    except Exception as error:  # dates, numbers and tags: its constructors let ValueError, KeyError and others through
        raise YamlError(f": a value cannot be read ({str(error).splitlines()[0]}).") from None
