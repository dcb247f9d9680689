"""Flow `train-pptsm`: the stages of dvc.yaml, one task each, with what an operator expects.

    python flows/train_pptsm.py                 # once, no server needed
    python flows/train_pptsm.py --help          # overrides, a range of stages, a name for an experiment

Cost beside the stages: some 10 s for a temporary server and half a second a stage. The graph stays in dvc.yaml: a task
runs `dvc repro --single-item STAGE`, so this entrance and `dvc repro` give the same files and the same dvc.lock.
"""

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # without a server of its own address, Prefect starts a temporary one; both must be said before the import
    os.environ.setdefault("PREFECT_HOME", str(Path(__file__).parent.parent / ".prefect"))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    sys.path.insert(0, str(Path(__file__).parent.parent))

import pandas as pd
from flows.processes import CommandError, run_streaming
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.tasks import exponential_backoff
from ruamel.yaml import YAML

from pptsm.errors import ParamsError
from pptsm.params import check_params

ROOT = Path(__file__).parent.parent
NETWORK_STAGES = ("pretrained",)  # only these are tried again: elsewhere a second try would fail alike
DEVICE_STAGES = ("teacher", "student", "evaluate")  # only one of these at a time on a machine
DEVICE_LIMIT = "gpu"


@flow(name="train-pptsm")
def train_pptsm(
    overrides: list[str] | None = None,
    first: str | None = None,
    last: str | None = None,
    experiment: str | None = None,
    stage_timeout_hours: float = 72.0,
) -> str:
    """Run the pipeline, or an experiment with other parameters.

    Args:
        overrides: like `sampling=dense`; with any, the run is a DVC experiment in its own copy of the
            workspace, and this checkout stays as it is.
        first, last: stages to begin and end with; all by default.
        experiment: name of the experiment; made up by DVC if not given.
        stage_timeout_hours: a stage that takes longer is stopped, its state kept.

    Returns:
        A line that says what was done.
    """
    logger = get_run_logger()
    names = stage_names()
    for name in (first, last):
        if name is not None and name not in names:
            raise ValueError(f"no stage {name!r}; dvc.yaml has {', '.join(names)}")
    check_overrides(overrides or [])
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(DEVICE_LIMIT, 1)

    if overrides or experiment:
        line = run_experiment.with_options(name="experiment")(overrides or [], experiment, stage_timeout_hours * 3600)
        logger.info(line)
        return line

    chosen = names[names.index(first or names[0]) : names.index(last or names[-1]) + 1]
    if not chosen:
        raise ValueError(f"stage {first!r} comes after {last!r}")
    done = []
    for name in chosen:
        run = run_stage.with_options(name=name)
        if name in NETWORK_STAGES:
            run = run.with_options(retries=3, retry_delay_seconds=exponential_backoff(10))
        if run(name, stage_timeout_hours * 3600):
            done.append(name)
    publish_results()
    line = f"{len(done)} of {len(chosen)} stages had work to do: {', '.join(done) or 'none'}"
    logger.info(line)
    return line


@task
def run_stage(name: str, timeout_sec: float) -> bool:
    """Run one stage; False where it was up to date.

    Raises:
        CommandError: the stage failed; its last lines are published first.
    """
    logger = get_run_logger()
    started = time.monotonic()
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        logger.info(line)

    try:
        with concurrency(DEVICE_LIMIT, occupy=1, strict=True) if name in DEVICE_STAGES else nullcontext():
            run_streaming(["dvc", "repro", "--single-item", name], log, cwd=ROOT, timeout_sec=timeout_sec)
    except CommandError as error:
        publish_failure(name, error)
        raise
    worked = any(line.startswith("Running stage") for line in lines)
    logger.info(f"{name}: {'done' if worked else 'nothing to do'} after {time.monotonic() - started:.1f} s")
    return worked


