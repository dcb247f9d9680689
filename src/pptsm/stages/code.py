"""Stage `code`: which code each stage runs, one file per stage, on which that stage depends in place of its source."""

import re
from pathlib import Path
from typing import Annotated

import typer

from pptsm.stages.options import DEFAULT_PARAMS, ParamsPath

LINE = re.compile(r"[\w.+!-]*\d[\w.+!-]* \S")  # a digest or version, and a name


def _replaceable(out: Path) -> Path:
    """The folder, if all in it was written by this stage: for the stages of today, or of another version."""
    from pptsm.runtime.files import require_replaceable

    return out if out.is_dir() and all(map(_is_own, out.iterdir())) else require_replaceable(out)


def _is_own(file: Path) -> bool:
    """Whether a file has the form of those that this stage writes."""
    if file.suffix != ".txt" or not file.is_file():
        return False
    return all(LINE.match(line) for line in file.read_text("utf-8", "replace").splitlines())


Out = Annotated[
    Path, typer.Option("--out", callback=_replaceable, help="Folder to write; one that holds anything else is refused.")
]


def run(out: Out, params_path: ParamsPath = DEFAULT_PARAMS) -> None:
    """Write the code of each stage, as syntax without comments, and the versions of the libraries that compute.

    What is the same as before is left as it is.
    """
    from pptsm.params.reading import read_sections
    from pptsm.runtime import fingerprint
    from pptsm.runtime.files import atomic_file, remove

    texts = {
        f"{stage}.txt": fingerprint.as_text(fingerprint.of_stage(stage, *starts))
        for stage, starts in fingerprint.starts_of(read_sections(params_path)).items()
    }
    for name, text in texts.items():
        file = out / name
        if not (file.is_file() and file.read_text(encoding="utf-8") == text):
            with atomic_file(file) as partial:
                partial.write_text(text, encoding="utf-8")
    for other in out.iterdir():
        if other.name not in texts:
            remove(other)
