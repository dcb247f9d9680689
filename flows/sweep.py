"""Flow `sweep`: experiments one after another, and a table that compares them.

    prefect deployment run sweep --watch -p runs='[["sampling=dense"], ["student.network.shift=false", "seed=1"]]'
    python flows/sweep.py -p runs='[["sampling=dense"]]'    # once, no server needed
    python flows/sweep.py -p runs='[[], ["sampling=dense"]]' -p seeds=3    # each three times, by three seeds

Each set of overrides is one DVC experiment, named after the sweep and its overrides. A sweep that ended early and is
started again under the same name, on the same commit, takes up what is done. The table is an artifact, and a file:
reports/experiments.md. `pptsm compare` has the tests and costs of the same experiments.
"""

if __name__ == "__main__":
    from pptsm.orchestration import script

    script.prepare(__file__)  # before Prefect reads its settings

import re
from hashlib import sha256
from typing import Annotated, Any

import pandas as pd
from flows.artifacts import accuracy_rows
from flows.experiments import run_experiment, save_pages
from flows.graph import ROOT, graph
from prefect import State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed
from pydantic import Field

from pptsm.evaluation.over_seeds import over_seeds
from pptsm.experiments.graph import PARAMS
from pptsm.experiments.overrides import MAX_NAME, check_name, check_overrides, values_with
from pptsm.experiments.revisions import experiments, metrics_of, require_finished, yaml_at
from pptsm.orchestration.command import ended
from pptsm.orchestration.running import CommandError
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file

TABLE = ROOT / "reports/experiments.md"
AS_IT_IS = "(params.yaml)"  # the set without any override
DIGITS = 8  # of a hash, in a name that would be too long
OVER_SEEDS = (
    "Mean over seeds, 95 % interval by Student's t: initial weights, order and crops differ; videos and split are "
    "the same."
)
Repeats = dict[str, list[dict[str, Any]]]  # set of overrides -> the metrics of each seed that is done


@flow(name="sweep")
def sweep(
    runs: list[list[str]],
    name: str = "sweep",
    timeout_hours: Annotated[float, Field(gt=0)] = 72.0,
    seeds: Annotated[int, Field(ge=1, le=1000)] | list[int] | None = None,
) -> State[Any]:
    """Run one experiment for each set of overrides, and compare them with each other and with this checkout.

    Args:
        runs: sets of overrides, such as [["sampling=dense"], ["student.network.shift=false"]]; [] changes nothing.
        name: begins the names of the experiments.
        seeds: each set of overrides once with each of these seeds of the training, or with so many, from `seed` of
            params.yaml on. Videos and split stay: they have seeds of their own. None: once, with that seed.
        timeout_hours: an experiment that takes longer is stopped, its state kept.

    Returns:
        Completed, or Failed where the parameters are wrong or an experiment failed; the others are done then.
    """
    try:
        chosen = chosen_seeds(seeds)
        done = experiments(ROOT)
        names = experiment_names(name, with_seeds(runs, chosen), done)
        for experiment in names.keys() & done.keys():
            require_finished(ROOT, experiment, done[experiment])
    except (UserError, CommandError) as error:
        return ended(error)

    rows, without = rows_of("(checkout)", "", None), []
    repeats: Repeats = {}
    for experiment, overrides in names.items():
        said = " ".join(overrides)
        try:
            if revision := done.get(experiment):
                get_run_logger().info(f"{experiment}: done before; `dvc exp remove {experiment}` to have it done again")
                save_pages(experiment, revision)
            else:
                revision = run_experiment(experiment, overrides, timeout_hours * 3600)
            rows += rows_of(experiment, said, revision)
            if chosen:
                repeats.setdefault(" ".join(overrides[:-1]) or AS_IT_IS, []).append(all_metrics(revision))
        except CommandError as error:
            ended(error)
            without.append(experiment)
            rows.append({"experiment": experiment, "overrides": said, "top-1": "failed"})
        publish(rows, rows_over_seeds(repeats))
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
        whole = "-".join([sweep_name, *(re.sub(r"\W+", "_", override) for override in overrides)])
        if len(whole) > MAX_NAME:  # names that begin alike stay different
            whole = f"{whole[: MAX_NAME - DIGITS - 1]}-{sha256(whole.encode()).hexdigest()[:DIGITS]}"
        name = check_name(whole)
        if name in names:
            raise UserError(f"runs: {' '.join(overrides)} stands there twice, or beside one of the same name.")
        if name in done and yaml_at(ROOT, PARAMS, done[name]) != values_with(ROOT, overrides):
            raise UserError(
                f"experiment {name} was done with other parameters than params.yaml has now: take another `name` for "
                f"the sweep, or `dvc exp remove {name}`."
            )
        names[name] = overrides
    return names


