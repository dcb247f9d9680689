"""Stage `start`, once for each role: fetch the weights that its network starts from, where params.yaml names any."""

from typing import Annotated, Literal

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFolder, ParamsPath


def run(
    role: Annotated[
        Literal["teacher", "student"], typer.Option(help="Whose section of params.yaml names the weights.")
    ],
    out: OutFolder,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Fetch the weights that a role starts from: none, a local file, a known name, or a URL."""
    params = load_params(params_path)

    from pptsm.weights.pretrained import fetch_start

    start = (params.teacher if role == "teacher" else params.student).start
    fetch_start(role, start.weights, start.sha256, out)
