"""Flow `sweep`: experiments one after another, and a table that compares them.

    prefect deployment run sweep --watch -p runs='[["sampling=dense"], ["student.network.shift=false", "seed=1"]]'
    python flows/sweep.py -p runs='[["sampling=dense"]]'    # once, no server needed

Each set of overrides is one DVC experiment, named after the sweep and its overrides. A sweep that ended early and is
started again under the same name, on the same commit, takes up what is done. The table is an artifact, and a file:
reports/experiments.md.
"""

if __name__ == "__main__":
    from pptsm.orchestration import script

    script.prepare(__file__)  # before Prefect reads its settings

import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from dvc.exceptions import DvcException
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides
from flows.artifacts import accuracy_rows
from flows.experiments import MAX_NAME, check_name, check_overrides, run_experiment, save_pages
from flows.graph import ROOT, graph
from flows.revisions import PARAMS, experiments, metrics_of, require_finished, yaml_at
from hydra.errors import HydraException
from prefect import State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed
from pydantic import Field
from ruamel.yaml import YAML

from pptsm.orchestration.command import CommandError, ended
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file

TABLE = ROOT / "reports/experiments.md"


@flow(name="sweep")
def sweep(
    runs: list[list[str]], name: str = "sweep", timeout_hours: Annotated[float, Field(gt=0)] = 72.0
) -> State[Any]:
    """Run one experiment for each set of overrides, and compare them with each other and with this checkout.

    Args:
        runs: sets of overrides, such as [["sampling=dense"], ["student.network.shift=false"]].
        name: begins the names of the experiments.
        timeout_hours: an experiment that takes longer is stopped, its state kept.

    Returns:
        Completed, or Failed where the parameters are wrong or an experiment failed; the others are done then.
    """
    try:
        done = experiments()
        names = experiment_names(name, runs, done)
        for experiment in names.keys() & done.keys():
            require_finished(experiment, done[experiment])
    except (UserError, CommandError) as error:
        return ended(error)

    rows, without = rows_of("(checkout)", "", None), []
    for experiment, overrides in names.items():
        said = " ".join(overrides)
        try:
            if revision := done.get(experiment):
                get_run_logger().info(f"{experiment}: done before; `dvc exp remove {experiment}` to have it done again")
                save_pages(experiment, revision)
            else:
                revision = run_experiment(experiment, overrides, timeout_hours * 3600)
            rows += rows_of(experiment, said, revision)
        except CommandError as error:
            ended(error)
            without.append(experiment)
            rows.append({"experiment": experiment, "overrides": said, "top-1": "failed"})
        publish(rows)
    if without:
        return Failed(message=f"{len(without)} of {len(names)} experiments failed: {', '.join(without)}")
    return Completed(message=f"{len(names)} experiments are done: {TABLE.relative_to(ROOT)}")


def experiment_names(sweep_name: str, runs: list[list[str]], done: dict[str, str]) -> dict[str, list[str]]:
    """A name for each set of overrides, after what it changes.

    Args:
        sweep_name: begins each name.
        runs: sets of overrides.
        done: names and revisions of experiments that are there already.

    Raises:
        UserError: there is nothing to run, two sets are the same, an override is none, or an experiment of this
            name was done with other parameters.
    """
    if not runs:
        raise UserError(
            'runs: expected sets of overrides, such as [["sampling=dense"], ["student.network.shift=false"]].'
        )
    names: dict[str, list[str]] = {}
    for overrides in runs:
        check_overrides(overrides)
        name = check_name("-".join([sweep_name, *(re.sub(r"\W+", "_", override) for override in overrides)])[:MAX_NAME])
        if name in names:
            raise UserError(f"runs: {' '.join(overrides)} stands there twice, or beside one of the same name.")
        if name in done and yaml_at(PARAMS, done[name]) != values_with(overrides):
            raise UserError(
                f"experiment {name} was done with other parameters than params.yaml has now: take another `name` for "
                f"the sweep, or `dvc exp remove {name}`."
            )
        names[name] = overrides
    return names


def values_with(overrides: list[str]) -> Any:
    """The values of params.yaml with overrides, as DVC writes them into an experiment's copy; not checked.

    Raises:
        UserError: DVC takes one for no override.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(ROOT / "params.yaml", folder))
        try:
            apply_overrides(copy, to_path_overrides(overrides)[PARAMS])
        except (DvcException, HydraException) as error:
            raise UserError(f"runs: {' '.join(overrides)}: {error}") from None
        return YAML(typ="safe").load(copy)


def rows_of(experiment: str, overrides: str, revision: str | None) -> list[dict[str, str]]:
    """Accuracy of an experiment, or (without a revision) of the checkout if it was run."""
    try:
        metrics = [metrics_of(stage, revision) for stage in graph().values() if "metrics" in stage]
    except (CommandError, OSError):
        return []
    rows = [row for of_stage in metrics for row in accuracy_rows(of_stage)]
    return [{"experiment": experiment, "overrides": overrides} | row for row in rows]


def publish(rows: list[dict[str, str]]) -> None:
    """The comparison so far, as artifact and as a file."""
    create_table_artifact(key="experiments", table=rows, description="Experiments compared.")
    table = pd.DataFrame(rows).fillna("").to_markdown(index=False)
    with atomic_file(TABLE) as partial:
        partial.write_text(f"# Experiments\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(script.run(sweep))
