"""Which code decides a result: the files that it runs, as syntax, and the libraries that compute it, as versions.

A stage depends on this text of it (`data/code/STAGE.txt`, written by stage `code`), the state of a training and the
stores of probes and frames have it in their key, and a cluster's workers compare it. So a comment, a docstring or a
file that is never run decides nothing anywhere, and what does decide need not be listed by hand (docs/decisions/0009).

A file's imports are read from its source, those inside functions too. What only type checkers see is left out.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pptsm.runtime.errors import UserError

PACKAGE = Path(__file__).parent.parent

# Files that decide no result, each with its reason. What they import counts only if another file imports it too.
NOT_DECIDING = {
    "__init__.py": "public names",
    "params/__init__.py": "public names",
    "params/choices.py": "words that parameters may have: one more, or one less, changes no result",
    "params/schema.py": "checks values, which are DVC's parameters; of its properties those count that are used",
    "params/network.py": "checks values, as params/schema.py",
    "params/section.py": "the same",
    "params/reading.py": "reads values, which are DVC's parameters",
    "params/packaged.py": "where a file lies; what is in it is a dependency of its own",
    "params/checking.py": "says what is wrong with them",
    "runtime/errors.py": "decides how a failure reads, not what a success writes",
    "runtime/extras.py": "the same",
    "runtime/console.py": "progress bars and notes",
    "runtime/files.py": "puts files in place, not what is in them",
    "runtime/dvc_yaml.py": "says which outputs the graph has",
    "runtime/fingerprint.py": "decides what runs again, not what is written then",
    "stages/options.py": "help texts of options",
    "runtime/cluster.py": "on which machine work is done",
    "distributed/launcher.py": "in how many processes work is done, and how they begin and end",
    "training/eta.py": "says how long a training takes",
    "training/workload.py": "the same",
    "runtime/jobs.py": "whether work is done here or there",
    "runtime/pool.py": "in which process work is done, and for how long at most",
}
# Of these the properties compute what a result depends on: as lines of their own, where their name is used.
PARAMETERS = "params/schema.py"
# One row of it decides the weights that a role starts from, and no other stage opens it.
KNOWN_WEIGHTS = "known_weights.yaml"

# The libraries that compute results: top module -> distributions, one of which is installed.
DECIDING = {
    "PIL": ("pillow",),
    "av": ("av",),
    "cv2": ("opencv-python-headless", "opencv-python"),
    "decord": ("decord",),
    "great_expectations": ("great-expectations",),
    "imagehash": ("imagehash",),
    "jinja2": ("jinja2",),
    "matplotlib": ("matplotlib",),
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),  # a result of the one is no other result for the other
    "paddle2onnx": ("paddle2onnx",),
    "pandas": ("pandas",),
    "scipy": ("scipy",),
    "simplejpeg": ("simplejpeg",),
}
# Libraries that compute none, each with its reason.
PLUMBING = {
    "distributed": "on which machine work is done",
    "dvc": "keeps files, writes none of them",
    "dvc_data": "the same",
    "dvc_objects": "the same",
    "filelock": "who may write",
    "openvino": "computes rows of the table of runtimes alone; it stands beside what scores all networks",
    "pebble": "in which process work is done",
    "pydantic": "checks values",
    "pydantic_core": "the same",
    "requests": "fetches bytes that are checked by their hash",
    "ruamel": "reads values, which are DVC's parameters",
    "safetensors": "the form of a training's state, which has a digest of its own",
    "tqdm": "progress bars",
    "typer": "the command line",
    "urllib3": "as requests",
}

DIGITS = 16  # of a digest


@dataclass(frozen=True)
class _Source:
    """What a Python file does, and what it names."""

    digest: str
    modules: frozenset[str]  # of this package
    libraries: frozenset[str]  # top modules of others
    texts: frozenset[str]  # its constants: the names of files that it opens are among them
    attributes: frozenset[str]


def starts_of(sections: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Every stage, and the weights that it opens: those that it starts from, or scores.

    Args:
        sections: those of params.yaml. What is in them, stage `check` judges.
    """
    files = sorted((PACKAGE / "stages").glob("*.py"))
    stages = [file.stem for file in files if file.stem not in ("__init__", "options", "code", "start")]
    starts: dict[str, list[str]] = {stage: [] for stage in stages}
    named = {f"start@{role}": (role, "start", "weights") for role in ("teacher", "student")}
    for stage, keys in (named | {"also": ("evaluate", "also")}).items():
        found: Any = sections
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        starts[stage] = [name for name in (found if isinstance(found, list) else [found]) if isinstance(name, str)]
    return starts


