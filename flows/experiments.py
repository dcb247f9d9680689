"""A run with other parameters: a DVC experiment in its own copy of the workspace, so the checkout stays as it is."""

import re
import subprocess
from pathlib import Path

import dvc.api
from flows.artifacts import TrainingProgress, publish_failure
from flows.graph import ROOT
from flows.limits import device_slot
from flows.processes import CommandError, run_streaming
from prefect import get_run_logger, task

from pptsm.errors import UserError
from pptsm.files import whole_file

MAX_NAME = 100
NAME = re.compile(r"\w[\w-]*")  # what git takes as part of a reference, and every file system as a name


@task(name="experiment", task_run_name="experiment {name}")
def run_experiment(name: str, overrides: list[str], last: str | None, timeout_sec: float) -> str:
    """Run `dvc exp run --temp`; the result is in `dvc exp show`, its report below reports/experiments.

    Args:
        name: a new name for the experiment.
        overrides: like `sampling=dense`, checked before.
        last: stage to end with; None: the whole graph.
        timeout_sec: the whole experiment is stopped after it, its training state kept.

    Returns:
        Its revision.

    Raises:
        CommandError: a stage failed, or the name is taken; the last lines are published first.
    """
    logger = get_run_logger()
    shown = TrainingProgress()
    commit = baseline()
    command = ["dvc", "--wait-for-lock", "exp", "run", "--temp", "--name", name]
    command += [f"--set-param={override}" for override in overrides]  # in one word: an override is no option

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
    revision = revision_of(name, commit)
    if revision is None:
        raise CommandError(command, f"left no experiment {name} on commit {commit[:8]}", [])
    logger.info(f"experiment {name} is done: `dvc exp show` compares it, `dvc exp apply {name}` takes it over")
    return revision


def baseline() -> str:
    """The commit that experiments start from."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


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


def revision_of(experiment: str, commit: str) -> str | None:
    """The revision of a finished experiment of this name on a commit; None where there is none."""
    reference = f"refs/exps/{commit[:2]}/{commit[2:]}/{experiment}"
    command = ["git", "rev-parse", "--verify", "--quiet", reference]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or None


def read_of(revision: str, path: str) -> str:
    """The text of a file of the project, or of an output, at a revision."""
    text: str = dvc.api.read(path, repo=str(ROOT), rev=revision)
    return text


def save_report(experiment: str, revision: str) -> Path:
    """Write an experiment's HTML report below reports/experiments; returns where."""
    page = ROOT / "reports/experiments" / experiment / "index.html"
    with whole_file(page) as partial:
        partial.write_text(read_of(revision, "reports/index.html"), encoding="utf-8")
    return page
