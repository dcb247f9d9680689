"""Flow `promote`: puts the newest package in service if it is not worse than the one there, and asks first if told to.

    prefect deployment run promote --watch -p ask=true     # `ask` waits for a person, in the browser
    python flows/promote.py -p folder=/srv/model           # once, no server needed

It is `pptsm promote`, which compares both on the same videos; `undo` takes the last promotion back.
"""

if __name__ == "__main__":
    from pptsm.orchestration import script

    script.prepare(__file__)  # before Prefect reads its settings

from typing import Annotated, Any

from flows.graph import ROOT
from prefect import State, flow, get_run_logger
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Completed, Failed
from pydantic import Field

from pptsm.orchestration.command import ended
from pptsm.orchestration.running import CommandError, run_streaming


class Approval(RunInput):
    """What a person says when the run is resumed."""

    promote: bool = False


@flow(name="promote")
def promote(
    folder: str | None = None,
    may_lose: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ask: bool = False,
    ask_hours: Annotated[float, Field(gt=0)] = 24.0,
    undo: bool = False,
) -> State[Any]:
    """Compare the package with the one in service, and put it there unless it is worse.

    Args:
        folder: in service; by default serving.folder of params.yaml.
        may_lose: share of the videos that it may recognise less.
        ask: whether to wait for a person's word after the comparison: resume the run with `promote` set.
        ask_hours: after so long without a word the run has failed, and nothing is changed.
        undo: put the former package in service again instead.

    Returns:
        Completed with what was done; Failed where the package is worse or cannot be used.
    """
    command = ["pptsm", "promote", f"--may-lose={may_lose}", *([f"--folder={folder}"] if folder else [])]
    try:
        if undo:
            return Completed(message=_last([*command, "--undo"]))
        if ask:
            found = run_streaming([*command, "--dry-run"], get_run_logger().info, cwd=ROOT)[-2:]
            if not found[-1].endswith("has this package already."):
                approval = Approval.with_initial_data(description="\n\n".join(found))
                given = pause_flow_run(wait_for_input=approval, timeout=int(ask_hours * 3600), poll_interval=2)
                if not given.promote:
                    return Completed(message="not promoted: that was the word of who was asked. Nothing was changed.")
        return Completed(message=_last(command))
    except CommandError as error:
        failed, lines = ended(error), error.last_lines
        return Failed(message=lines[-1].removeprefix("error: ")) if lines else failed


def _last(command: list[str]) -> str:
    return run_streaming(command, get_run_logger().info, cwd=ROOT)[-1]


if __name__ == "__main__":
    raise SystemExit(script.run(promote))
