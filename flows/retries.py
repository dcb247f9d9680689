"""Trying again, only where that may help: a network is involved, and the command said that the fault may pass."""

from typing import Any, TypedDict

from flows.processes import CommandError
from prefect import State
from prefect.tasks import exponential_backoff


def worth_another_try(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a task failed for a reason that may pass, such as a server that did not answer."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, CommandError) and error.temporary


class Retries(TypedDict):
    """Options of a Prefect task."""

    retries: int
    retry_delay_seconds: Any
    retry_condition_fn: Any


OVER_A_NETWORK = Retries(
    retries=3,
    retry_delay_seconds=exponential_backoff(10),  # 10, 20 and 40 seconds
    retry_condition_fn=worth_another_try,
)
