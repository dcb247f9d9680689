"""Running a flow once, in this process, with a shell's manners."""

import os
import sys
from typing import Any

from flows.limits import forget_limits
from prefect import Flow, State
from prefect.exceptions import ParameterTypeError


def run_as_script(flow: Flow[Any, Any], **parameters: Any) -> int:
    """Run a flow; 0 if it completes, 1 if it fails, 2 for parameters of the wrong kind."""
    if "PREFECT_API_URL" not in os.environ:
        forget_limits()
    state: State[Any] = flow(**parameters, return_state=True)  # type: ignore[assignment]  # its overloads
    if state.is_failed() and isinstance(wrong := state.result(raise_on_failure=False), ParameterTypeError):
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr)
        return 1
    return 0
