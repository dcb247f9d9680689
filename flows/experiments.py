"""A run with other parameters: a DVC experiment in its own copy of the workspace, so the checkout stays as it is."""

from pathlib import Path

import dvc.api
from flows.artifacts import TrainingProgress, publish_failure
from flows.graph import ROOT
from flows.limits import device_slot
from flows.processes import CommandError, run_streaming
from prefect import get_run_logger, task

from pptsm.files import whole_file


@task(name="experiment", task_run_name="experiment {name}")
def run_experiment(name: str, overrides: list[str], last: str | None, timeout_sec: float) -> None:
    """Run `dvc exp run --temp`; the result is in `dvc exp show`, its report below reports/experiments.

    Args:
        name: a new name for the experiment.
        overrides: like `sampling=dense`, checked before.
        last: stage to end with; None: the whole graph.
        timeout_sec: the whole experiment is stopped after it, its training state kept.

    Raises:
        CommandError: a stage failed, or the name is taken; the last lines are published first.
    """
    logger = get_run_logger()
    shown = TrainingProgress()
    command = ["dvc", "exp", "run", "--temp", "--name", name]
    for override in overrides:
        command += ["--set-param", override]

    def log(line: str) -> None:
        logger.info(line)
        shown.see(line)

    # the copy's own source comes first, and finished work is shared with this checkout
    environment = {"PYTHONPATH": "src", "PPTSM_STATE": str(ROOT / ".pptsm")}
    try:
        with device_slot():
            run_streaming(
                [*command, *([last] if last else [])], log, cwd=ROOT, timeout_sec=timeout_sec, environment=environment
            )
    except CommandError as error:
        publish_failure("experiment", error)
        raise
    logger.info(f"experiment {name} is done: `dvc exp show` compares it, `dvc exp apply {name}` takes it over")


def is_there(experiment: str) -> bool:
    """Whether there is an experiment of this name on the present commit."""
    return experiment in _revisions()


def read_of(experiment: str, path: str) -> str:
    """The text of an output of an experiment on the present commit."""
    text: str = dvc.api.read(path, repo=str(ROOT), rev=_revisions()[experiment])
    return text


def _revisions() -> dict[str, str]:
    """The experiments on the present commit: name -> revision."""
    shown = dvc.api.exp_show(repo=str(ROOT))
    return {row["Experiment"]: row["rev"] for row in shown if row["Experiment"]}


def save_report(experiment: str) -> Path:
    """Write an experiment's HTML report below reports/experiments; returns where."""
    page = ROOT / "reports/experiments" / experiment / "index.html"
    with whole_file(page) as partial:
        partial.write_text(read_of(experiment, "reports/index.html"), encoding="utf-8")
    return page
