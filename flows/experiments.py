"""A run with other parameters: a DVC experiment in its own copy of the workspace, so the checkout stays as it is."""

import re
from typing import Any

import dvc.api
from flows.artifacts import run_shown
from flows.command import ROOT, CommandError
from flows.graph import graph, page_of, said_of
from flows.limits import device_slot
from prefect import get_run_logger, task

from pptsm.errors import UserError
from pptsm.files import state_home, whole_file

MAX_NAME = 100
NAME = re.compile(r"\w[\w-]*")  # what git takes as part of a reference, and every file system as a name


@task(name="experiment", task_run_name="experiment {name}")
def run_experiment(name: str, overrides: list[str], last: str | None, timeout_sec: float) -> str:
    """Run `dvc exp run --temp`; the result is in `dvc exp show`, its report below reports/experiments.

    Args:
        name: a new name for the experiment.
        overrides: like `sampling=dense`.
        last: stage to end with; None: the whole graph.
        timeout_sec: the whole experiment is stopped after it, its training state kept.

    Returns:
        Its revision.

    Raises:
        CommandError: a stage failed, or the name is taken; the last lines are published first.
    """
    command = ["dvc", "--wait-for-lock", "exp", "run", "--temp", "--name", name]
    command += [f"--set-param={override}" for override in overrides]  # in one word: an override is no option
    command += [last] if last else []
    with device_slot():
        run_shown("experiment", command, timeout_sec, environment_of_copy())
    revision = experiments().get(name)
    if revision is None:
        raise CommandError(command, f"left no experiment {name}", [])
    if last is None:
        save_pages(name, revision)
    get_run_logger().info(f"{name} is done: `dvc exp show` compares it, `dvc exp apply {name}` takes it over")
    return revision


def environment_of_copy() -> dict[str, str]:
    """The copy's own source comes first; finished work is shared with this checkout, wherever that keeps it."""
    return {"PYTHONPATH": "src", "PPTSM_STATE": str(ROOT / state_home())}


def experiments() -> dict[str, str]:
    """The finished experiments of the last commit: name and revision."""
    rows: list[dict[str, Any]] = dvc.api.exp_show(repo=str(ROOT))
    return {row["Experiment"]: row["rev"] for row in rows if row["Experiment"]}


def check_name(name: str) -> str:
    """The name of an experiment, if it can be one.

    Raises:
        UserError: it has other characters than letters, digits, _ and -, or too many.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise UserError(
            f"{name!r} cannot name an experiment: it takes letters, digits, _ and -, at most {MAX_NAME}, no - in front."
        )
    return name


def save_pages(experiment: str, revision: str) -> None:
    """Write the HTML pages that an experiment publishes below reports/experiments."""
    for stage in graph():
        for path in (said_of(stage, "publish") or {}).values():
            if path.endswith(".html"):
                with whole_file(page_of(path, experiment)) as partial:
                    partial.write_text(dvc.api.read(path, repo=str(ROOT), rev=revision), encoding="utf-8")
