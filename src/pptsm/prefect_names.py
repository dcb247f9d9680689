"""`prefect deployment run train-pptsm`: a bare name means the deployment of that name of the flow of that name.

Prefect itself wants FLOW/DEPLOYMENT, and still takes it. It calls this plugin (an entry point in pyproject.toml,
switched on in prefect.toml) when it is imported, before it reads its command line. Whatever is typed in the folder of
a `make serve` also gets that server's address and password from here.
"""

import re
import sys

import requests
from prefect.plugins import HookContext, SetupResult, register_hook
from prefect.settings import get_current_settings

from pptsm.prefect_access import ADDRESS, known_access

COMMAND = ["deployment", "run"]


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Complete the name in this process's own command line, and find the server; where none answers, say so."""
    access = known_access(get_current_settings().home)
    if sys.argv[1:3] == COMMAND and "--help" not in sys.argv:
        sys.argv[3:] = with_flow_name(sys.argv[3:])
        if address := access.get(ADDRESS, ctx.api_url):
            _require_server(address)
    return SetupResult(env=access) if access else None


def _require_server(address: str) -> None:
    try:
        requests.get(f"{address}/health", timeout=10)
    except requests.exceptions.SSLError:
        return  # somebody answers; whether to trust it is for Prefect to say
    except requests.RequestException:
        sys.exit(
            f"error: no Prefect server answers at {address}. `make serve` starts one with a worker (it prints "
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
