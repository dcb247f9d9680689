"""A search for better settings, by validation alone."""

from pathlib import Path
from typing import Annotated

import typer

OUT = Path("reports/tuning")


def tune(
    space: Annotated[
        list[str],
        typer.Option(
            "--space",
            "-s",
            metavar="KEY=VALUES",
            help="A parameter and what it may be: training.base_lr=log:0.005..0.1, student.epochs=5..20, or "
            "training.batch_size=8|16. Repeat it for several.",
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, max=10000, help="How many, with those that were done before.")] = 20,
    name: Annotated[str, typer.Option(help="Of the search; begins the names of its experiments.")] = "search",
    out: Annotated[Path, typer.Option(help="Folder of the page, NAME.html.")] = OUT,
) -> None:
    """Search for settings with Optuna: each trial is an experiment of DVC, compared by the student's validation top-1.

    Test videos choose nothing here: a trial runs up to the student's training. Stopped or killed, the same command goes
    on; more --trials go further; experiments that are there already count.
    """
    from pptsm.experiments.gather import validation_videos
    from pptsm.experiments.pages import in_full, write_search
    from pptsm.experiments.space import params_of, read_space
    from pptsm.experiments.tuning import History, Search
    from pptsm.experiments.tuning import tune as tuned
    from pptsm.orchestration.running import CommandError
    from pptsm.runtime.console import note, say
    from pptsm.runtime.errors import UserError

    root = Path()
    search = Search(root, name, read_space(space, params_of(root)), space, trials)
    page = out / f"{name}.html"

    def draw(history: History) -> None:
        write_search(search, history, "PP-TSM", validation_videos(root), page)

    try:
        history = tuned(search, draw)
    except CommandError as error:
        raise UserError(f"{error}; its last lines: {' | '.join(error.last_lines[-3:])}") from None
    best = history.best
    if best is None or best.value is None:
        raise UserError("no trial was finished.")
    said = ", ".join(f"{key}={value}" for key, value in best.settings.items())
    say(f"the best of {len(history.done)} trials: {best.name}, validation top-1 {best.value:.2%}: {said}")
    say(f"its test accuracy is not known yet: {in_full(search, history)}")
    note(f"tune: the page is {page}")
