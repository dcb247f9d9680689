"""Experiments beside each other: a table, a page, or JSON."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

OUT = Path("reports/experiments/compare.html")


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXP]...", help="Experiments, or commits as git names them; none: all of the last commit."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="EXP", help="The baseline; by default the last commit itself.")
    ] = None,
    network: Annotated[str, typer.Option(help="Whose figures: student, teacher, baseline.")] = "student",
    sampling: Annotated[
        str | None, typer.Option(help="uniform or dense; by default what each experiment's parameters say.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page (HTML).")] = OUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table; no page.")] = False,
) -> None:
    """Compare experiments of DVC: parameters that differ, accuracy with intervals, paired tests, and costs.

    The gain and its p value are those of the same videos; where they are not the same, there is no test, and a sentence
    says why. Experiments that differ in `seed` alone are also shown as one setting, with the mean over seeds.
    """
    from pptsm.experiments.compare import as_values
    from pptsm.experiments.compare import compare as compared_with
    from pptsm.experiments.gather import gather
    from pptsm.experiments.pages import write_page
    from pptsm.experiments.table import WIDTH, as_text
    from pptsm.orchestration.running import CommandError
    from pptsm.runtime.console import as_json as json_line
    from pptsm.runtime.console import note, say
    from pptsm.runtime.errors import UserError

    try:
        gathered = gather(Path(), names or [], against)
        shown = [each for each in gathered if names or not each.is_trial or each.name == against]
        found = compared_with(shown, network, sampling, against)
    except CommandError as error:
        raise UserError(f"{error}; its last lines: {' | '.join(error.last_lines[-3:])}") from None
    if as_json:
        say(json_line(as_values(found)))
        return
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns) if sys.stdout.isatty() else WIDTH
    say(as_text(found, width))
    if left_out := len(gathered) - len(shown):
        say(f"Not shown: {left_out} trials of `pptsm tune`, which end with the training. Named, they are.")
    write_page(found, "PP-TSM", out)
    say("To take one over: dvc exp apply NAME. To go back to the commit: git restore . && dvc checkout")
    note(f"compare: the page is {out}")