@task
def run_experiment(overrides: list[str], name: str | None, timeout_sec: float) -> str:
    """Run `dvc exp run --temp` with overrides: its own workspace, results in `dvc exp show`.

    Raises:
        CommandError: a stage of it failed; the last lines are published first.
    """
    command = ["dvc", "exp", "run", "--temp", *(["-n", name] if name else [])]
    for override in overrides:
        command += ["-S", override]
    logger = get_run_logger()
    try:
        with concurrency(DEVICE_LIMIT, occupy=1, strict=True):
            # the copy's own source comes first, and finished work is shared with this checkout
            shared = {"PYTHONPATH": "src", "PPTSM_STATE": str(ROOT / ".pptsm")}
            run_streaming(command, logger.info, cwd=ROOT, timeout_sec=timeout_sec, environment=shared)
    except CommandError as error:
        publish_failure("experiment", error)
        raise
    return f"experiment {name or ''} is done: see `dvc exp show`, take it over with `dvc exp apply`"


def stage_names() -> list[str]:
    """The stages in the order of dvc.yaml, which is the order in which they need each other."""
    return list(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"])


def check_overrides(overrides: list[str]) -> None:
    """Apply overrides to params.yaml in memory and check the whole.

    Raises:
        ParamsError: an override is no `key=value`, names an unknown key, or sets a wrong value.
    """
    yaml = YAML(typ="safe")
    values: dict[str, Any] = yaml.load((ROOT / "params.yaml").read_text())
    for override in overrides:
        key, equals, text = override.partition("=")
        *sections, leaf = key.split(".")
        place: Any = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or leaf not in place:
            raise ParamsError(f"override {override!r}: expected section.key=value with a key of params.yaml")
        place[leaf] = yaml.load(text)
    check_params(values, f"params.yaml with {' '.join(overrides)}" if overrides else "params.yaml")


def publish_results() -> None:
    """Artifacts of a finished run: accuracy, validation, the report."""
    metrics = YAML(typ="safe").load((ROOT / "reports/evaluation/metrics.json").read_text())
    rows = [
        {"version": role, "sampling": sampling, "top-1": f"{value['top1']:.2%}", "top-5": f"{value['top5']:.2%}"}
        for role, samplings in metrics.items()
        for sampling, value in samplings.items()
    ]
    create_table_artifact(key="accuracy", table=rows, description="Accuracy of teacher and student.")
    page = (ROOT / "reports/index.html").as_uri()
    text = (ROOT / "reports/accuracy.md").read_text()
    create_markdown_artifact(key="report", markdown=f"[The whole report]({page})\n\n{text}")
    for role in ("teacher", "student"):
        epochs = pd.read_csv(ROOT / f"reports/{role}.csv").round(4)
        columns = {str(name): epochs[name].tolist() for name in epochs}
        create_table_artifact(key=f"{role}-epochs", table=columns, description=f"Epochs of the {role}.")
    checked = YAML(typ="safe").load((ROOT / "reports/validation/result.json").read_text())
    facts = "\n".join(f"- {name}: {value}" for name, value in checked["facts"].items() if name != "unused")
    create_markdown_artifact(
        key="validation", markdown=f"{checked['expectations']} expectations hold.\n\n{facts}", description="The index."
    )


def publish_failure(name: str, error: CommandError) -> None:
    """Artifact of a failed stage: why, its last lines, and what to do."""
    lines = "\n".join(error.last_lines)
    create_markdown_artifact(
        key=f"{name}-failed",
        markdown=f"**{name}** {error.reason}.\n\n```\n{lines}\n```\n\nMend the cause and run again: finished "
        "stages are skipped, and a training goes on from its last whole epoch.",
    )


def main() -> int:
    """Run the flow once, in this process; 1 if it fails, 2 for wrong parameters."""
    parser = argparse.ArgumentParser(description="Run the pipeline as a Prefect flow.")
    parser.add_argument("-S", dest="overrides", action="append", help="Override such as sampling=dense; repeatable.")
    parser.add_argument("--first", help="Stage to begin with.")
    parser.add_argument("--last", help="Stage to end with.")
    parser.add_argument("--experiment", help="Name of a DVC experiment.")
    try:
        train_pptsm(**vars(parser.parse_args()))
    except (ParamsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