def of_stage(stage: str, *starts: str) -> dict[str, str]:
    """The code that running a stage imports: file or library -> digest or version.

    Args:
        stage: its name in dvc.yaml, NAME@ROLE where there is one for each role.
        starts: the weights that it opens; where they are known by name, their row counts.
    """
    code = of_files(f"stages/{stage.partition('@')[0]}.py")
    if KNOWN_WEIGHTS in code:
        known = YAML(typ="safe").load((PACKAGE / "weights" / KNOWN_WEIGHTS).read_text(encoding="utf-8"))
        del code[KNOWN_WEIGHTS]
        for name in starts:
            if stage == "also":  # all that is said of it, also of a file that has the name of a published one
                rows = [row for key, row in known.items() if name == key or Path(name).name == _file_name(row)]
            else:
                rows = [{key: known[name].get(key) for key in ("url", "sha256")}] if name in known else []
            for row in rows:
                code[f"{KNOWN_WEIGHTS}: {name}"] = _digest(json.dumps(row))
    return code


def of_files(*names: str) -> dict[str, str]:
    """The code of files of the package (relative to it) and of all that they import, as `of_stage`.

    Files that are named count whatever they are.
    """
    opened = {name: _read(PACKAGE / name) for name in names}
    waiting = [module for source in opened.values() for module in source.modules]
    while waiting:
        name = _file_of(waiting.pop())
        if name and name not in opened and name not in NOT_DECIDING:
            opened[name] = _read(PACKAGE / name)
            waiting += opened[name].modules
    texts, attributes, libraries = (
        frozenset[str]().union(*(getattr(source, field) for source in opened.values()))
        for field in ("texts", "attributes", "libraries")
    )
    code = {name: source.digest for name, source in opened.items() if source.digest}
    folders = {(PACKAGE / name).parent for name in opened}
    code |= {
        file.name: digest for file, digest in _data_files().items() if file.name in texts and file.parent in folders
    }
    code |= {f"{PARAMETERS}: {name}": digest for name, digest in _properties().items() if name in attributes}
    return dict(sorted(code.items())) | {name: _version(name) for name in sorted(libraries) if name in DECIDING}


def _file_name(row: Mapping[str, Any]) -> str:
    return Path(str(row.get("file") or row.get("url"))).name


def digest_of(code: dict[str, str]) -> str:
    """A short name for code."""
    return _digest(json.dumps(code, sort_keys=True))[:12]


def as_text(code: dict[str, str]) -> str:
    """One line per file and library."""
    return "".join(f"{value} {name}\n" for name, value in code.items())


def require(stage: str, file: Path, sections: Mapping[Any, Any]) -> None:
    """Check that a stage runs the code that its dependency says.

    Without such a file there is nothing to compare: DVC starts no stage then, only a person does.

    Raises:
        UserError: it was written for other code or libraries, or cannot be read.
    """
    if not file.exists():
        return
    try:
        lines = [line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines()]
        before = {name: value for value, name in lines}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{stage}: {file}, which says what code decides its result, cannot be read ({error}). {REMEDY}"
        ) from None
    now = of_stage(stage, *starts_of(sections)[stage])
    if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
        named = [f"{name} ({before.get(name)} there, {now.get(name)} here)" for name in changed if name in DECIDING]
        named += [name for name in changed if name not in DECIDING]
        raise UserError(
            f"{stage}: {file} was written for other code than is here; it differs in {', '.join(named[:8])}"
            f"{f' and {len(named) - 8} more' if len(named) > 8 else ''}. Nothing was computed. {REMEDY}"
        )


REMEDY = "`dvc repro --force --single-item code` writes it anew; then run the same command again."


def syntax_of(text: str | bytes) -> str:
    """What a module does, without what it says: its syntax without comments, docstrings and what only checkers see."""
    return "\0".join(_visit(ast.parse(text).body).syntax)


class _Found:
    """What is collected on the way through a module."""

    def __init__(self) -> None:
        self.syntax: list[str] = []  # nodes with their fields, in brackets
        self.modules: set[str] = set()
        self.libraries: set[str] = set()
        self.texts: set[str] = set()
        self.attributes: set[str] = set()


