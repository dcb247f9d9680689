"""Ending a run for a reason that a person can mend: a sentence in its log and in its state, without a stack trace."""

import logging
from typing import Any

from flows.processes import CommandError
from prefect import State, get_run_logger
from prefect.exceptions import FailedRun
from prefect.states import Failed

from pptsm.errors import UserError


def refused(error: UserError) -> State[Any]:
    """The end of a run that cannot begin: what is wrong with its parameters or its inputs."""
    get_run_logger().error(f"nothing was started: {error}")
    return Failed(message=str(error))


def failed(error: CommandError) -> State[Any]:
    """The end of a run whose command failed, with what it said last."""
    get_run_logger().error(f"{error}; its last lines: {' | '.join(error.last_lines[-3:])}")
    return Failed(message=str(error))


def _kept(record: logging.LogRecord) -> bool:
    """Keep Prefect's own traces out of the log: nothing in them is of use to who has to mend the cause."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, CommandError):
        record.exc_info = None
    return not isinstance(error, FailedRun)  # the end of a run that has said why, told once more


for _name in ("prefect.engine", "prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_kept)
