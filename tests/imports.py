"""The package's import graph, read from its source: which files a stage runs."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

# Files that no stage lists as a dependency, each with its reason.
NOT_DEPENDENCIES = {
    "src/pptsm/__init__.py": "only the version",
    "src/pptsm/data/names.py": "names that parameters may have: a name that is taken away or added changes no result",
    "src/pptsm/model/names.py": "the same",
    "src/pptsm/params.py": "checks values; the values themselves are DVC parameters, and it has no defaults",
    "src/pptsm/errors.py": "decides how a failure reads, not what a success writes",
    "src/pptsm/console.py": "progress bars and notes",
    "src/pptsm/files.py": "puts files in place, not what is in them",
    "src/pptsm/stages/options.py": "help texts of options",
    "src/pptsm/processor.py": "how fast to compute; what it decides is written into each card",
    "src/pptsm/cluster.py": "on which machine work is done",
    "src/pptsm/workers.py": "in which process work is done, and for how long at most",
}


def imported_modules(file: Path) -> set[str]:
    """Modules of this package that a file imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pptsm"):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if path_of(submodule) else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("pptsm"))
    return found


def path_of(module: str) -> Path | None:
    """The file of a module, or None where there is none."""
    base = SOURCE / Path(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.exists()), None)


def files_run_by(stage: str) -> set[Path]:
    """Source files that running a stage imports."""
    seen: set[Path] = set()
    waiting = [SOURCE / "pptsm" / "stages" / f"{stage}.py"]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        waiting += [path for path in map(path_of, imported_modules(file)) if path]
    return seen


def code_run_by(stage: str) -> list[str]:
    """Wings and files (relative to the project) that running a stage imports, without NOT_DEPENDENCIES."""
    names = set()
    for path in files_run_by(stage):
        wing, *inside = path.relative_to(SOURCE / "pptsm").parts
        own = path if not inside or wing == "stages" else SOURCE / "pptsm" / wing
        if path.name != "__init__.py" and path.relative_to(ROOT).as_posix() not in NOT_DEPENDENCIES:
            names.add(own.relative_to(ROOT).as_posix())
    return sorted(names)
