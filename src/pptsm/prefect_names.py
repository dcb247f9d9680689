"""`prefect deployment run train-pptsm`: a bare name means the deployment of that name of the flow of that name.

Prefect itself wants FLOW/DEPLOYMENT, and still takes it. It calls this plugin (an entry point in pyproject.toml,
switched on in prefect.toml) before it reads its command line.
"""

import re
import sys

from prefect.plugins import HookContext, register_hook

COMMAND = ["deployment", "run"]


@register_hook
def setup_environment(*, ctx: HookContext) -> None:  # noqa: ARG001  Prefect passes it by name
    """Complete the name in this process's own command line."""
    sys.argv[1:] = with_flow_name(sys.argv[1:])


def with_flow_name(arguments: list[str]) -> list[str]:
    """`deployment run NAME ...` as `deployment run NAME/NAME ...`; anything else as it is."""
    if arguments[:2] != COMMAND:
        return arguments
    for place in range(2, len(arguments)):
        before, word = arguments[place - 1 : place + 1]
        is_value = before.startswith("-") and before not in ("--watch", "--no-watch")
        if not is_value and re.fullmatch(r"\w[\w-]*", word):
            return [*arguments[:place], f"{word}/{word}", *arguments[place + 1 :]]
    return arguments
