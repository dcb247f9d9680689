"""Put a package in service if it is not worse than the one there; and back again."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import DEFAULT_PARAMS, ParamsPath

PACKAGE, INDEX = Path("models/package"), Path("data/index.csv")


def promote(
    package: Annotated[Path, typer.Option(help="The challenger: what stage package wrote.")] = PACKAGE,
    folder: Annotated[
        Path | None, typer.Option(help="The folder in service.  [default: serving.folder of params.yaml]")
    ] = None,
    may_lose: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the videos that it may recognise less, 0.01 is a point.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare, and say what would be done.")] = False,
    back: Annotated[bool, typer.Option("--undo", help="Put the former package in service again.")] = False,
    index: Annotated[Path, typer.Option(help="The index table (CSV).")] = INDEX,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Put a package in service if it recognises no fewer of the evaluated videos than the one there.

    Both answer the same original videos. The exchange is one step, and the former package is kept for --undo.
    """
    from pptsm.deploy.promote import (
        alone,
        check_sums,
        compare,
        in_service,
        put_in_service,
        recognised,
        same_package,
        undo,
    )
    from pptsm.runtime.console import note, say

    folder = folder or _named(params_path)
    with alone(folder):
        if back:
            undo(folder)
            say(f"{folder} has the former package again; --undo once more takes that back.")
            return
        check_sums(package)
        if in_service(folder):
            if same_package(package, folder):
                say(f"{folder} has this package already.")
                return
            from pptsm.data.table import in_split, load_index
            from pptsm.params.checking import load_params

            params = load_params(params_path)
            videos = in_split(load_index(index), params.evaluate.split)
            if videos.empty:
                raise UserError(f"{index} has no usable video in split {params.evaluate.split!r} to compare on.")
            root, frame_name = Path(params.index.root), params.index.frame_name
            note(f"promote: asking both about {len(videos)} videos of split {params.evaluate.split}")
            found = compare(
                recognised(package, root, videos, frame_name),
                recognised(folder, root, videos, frame_name),
                videos["group"].tolist(),
            )
            say(found.in_words())
            if found.is_worse(may_lose):
                raise UserError(
                    f"{package} recognises fewer videos than {folder} does, by more than it may (--may-lose "
                    f"{may_lose:g}): {found.in_words()}. Nothing was changed."
                )
        else:
            say(f"nothing is in service at {folder} yet.")
        if dry_run:
            say(f"{package} would be put in service at {folder}.")
            return
        put_in_service(package, folder)
        say(f"{package} is in service at {folder}; `pptsm promote --undo` takes that back.")


def _named(params_path: Path) -> Path:
    from pptsm.params.reading import read_sections

    section = read_sections(params_path).get("serving")
    found = section.get("folder") if isinstance(section, dict) else None
    if not found:
        raise UserError(f"no folder in service is named: neither --folder nor serving.folder of {params_path}.")
    return Path(str(found))
