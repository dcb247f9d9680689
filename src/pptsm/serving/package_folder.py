"""A package, the folder that stage `package` writes: its files, and which ways to compute them passed the gate."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pptsm.params.choices import Precision, Runtime
from pptsm.runtime.errors import UserError

MODEL_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
RUNTIMES_FILE, SUMS_FILE = "runtimes.json", "SHA256SUMS"
REMEDY = "`dvc repro package` makes it anew."


@dataclass(frozen=True)
class Package:
    """A package that was looked into.

    Attributes:
        model: the file of float32.
        rows: of runtimes.json: runtime, precision, and whether it passed.
        serving: the runtime and the precision that section serving of params.yaml asked for.
    """

    model: Path
    rows: list[dict[str, Any]]
    serving: dict[str, Any]

    def passed(self, runtime: Runtime, precision: Precision) -> bool:
        """Whether a runtime with this precision answered as well as it must, when the package was made."""
        return any(
            row.get("passed") is True
            for row in self.rows
            if (row.get("runtime"), row.get("precision")) == (runtime, precision)
        )


def package_at(path: Path) -> Package | None:
    """The package at a path; None: no folder is there.

    Raises:
        UserError: the folder is no package, or a file of it is not as it was written.
    """
    if not path.is_dir():
        return None
    model = path / MODEL_FILE
    if not model.is_file():
        raise UserError(f"the folder {path} is no package: it has no {MODEL_FILE}. Name a package or an ONNX file.")
    text = _text_of(path, RUNTIMES_FILE)
    if text is None:
        return Package(model, [], {})
    try:
        found = json.loads(text)
        rows, serving = found["rows"], dict(found.get("serving", {}))
        if not all(isinstance(row, dict) for row in rows):
            raise TypeError("rows that are no objects")
        for name, words in (("runtime", get_args(Runtime)), ("precision", get_args(Precision))):
            if serving.get(name, "auto") not in ("auto", *words):
                raise ValueError(f"serving.{name} is {str(serving[name])[:40]!a}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / RUNTIMES_FILE} is no table of runtimes ({error}). {REMEDY}") from None
    return Package(model, rows, serving)


def _text_of(folder: Path, name: str) -> bytes | None:
    """A file of a package, checked against its line in SHA256SUMS; None: it is not there."""
    file = folder / name
    if not file.is_file():
        return None
    data = file.read_bytes()
    try:
        sums = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"the package {folder} has no readable {SUMS_FILE} ({error}). {REMEDY}") from None
    if f"{hashlib.sha256(data).hexdigest()}  {name}" not in sums:
        raise UserError(f"{file} is not as it was packaged: {SUMS_FILE} says another hash. {REMEDY}")
    return data
