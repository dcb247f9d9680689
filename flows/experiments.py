"""A run with other parameters: a DVC experiment in its own copy of the workspace, so the checkout stays as it is."""

from flows.artifacts import run_stage_by_stage
from flows.graph import ROOT, graph, page_of, said_of
from flows.limits import device_slot
from prefect import get_run_logger

from pptsm.experiments.overrides import environment_of_copy
from pptsm.experiments.revisions import experiments, text_of
from pptsm.orchestration.running import CommandError
from pptsm.runtime.files import atomic_file


def run_experiment(name: str, overrides: list[str], timeout_sec: float) -> str:
    """Run `dvc exp run --temp`, a task for each stage; the result is in `dvc exp show` and below reports/experiments.

    Args:
        name: a new name for the experiment.
        overrides: like `sampling=dense`.
        timeout_sec: the whole experiment is stopped after it, its training state kept.

    Returns:
        Its revision.

    Raises:
        CommandError: a stage failed, or the name is taken; the last lines are published first.
    """
    command = ["dvc", "--wait-for-lock", "exp", "run", "--temp", "--name", name]
    command += [f"--set-param={override}" for override in overrides]  # in one word: an override is no option
    with device_slot():
        run_stage_by_stage("experiment", command, timeout_sec, environment_of_copy(ROOT))
    revision = experiments(ROOT).get(name)
    if revision is None:
        raise CommandError(command, f"left no experiment {name}", [])
    save_pages(name, revision)
    get_run_logger().info(f"{name} is done: `dvc exp show` compares it, `dvc exp apply {name}` takes it over")
    return revision


def save_pages(experiment: str, revision: str) -> None:
    """Write the HTML pages that an experiment publishes below reports/experiments."""
    for stage in graph():
        for path in (said_of(stage, "publish") or {}).values():
            if path.endswith(".html"):
                with atomic_file(page_of(path, experiment)) as partial:
                    partial.write_text(text_of(ROOT, path, revision), encoding="utf-8")
