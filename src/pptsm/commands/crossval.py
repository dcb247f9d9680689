"""How well a recipe does on one's own videos, each held out in turn: repeated cross-validation by group."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.stages.options import DEFAULT_PARAMS, ParamsPath

INDEX, LABELS, FRAMES = Path("data/index.csv"), Path("data/labels.txt"), Path("data/frames")
STARTS, KEPT, OUT = Path("models/start"), Path("data/crossval"), Path("reports/crossval")


def crossval(
    folds: Annotated[int, typer.Option(min=2, max=1000, help="Parts into which the groups are divided.")] = 5,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="How often all is done, each time with other folds and random choices.")
    ] = 3,
    teacher: Annotated[
        bool, typer.Option("--teacher/--no-teacher", help="Without: the student learns from the labels alone.")
    ] = True,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Leave the test split's groups out: for choosing settings.")
    ] = False,
    learning_curve: Annotated[
        bool,
        typer.Option("--learning-curve", help="Train also on 25 and 50 % of each fold's groups: would more help?"),
    ] = False,
    index: Annotated[Path, typer.Option(help="The index table (CSV).")] = INDEX,
    labels: Annotated[Path, typer.Option(help="Class names, one per line.")] = LABELS,
    frames: Annotated[Path, typer.Option(help="Folder of the frame archives.")] = FRAMES,
    starts: Annotated[Path, typer.Option(help="Folder of the roles' starting weights.")] = STARTS,
    kept: Annotated[Path, typer.Option(help="Folder where finished folds are kept.")] = KEPT,
    out: Annotated[Path, typer.Option(help="Folder of the table, the figures and the page.")] = OUT,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Cross-validate the recipe of params.yaml on the indexed videos, by group; a stopped run goes on where it was.

    Each video is tested once for each seed, by networks that have seen no video of its group. It needs what `dvc repro
    validate_frames start@teacher start@student` makes, and takes as long as folds x seeds trainings. No setting may be
    chosen by its figures and then be reported with them.
    """
    from pptsm.crossval.pages import as_text, write
    from pptsm.crossval.run import Asked, Places, prepare, run
    from pptsm.runtime.console import say

    asked = Asked(folds, seeds, teacher=teacher, keep_test=keep_test, curve=learning_curve)
    what = prepare(asked, Places(params_path, index, labels, frames, starts, kept))
    try:
        run(what)
    finally:
        found = write(what, out)
    if found:
        say(as_text(found, out))
