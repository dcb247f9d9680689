"""Lets a flow's file run as a script without a server.

    python flows/train_pptsm.py [-p NAME=VALUE ...]     # the parameters as of `prefect deployment run`

Where no address is in PREFECT_API_URL, Prefect starts a temporary server of its own for the run. Its database is not
that of `make serve`, which a killed script could only mislead.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow, State

from pptsm.orchestration.access import ADDRESS, NO_TRACKING, keep_private, known_access
from pptsm.orchestration.waiting import SERVER_START_SEC, waiting_for
from pptsm.runtime.extras import require_or_exit

STARTUP = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
NOT_UP = "Timed out while attempting to connect to ephemeral Prefect API server"  # Prefect raises no class of its own


def prepare(file: str) -> None:
    """Choose the server of a script; called before Prefect is imported, because it reads its settings then.

    Args:
        file: of the script, in the folder flows of the project.
    """
    folder = Path(file).resolve().parent
    root = folder.parent
    require_or_exit(f"flows/{Path(file).name}", ["flows", "pipeline"])
    sys.path.insert(0, str(root))  # a script finds the folder's other files as a worker does, as flows.NAME
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault(NO_TRACKING, "1")
    os.environ.setdefault(STARTUP, str(SERVER_START_SEC))
    if ADDRESS in os.environ:
        os.environ |= known_access(root / ".prefect")  # Prefect's plugin does so only for a script started in root
    else:
        home = root / ".prefect/scripts"
        keep_private(keep_private(home.parent) / home.name)
        os.environ["PREFECT_HOME"] = str(home)
        # Prefect reads prefect.toml in the working folder. Elsewhere it does not ask for the server named there, where
        # perhaps nobody listens.
        os.chdir(folder)


def run(flow: "Flow[Any, Any]") -> int:
    """Run a flow once, in this process; 0 if it completes, 1 if it fails, 2 for parameters of the wrong kind."""
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError

    parser = argparse.ArgumentParser(description=flow.fn.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-p", dest="given", action="append", default=[], metavar="NAME=VALUE", help="JSON, or text; repeatable."
    )
    parameters = dict(_parsed(word) for word in parser.parse_args().given)
    try:
        if ADDRESS not in os.environ:
            _start_server()
        state: State[Any] = flow(**parameters, return_state=True)  # type: ignore[assignment]  # its overloads
    except (SignatureMismatchError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if state.is_failed() and isinstance(wrong := state.result(raise_on_failure=False), ParameterTypeError):
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr)
        return 1
    return 0


def _start_server() -> None:
    """Start the temporary server of this run, which the flow then finds.

    Raises:
        SystemExit: it does not answer in time; a sentence says so.
    """
    from prefect.server.api.server import SubprocessASGIServer

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        with waiting_for("a temporary Prefect server to start", say):
            SubprocessASGIServer().start()
    except RuntimeError as error:
        if NOT_UP not in str(error):
            raise
        seconds = os.environ[STARTUP]
        sys.exit(
            f"error: a temporary Prefect server was started for this run, and did not answer within {seconds} s. What "
            f"it said stands above; its database is in {os.environ.get('PREFECT_HOME')}. Try again when the machine is "
            f"less busy, or with more seconds in {STARTUP}; `dvc repro` does the same work without a server."
        )


def _parsed(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text
