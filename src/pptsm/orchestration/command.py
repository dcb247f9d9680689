"""How a flow's command ends: tried again over a network, and its failure as a sentence instead of a trace."""

import logging
from typing import Any

from prefect import State, get_run_logger
from prefect.exceptions import FailedRun
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from pptsm.orchestration.running import CommandError
from pptsm.runtime.errors import UserError


def _may_pass(_task: Any, _run: Any, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, CommandError) and error.temporary


# Options of a task that a network may break: tried again after 10, 20 and 40 seconds if the command said it may help.
OVER_A_NETWORK: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(10),
    "retry_condition_fn": _may_pass,
}


def ended(error: UserError | CommandError) -> State[Any]:
    """The end of a run for a reason that a person can mend: a sentence in its log and in its state, and no trace."""
    if isinstance(error, UserError):
        get_run_logger().error(f"nothing was started: {error}")
    else:
        get_run_logger().error(f"{error}; its last lines: {' | '.join(error.last_lines[-3:])}")
    return Failed(message=str(error))


def _without_trace(record: logging.LogRecord) -> bool:
    """Keep Prefect's own traces out of the log: nothing in them is of use to who has to mend the cause."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, CommandError):
        record.exc_info = None
    return not isinstance(error, FailedRun)  # the end of a run that has said why, said once more


for _name in ("prefect.engine", "prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_without_trace)
