"""Stage `check`: refuse a params.yaml that cannot be used, before DVC removes any output for it.

DVC removes a stage's outputs before it runs it. Every other stage comes after this one (dvc.yaml), and its own output
never changes, so that nothing runs again because of it.
"""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.errors import ParamsError
from pptsm.files import whole_file
from pptsm.params import NO_FILE, Index, load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFile, ParamsPath

CONTENT = "params.yaml can be used.\n"


def run(
    out: OutFile,
    drawn: Annotated[Path, typer.Option(help="Folder of the embedded dataset: it need not be there yet.")],
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Check the whole of params.yaml, and that the folder and the lists that it names are there."""
    params = load_params(params_path)
    if faults := _missing(params.index, drawn):
        raise ParamsError("\n".join(f"{params_path}: {fault}" for fault in faults))
    with whole_file(out) as partial:
        partial.write_text(CONTENT, encoding="utf-8")


def _missing(index: Index, drawn: Path) -> list[str]:
    """A sentence for each place in section index where there is nothing."""
    place = f"looked from {Path.cwd()}; the copy in which an experiment runs has only what git or DVC know"
    root = Path(index.root)
    faults = []
    if not (root.is_dir() or root.resolve().is_relative_to(drawn.resolve())):
        faults.append(f"index.root is {index.root!r}, but there is no such folder ({place}). Name one, best absolute.")
    for name in ("group_file", "label_file", "train_list", "test_list"):
        file = getattr(index, name)
        if file is not None and not Path(file).is_file():
            faults.append(f"index.{name} is {file!r}, but there is no such file ({place}). Name one, or {NO_FILE}.")
    return faults
