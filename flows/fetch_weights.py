"""Flow `fetch-weights`: published weights downloaded ahead of their use, one task per file.

    prefect deployment run fetch-weights --watch -p names='["pptsm-r50-k400-uniform"]'
    python flows/fetch_weights.py -p names='["pptsm-r50-k400-uniform"]'    # once, no server needed

Files are resumed, checked and kept in the state folder, where the pipeline finds them.
"""

if __name__ == "__main__":
    from pptsm.orchestration import script

    script.prepare(__file__)  # before Prefect reads its settings

from typing import Annotated, Any

from flows.graph import ROOT
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed
from pydantic import Field

from pptsm.orchestration.command import OVER_A_NETWORK, ended
from pptsm.orchestration.running import CommandError, run_streaming


@flow(name="fetch-weights")
def fetch_weights(names: list[str] | None = None, timeout_hours: Annotated[float, Field(gt=0)] = 6.0) -> State[Any]:
    """Download weights; one that fails does not keep the others.

    Args:
        names: names that `pptsm weights` lists, or URLs; by default all of the list.
        timeout_hours: a file that takes longer is stopped; what came is kept for resuming.

    Returns:
        Completed, or Failed with the names that could not be had.
    """
    rows, without = [], []
    for name in names or known_names():
        try:
            result = fetch(name, timeout_hours * 3600)
        except CommandError as error:
            result = error.last_lines[-1] if error.last_lines else str(error)
            without.append(name)
            ended(error)
        rows.append({"weights": name, "got": "no" if name in without else "yes", "what": result})
    create_table_artifact(key="weights", table=rows, description="Weights that were asked for.")
    if without:
        return Failed(message=f"{len(without)} of {len(rows)} could not be had: {', '.join(without)}")
    return Completed(message=f"{len(rows)} files are there")


def known_names() -> list[str]:
    """The names that `pptsm weights` lists: its lines that are not indented."""
    lines: list[str] = []
    run_streaming(["pptsm", "weights"], lines.append, cwd=ROOT)
    return [line for line in lines if not line.startswith(" ")]


@task(task_run_name="{name}", **OVER_A_NETWORK)
def fetch(name: str, timeout_sec: float) -> str:
    """Download one file and look into it; the line that says what it is.

    Raises:
        CommandError: it cannot be had, or is not what it should be.
    """
    command = ["pptsm", "fetch", "--", name]  # a name is no option, whatever it begins with
    return run_streaming(command, get_run_logger().info, cwd=ROOT, timeout_sec=timeout_sec)[-1]


if __name__ == "__main__":
    raise SystemExit(script.run(fetch_weights))