def chosen_seeds(seeds: int | list[int] | None) -> list[int]:
    """The seeds by which each set of overrides is repeated; none: it is not.

    Raises:
        UserError: a seed stands there twice, or is none that params.yaml may have.
    """
    if seeds is None:
        return []
    if isinstance(seeds, int):
        first = values_with(ROOT, [])["seed"]
        return [first + number for number in range(seeds)]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds: expected numbers from 0 on, each once, or how many; found {seeds}.")
    return seeds


def with_seeds(runs: list[list[str]], seeds: list[int]) -> list[list[str]]:
    """Each set of overrides once with each seed, which comes last in it; all sets with one seed before the next seed.

    Raises:
        UserError: a set has a seed of its own.
    """
    if not seeds:
        return runs
    for overrides in runs:
        if any(override.lstrip("+~").removeprefix(f"{PARAMS}:").startswith("seed=") for override in overrides):
            raise UserError(f"runs: {' '.join(overrides)} sets the seed, and so does `seeds`. Leave one of them out.")
    return [[*overrides, f"seed={seed}"] for seed in seeds for overrides in runs]


def all_metrics(revision: str | None) -> dict[str, Any]:
    """The metrics of a revision, of all stages that have any: role -> sampling -> figures."""
    found: dict[str, Any] = {}
    for stage in graph().values():
        found |= metrics_of(ROOT, stage, revision) if "metrics" in stage else {}
    return found


def rows_over_seeds(repeats: Repeats) -> list[dict[str, str]]:
    """The mean over seeds of each set of overrides, a row per network and sampling."""
    rows = []
    for said, repeated in repeats.items():
        for role, samplings in repeated[0].items():
            for sampling in samplings:
                tops = [of[role][sampling]["top1"] for of in repeated if sampling in of.get(role, {})]
                found = over_seeds(tops, 0, 1)
                rows.append(
                    {
                        "overrides": said,
                        "network": role,
                        "sampling": sampling,
                        "mean top-1": f"{found.mean:.2%}",
                        "95 % interval over seeds": "one seed: none"
                        if found.low is None
                        else f"{found.low:.1%} to {found.high:.1%}",
                        "each seed": ", ".join(f"{top1:.1%}" for top1 in tops),
                    }
                )
    return rows


def rows_of(experiment: str, overrides: str, revision: str | None) -> list[dict[str, str]]:
    """Accuracy of an experiment, or (without a revision) of the checkout if it was run."""
    try:
        rows = accuracy_rows(all_metrics(revision))
    except (CommandError, OSError):
        return []
    return [{"experiment": experiment, "overrides": overrides} | row for row in rows]


def publish(rows: list[dict[str, str]], means: list[dict[str, str]]) -> None:
    """The comparison so far, as artifact and as a file; the means over seeds too, if there are any."""
    create_table_artifact(key="experiments", table=rows, description="Experiments compared.")
    text = f"# Experiments\n\n{pd.DataFrame(rows).fillna('').to_markdown(index=False)}\n"
    if means:
        create_table_artifact(key="experiments-over-seeds", table=means, description=OVER_SEEDS)
        text += f"\n## Over seeds\n\n{OVER_SEEDS}\n\n{pd.DataFrame(means).to_markdown(index=False)}\n"
    with atomic_file(TABLE) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(script.run(sweep))
