"""`prefect deployment run train-pptsm`: a bare name means the deployment of that name of the flow of that name.

Prefect itself wants FLOW/DEPLOYMENT, and still takes it. It calls this plugin (an entry point in pyproject.toml,
switched on in prefect.toml) before it reads its command line.
"""

import re
import sys

import requests
from prefect.plugins import HookContext, register_hook

COMMAND = ["deployment", "run"]


@register_hook
def setup_environment(*, ctx: HookContext) -> None:
    """Complete the name in this process's own command line; where no server answers, say so."""
    if sys.argv[1:3] != COMMAND or "--help" in sys.argv:
        return
    sys.argv[3:] = with_flow_name(sys.argv[3:])
    if ctx.api_url is not None:
        try:
            requests.get(f"{ctx.api_url}/health", timeout=10)
        except requests.exceptions.SSLError:
            return  # somebody answers; whether to trust it is for Prefect to say
        except requests.RequestException:
            sys.exit(
                f"error: no Prefect server answers at {ctx.api_url}. `make serve` starts one with a worker (it prints "
                "its address); for another server set PREFECT_API_URL. Or without a server: python flows/train_pptsm.py"
            )


def with_flow_name(arguments: list[str]) -> list[str]:
    """Arguments of `prefect deployment run` with NAME as NAME/NAME."""
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        is_value = before.startswith("-") and "=" not in before and before not in ("--watch", "--no-watch")
        if not is_value and re.fullmatch(r"\w[\w-]*", word):
            return [*arguments[:place], f"{word}/{word}", *arguments[place + 1 :]]
    return arguments
