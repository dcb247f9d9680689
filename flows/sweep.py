"""Flow `sweep`: experiments one after another, and a table that compares them.

    prefect deployment run sweep --watch -p runs='[["sampling=dense"], ["model.shift=false", "training.mix=mixup"]]'
    python flows/sweep.py --run sampling=dense --run model.shift=false training.mix=mixup    # once, no server needed

Each set of overrides is one DVC experiment, named after the sweep and its overrides. A sweep that ended early and is
started again under the same name, on the same commit, takes up what is done. The table is an artifact, and a file:
reports/experiments.md.
"""

if __name__ == "__main__":
    import alone  # noqa: F401  must come before Prefect

import argparse
import json
import re
from typing import Annotated, Any

import pandas as pd
from flows.artifacts import METRICS, accuracy_rows
from flows.experiments import MAX_NAME, baseline, check_name, read_of, revision_of, run_experiment, save_report
from flows.failures import failed, refused
from flows.graph import ROOT, check_overrides
from flows.limits import ensure_limits
from flows.processes import CommandError
from flows.scripts import run_as_script
from prefect import State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed
from pydantic import Field
from ruamel.yaml import YAML

from pptsm.errors import UserError
from pptsm.files import whole_file

TABLE = ROOT / "reports/experiments.md"


@flow(name="sweep")
def sweep(
    runs: list[list[str]], name: str = "sweep", timeout_hours: Annotated[float, Field(gt=0)] = 72.0
) -> State[Any]:
    """Run one experiment for each set of overrides, and compare them with each other and with this checkout.

    Args:
        runs: sets of overrides, such as [["sampling=dense"], ["model.shift=false"]].
        name: begins the names of the experiments.
        timeout_hours: an experiment that takes longer is stopped, its state kept.

    Returns:
        Completed, or Failed where the parameters are wrong or an experiment failed; the others are done then.
    """
    logger = get_run_logger()
    try:
        commit = baseline()
        names = experiment_names(name, runs, commit)
    except UserError as error:
        return refused(error)
    ensure_limits()

    rows, without = rows_of_checkout(), []
    for experiment, overrides in names.items():
        try:
            revision = revision_of(experiment, commit)
            if revision:
                logger.info(f"{experiment}: done before; `dvc exp remove {experiment}` to have it done again")
            else:
                revision = run_experiment(experiment, overrides, last=None, timeout_sec=timeout_hours * 3600)
            save_report(experiment, revision)
            figures = accuracy_rows(json.loads(read_of(revision, METRICS)))
            rows += [{"experiment": experiment, "overrides": " ".join(overrides)} | row for row in figures]
        except CommandError as error:
            failed(error)
            without.append(experiment)
            rows.append({"experiment": experiment, "overrides": " ".join(overrides), "top-1": "failed"})
        publish(rows)
    if without:
        return Failed(message=f"{len(without)} of {len(names)} experiments failed: {', '.join(without)}")
    return Completed(message=f"{len(names)} experiments are done: {TABLE.relative_to(ROOT)}")


def experiment_names(sweep_name: str, runs: list[list[str]], commit: str) -> dict[str, list[str]]:
    """A name for each set of overrides, after what it changes.

    Raises:
        UserError: there is nothing to run, two sets are the same, an override is wrong, or an experiment of this
            name was done with other parameters.
    """
    if not runs:
        raise UserError('runs: expected sets of overrides, such as [["sampling=dense"], ["model.shift=false"]].')
    names: dict[str, list[str]] = {}
    for overrides in runs:
        values = check_overrides(overrides)
        name = check_name("-".join([sweep_name, *(re.sub(r"\W+", "_", override) for override in overrides)])[:MAX_NAME])
        if name in names:
            raise UserError(f"runs: {' '.join(overrides)} stands there twice, or beside one of the same name.")
        done = revision_of(name, commit)
        if done and YAML(typ="safe").load(read_of(done, "params.yaml")) != values:
            raise UserError(
                f"experiment {name} was done with other parameters than params.yaml has now: take another `name` for "
                f"the sweep, or `dvc exp remove {name}`."
            )
        names[name] = overrides
    return names


def rows_of_checkout() -> list[dict[str, str]]:
    """The checkout's own accuracy, if it was run."""
    path = ROOT / METRICS
    if not path.exists():
        return []
    return [{"experiment": "(checkout)", "overrides": ""} | row for row in accuracy_rows(json.loads(path.read_text()))]


def publish(rows: list[dict[str, str]]) -> None:
    """The comparison so far, as artifact and as a file."""
    create_table_artifact(key="experiments", table=rows, description="Experiments compared.")
    table = pd.DataFrame(rows).fillna("").to_markdown(index=False)
    with whole_file(TABLE) as partial:
        partial.write_text(f"# Experiments\n\n{table}\n", encoding="utf-8")


def main() -> int:
    """Run the flow once, in this process."""
    parser = argparse.ArgumentParser(description="Run experiments one after another and compare them.")
    parser.add_argument(
        "--run", dest="runs", action="append", nargs="+", required=True, help="Overrides of one experiment; repeatable."
    )
    parser.add_argument("--name", default="sweep", help="Begins the names of the experiments.")
    given = parser.parse_args()
    return run_as_script(sweep, runs=given.runs, name=given.name)


if __name__ == "__main__":
    raise SystemExit(main())