def _visit(statements: list[ast.stmt]) -> _Found:
    found = _Found()
    for statement in statements:
        if not _decides_nothing(statement):
            _add(statement, found)
    return found


def _add(node: ast.AST, found: _Found) -> None:
    """Add a node; fields that are absent are left out, because later versions of Python have more of them."""
    _note_names(node, found)
    found.syntax.append(f"({type(node).__name__}")
    for name, value in ast.iter_fields(node):
        values = [each for each in (value if isinstance(value, list) else [value]) if not _is_empty_part(node, each)]
        if value is None or not values:
            continue
        found.syntax.append(name)
        for each in values:
            if not isinstance(each, ast.AST):
                found.syntax.append(repr(each))
            elif not (name == "body" and _decides_nothing(each)):
                _add(each, found)
    found.syntax.append(")")


def _note_names(node: ast.AST, found: _Found) -> None:
    if isinstance(node, ast.Attribute):
        found.attributes.add(node.attr)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            found.texts.add(node.value)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            _sort_in(alias.name, found)
    elif isinstance(node, ast.ImportFrom) and node.module:
        _sort_in(node.module, found)
        if node.module.split(".", maxsplit=1)[0] == PACKAGE.name:
            found.modules.update(f"{node.module}.{alias.name}" for alias in node.names)


def _decides_nothing(node: ast.AST) -> bool:
    """Whether a statement is a text by itself, as docstrings are, or is seen by type checkers alone."""
    if isinstance(node, ast.If):
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
        return name == "TYPE_CHECKING" and not node.orelse
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_empty_part(node: ast.AST, part: Any) -> bool:
    """Whether a text is put together with nothing, as Python 3.12 reads the end of `f"{value:>{width}}"`."""
    return isinstance(node, ast.JoinedStr) and isinstance(part, ast.Constant) and part.value == ""


@cache
def _tree(file: Path, _changed_ns: int) -> ast.Module:
    return ast.parse(file.read_bytes())


def _read(file: Path) -> _Source:
    return _read_once(file, file.stat().st_mtime_ns)


@cache
def _read_once(file: Path, changed_ns: int) -> _Source:
    """Parsed once, until the file changes."""
    found = _visit(_tree(file, changed_ns).body)
    digest = _digest("\0".join(found.syntax)) if found.syntax else ""
    modules = found.modules | _packages_of(file)
    return _Source(digest, *(frozenset(names) for names in (modules, found.libraries, found.texts, found.attributes)))


def _sort_in(module: str, found: _Found) -> None:
    top = module.split(".", maxsplit=1)[0]
    if top == PACKAGE.name:
        found.modules.add(module)
    else:
        found.libraries.add(top)


def _packages_of(file: Path) -> set[str]:
    """The packages in which a file lies: importing it runs them first."""
    folders = file.relative_to(PACKAGE).parent.parts
    return {".".join((PACKAGE.name, *folders[:depth])) for depth in range(len(folders) + 1)}


@cache
def _file_of(module: str) -> str | None:
    """The file of a module, relative to the package; None where it is no module (but a name in one)."""
    inside = Path(*module.split(".")[1:])
    candidates = (inside.with_suffix(".py"), inside / "__init__.py") if inside.name else (Path("__init__.py"),)
    return next((path.as_posix() for path in candidates if (PACKAGE / path).is_file()), None)


@cache
def _data_files() -> dict[Path, str]:
    """The package's files that are no Python: digests of their bytes. They belong to the code beside them."""
    found = (path for path in sorted(PACKAGE.rglob("*")) if path.is_file() and path.parent.name != "__pycache__")
    return {path: _digest(path.read_bytes()) for path in found if path.suffix != ".py"}


@cache
def _properties() -> dict[str, str]:
    """What the sections of params.yaml compute from their values, by name."""
    file = PACKAGE / PARAMETERS
    return {
        function.name: _digest("\0".join(_visit([function]).syntax))
        for section in _tree(file, file.stat().st_mtime_ns).body
        if isinstance(section, ast.ClassDef)
        for function in section.body
        if isinstance(function, ast.FunctionDef) and _is_property(function.decorator_list)
    }


def _is_property(decorators: Iterable[ast.expr]) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "property" for each in decorators)


def _version(library: str) -> str:
    for distribution in DECIDING[library]:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "none"


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:DIGITS]
