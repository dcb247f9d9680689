"""Lets a flow's file run as a script without a server: imported first, before Prefect reads its settings.

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

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT))
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")  # 20 are few on a busy machine
if "PREFECT_API_URL" not in os.environ:
    home = ROOT / ".prefect/scripts"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    # Prefect reads prefect.toml where it is started; from elsewhere the server named there, where perhaps nobody
    # listens, is not asked for
    os.chdir(ROOT / "flows")


def run(flow: "Flow[Any, Any]") -> int:
    """Run a flow once, in this process; 0 if it completes, 1 if it fails, 2 for parameters of the wrong kind."""
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError

    parser = argparse.ArgumentParser(description=flow.fn.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-p", dest="given", action="append", default=[], metavar="NAME=VALUE", help="JSON, or text; repeatable."
    )
    parameters = dict(_parsed(word) for word in parser.parse_args().given)
    try:
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


def _parsed(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text
