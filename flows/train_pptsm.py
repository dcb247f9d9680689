"""Flow `train-pptsm`: the stages of dvc.yaml, one task each, with what an operator expects.

    prefect deployment run train-pptsm --watch  # with a server and a worker, see README.md
    python flows/train_pptsm.py                 # once, no server needed; --help names the parameters

Cost beside the stages: a second or so a stage, and some 10 s for a temporary server. The graph stays in dvc.yaml: a
task runs `dvc repro --single-item STAGE`, so this entrance and `dvc repro` give the same files and the same dvc.lock.
"""

if __name__ == "__main__":
    from pptsm.orchestration import script

    script.prepare(__file__)  # before Prefect reads its settings

import json
import time
from contextlib import nullcontext
from typing import Annotated, Any

from flows.artifacts import publish_results, run_shown
from flows.experiments import run_experiment
from flows.graph import ROOT, Stages, graph, said_of
from flows.limits import device_slot
from prefect import State, flow, get_run_logger, task
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from pptsm.experiments.overrides import check_name, check_overrides
from pptsm.experiments.revisions import experiments
from pptsm.orchestration.command import OVER_A_NETWORK, ended
from pptsm.orchestration.running import CommandError, run_streaming
from pptsm.orchestration.waiting import waiting_for
from pptsm.runtime.errors import UserError

STATUS_TIMEOUT_SEC = 3600  # DVC hashes what changed before it answers


@flow(name="train-pptsm")
def train_pptsm(
    overrides: list[str] | None = None,
    stages: Stages | None = None,
    experiment: str | None = None,
    stage_timeout_hours: Annotated[float, Field(gt=0)] = 72.0,
) -> State[Any]:
    """Run the pipeline, or an experiment with other parameters.

    Args:
        overrides: like `sampling=dense`; with any, the run is a DVC experiment in its own copy of the
            workspace, and this checkout stays as it is.
        stages: which to run, {"from": ..., "to": ...}; all by default. What the first builds on must be up to
            date. An experiment takes all.
        experiment: name of the experiment; by default that of the flow run.
        stage_timeout_hours: a stage (or a whole experiment) that takes longer is stopped, its state kept.

    Returns:
        Completed or Failed, with a line that says what was done or what is wrong.
    """
    requested = stages or Stages()
    timeout_sec = stage_timeout_hours * 3600
    try:
        names = requested.names()
        if overrides or experiment:
            if requested.first or requested.last:
                raise UserError(
                    "stages: an experiment begins where its overrides take effect and runs to the end; leave them out. "
                    "DVC would show the last commit's figures as those of one that ended earlier."
                )
            check_overrides(overrides or [])
            name = check_name(experiment or str(flow_run.name))
            if name in experiments(ROOT):
                raise UserError(f"there is an experiment {name} already: `dvc exp remove {name}`, or another name.")
            revision = run_experiment(name, overrides or [], timeout_sec)
            publish_results(names, name, revision)
            return Completed(message=f"experiment {name}")
        if requested.first:
            require_clean_before(requested.first, names)
        done = run_stages(names, timeout_sec)
    except (UserError, CommandError) as error:
        return ended(error)
    publish_results(names)
    line = f"{len(done)} of {len(names)} stages had work to do: {', '.join(done) or 'none'}"
    get_run_logger().info(line)
    return Completed(message=line)


def run_stages(names: list[str], timeout_sec: float) -> list[str]:
    """Run stages, each in its task; those that had work to do.

    DVC is asked once, after the stages that always come first, which of the others have none. Their tasks then need no
    DVC, until one has changed its outputs: from there on each is run, because what it reads may have changed.

    Raises:
        CommandError: a stage failed, or DVC cannot tell.
    """
    done: list[str] = []
    idle: set[str] | None = None
    for name in names:
        if idle is None and not said_of(name, "first"):
            stale = json.loads(_ask_dvc("--json", *names)[-1])
            idle = {other for other in names if other not in stale}
        if _task_of(name)(name, timeout_sec, name in (idle or ())):
            done.append(name)
            idle = idle and set()
    return done


def require_clean_before(first: str, names: list[str]) -> None:
    """Check that what these stages build on is up to date: `dvc repro --single-item` itself looks at nothing before it.

    Raises:
        UserError: an earlier stage has work to do.
        CommandError: DVC cannot tell.
    """
    for stage in graph():
        if said_of(stage, "before_status"):
            command = ["dvc", "--wait-for-lock", "repro", "--quiet", "--single-item", stage]
            run_streaming(command, get_run_logger().debug, cwd=ROOT, timeout_sec=STATUS_TIMEOUT_SEC)
    found = json.loads(_ask_dvc("--json", "--with-deps", *names)[-1])
    stale = [stage for stage in graph() if stage in found and stage not in names]
    if stale:
        raise UserError(
            f"stages: {', '.join(stale)} must be done anew before {first}, which would build on what is out of date "
            f"(`dvc status` says why). Run from {stale[0]}."
        )


def _task_of(stage: str) -> Any:
    """The task of a stage: `run_stage` under its name, tried again where a network is involved."""
    named = run_stage.with_options(name=stage, task_run_name=stage)
    return named.with_options(**OVER_A_NETWORK) if said_of(stage, "network") else named


@task
def run_stage(name: str, timeout_sec: float, is_idle: bool = False) -> bool:
    """Run one stage; False where it was up to date.

    Args:
        name: of the stage.
        timeout_sec: it is stopped after so long.
        is_idle: whether DVC has said that it has nothing to do.

    Raises:
        CommandError: the stage failed; its last lines are published first.
    """
    started = time.monotonic()
    ran: list[str] = []
    needs_device = said_of(name, "device")
    # a stage without work does not wait for the device
    if not (is_idle or (needs_device and _is_up_to_date(name))):
        with device_slot() if needs_device else nullcontext():
            ran = run_shown(name, ["dvc", "--wait-for-lock", "repro", "--single-item", name], timeout_sec)
    get_run_logger().info(f"{name}: {'done' if ran else 'nothing to do'} after {time.monotonic() - started:.1f} s")
    return bool(ran)


def _is_up_to_date(stage: str) -> bool:
    """Whether DVC has nothing to do for a stage. Where it cannot tell, `dvc repro` will say why."""
    try:
        _ask_dvc("--quiet", stage)
    except CommandError:
        return False
    return True


def _ask_dvc(*arguments: str) -> list[str]:
    command = ["dvc", "--wait-for-lock", "status", *arguments]
    with waiting_for("DVC, which looks at what has changed", get_run_logger().info):
        return run_streaming(command, get_run_logger().debug, cwd=ROOT, timeout_sec=STATUS_TIMEOUT_SEC)


if __name__ == "__main__":
    raise SystemExit(script.run(train_pptsm))
