"""Stage `check`: refuse a params.yaml that cannot be used, before DVC removes any output for it.

DVC removes a stage's outputs before it runs it. Every other stage comes after this one (dvc.yaml), and its own output
never changes, so that nothing runs again because of it. Typed by a person, without options, it says in a sentence what
DVC, which reads params.yaml before any stage, calls "unexpected error" or "[Errno 2]".
"""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pptsm.params.checking import load_params
from pptsm.params.packaged import packaged
from pptsm.runtime.errors import ParamsError
from pptsm.stages.options import DEFAULT_PARAMS, ParamsPath, writable

if TYPE_CHECKING:
    from pptsm.params.schema import Params

CONTENT = "params.yaml can be used.\n"
ANNOTATIONS = Path("data/annotations")  # a dependency of stage index (dvc.yaml)


def run(
    out: Annotated[
        Path | None,
        typer.Option(callback=writable, help="File to write if params.yaml can be used; without it, only check."),
    ] = None,
    drawn: Annotated[
        Path | None, typer.Option(help="Folder of the embedded dataset: it need not be there yet.")
    ] = None,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Check the whole of params.yaml, and that the folder and the lists that it names are there."""
    params = load_params(params_path)

    from pptsm.params.schema import NO_FILE
    from pptsm.runtime.files import atomic_file

    faults = (
        [] if _will_be_drawn(params, drawn) else _missing("root", params.index.root, "folder", "one, best absolute")
    )
    for name in ("group_file", "label_file", "train_list", "test_list"):
        if (file := getattr(params.index, name)) is not None:
            faults += _missing(name, file, "file", f"one, or {NO_FILE}")
    for file in params.index.annotations:
        there = Path(file).exists()  # a folder of lists, too
        faults += _unseen(file, params.index.root) if there else _missing("annotations", file, "file", "one")
    if faults:
        raise ParamsError("\n".join(f"{params_path}: {fault}" for fault in faults))
    if out is None:
        print(CONTENT, end="")
    else:
        with atomic_file(out) as partial:
            partial.write_text(CONTENT, encoding="utf-8")


def _will_be_drawn(params: "Params", drawn: Path | None) -> bool:
    """Whether the root may be missing; where nobody says which folder is drawn, the root is taken to be it."""
    if drawn is None:
        return params.motion.videos_per_class > 0
    return Path(params.index.root).resolve().is_relative_to(drawn.resolve())


def _unseen(file: str, root: str) -> list[str]:
    """A sentence if DVC would not see a change of this file."""
    place = Path(file).resolve()
    if any(place.is_relative_to(folder) for folder in (ANNOTATIONS.resolve(), Path(root).resolve())):
        return []
    return [
        f"index.annotations names {file!r}, which lies neither in {ANNOTATIONS} nor below index.root ({root!r}): DVC "
        f"would not see its content change. Put it there: cp -r {shlex.quote(file)} {ANNOTATIONS}/, and name "
        f"{str(ANNOTATIONS / place.name)!r}."
    ]


def _missing(name: str, text: str, kind: Literal["folder", "file"], requested: str) -> list[str]:
    """A sentence if this key names no such folder or file."""
    path = packaged(Path(text))
    if path.is_dir() if kind == "folder" else path.is_file():
        return []
    found = f"that is no {kind}" if path.exists() else f"there is no such {kind}"
    place = f"looked from {Path.cwd()}; the copy in which an experiment runs has only what git or DVC know"
    opened = os.path.expandvars(path.expanduser()) if text.startswith(("~", "$")) else text
    remedy = f"Name {requested}" if opened == text else f"Write {opened}, because no shell reads {text[0]} here"
    return [f"index.{name} is {text!r}, but {found} ({place}). {remedy}."]
