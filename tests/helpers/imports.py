"""The package's imports, read from its source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"


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
