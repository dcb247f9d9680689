"""What `prefect deployment run` and `prefect deploy` need to be typed without more words in the project's folder.

Prefect calls this plugin (an entry point in pyproject.toml, switched on in prefect.toml) when it is imported, before it
reads its command line.

- `prefect deployment run train-pptsm`: a bare name means the deployment of that name of the flow of that name. Prefect
  itself wants FLOW/DEPLOYMENT, and still takes it.
- `prefect deploy --all` registers the folder in which it runs, and makes the work pool of prefect.yaml if the server
  has none: Prefect would say so and deploy nothing, with exit code 0.
- Whatever is typed in the folder of a `make serve` gets that server's address and password.
- What Prefect keeps in the folder (`.prefect/`: parameters and logs of all runs) its owner alone can read.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import requests
from prefect.plugins import HookContext, SetupResult, register_hook
from prefect.settings import get_current_settings
from ruamel.yaml import YAML

from pptsm.orchestration.access import ADDRESS, NO_TRACKING, OWNER_ALONE, PASSWORD, keep_private, known_access

RUN, SERVE = ["deployment", "run"], ["server", "start"]
DEPLOY = "deploy"
PROJECT = Path("prefect.yaml")
FOLDER = "PWD"  # what prefect.yaml has runs work in; only a shell keeps it true, and nobody sets it for a service


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult:
    """Complete this process's own command line and environment, and find the server; where none answers, say so."""
    home = get_current_settings().home
    if home.parent == Path.cwd():  # the project's own, by prefect.toml
        keep_private(home)
    access = {NO_TRACKING: os.environ.get(NO_TRACKING, "1"), **known_access(home)}
    address = access.get(ADDRESS, ctx.api_url)
    words = [word for word in sys.argv[1:] if word not in ("--no-prompt", "--prompt")]
    if "--help" in words:
        pass
    elif words[:2] == RUN:
        place = sys.argv.index(RUN[1]) + 1
        sys.argv[place:] = with_flow_name(sys.argv[place:])
        if address:
            _require_server(address)
    elif words[:2] == SERVE:
        os.umask(OWNER_ALONE)
    elif words[:1] == [DEPLOY] and PROJECT.exists():
        access[FOLDER] = str(Path.cwd())
        if address:
            _require_server(address)
            _make_pools(address, access)
    return SetupResult(env=access)


def _make_pools(address: str, access: dict[str, str]) -> None:
    """Create the work pools that prefect.yaml names and the server says that it does not have."""
    user, _, password = (access | os.environ).get(PASSWORD, "").partition(":")
    auth = (user, password) if user else None
    declared = YAML(typ="safe").load(PROJECT.read_text(encoding="utf-8")).get("deployments") or []
    pools = {row["work_pool"]["name"] for row in declared if row.get("work_pool", {}).get("name")}
    for pool in sorted(pools):
        if requests.get(f"{address}/work_pools/{pool}", auth=auth, timeout=60).status_code == requests.codes.not_found:
            print(f"the server has no work pool {pool} yet: it is made, of type process", file=sys.stderr)
            command = [sys.executable, "-m", "prefect", "work-pool", "create", pool, "--type", "process"]
            subprocess.run(command, env={**os.environ, **access}, stdout=subprocess.DEVNULL, check=True)


def _require_server(address: str) -> None:
    try:
        requests.get(f"{address}/health", timeout=60)
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
