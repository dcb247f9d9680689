"""A model over HTTP: videos in, answers out, until somebody ends it."""

from typing import Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import ModelOption, PrecisionOption, RuntimeOption, SamplingOption, chosen_model


def serve(
    model: ModelOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond this machine (0.0.0.0) a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PPTSM_TOKEN", help="Requests must have it. In the environment no list of processes shows it."
        ),
    ] = None,
    sampling: SamplingOption = None,
    name: Annotated[str | None, typer.Option(help="The model's name in /v2/models/NAME; else its file's.")] = None,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Size of an upload.")] = 200,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Length of a video.")] = 600,
    max_megapixels: Annotated[float, typer.Option(min=0.01, help="Size of its frames; 4096x2160 has 8.8.")] = 9,
    timeout_sec: Annotated[
        float, typer.Option("--timeout", min=1, max=86_400, help="Seconds that decoding a video may take.")
    ] = 60,
    max_waiting: Annotated[int, typer.Option(min=0, max=10_000, help="Requests that may wait.")] = 64,
    decoders: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes that decode; else one per core.")
    ] = None,
) -> None:
    """Answer over HTTP what videos show: POST /predict, the Open Inference Protocol, and a page in the browser.

    The answers are those of `pptsm predict --json`. Ctrl-C ends it, once what is under way has its answers. The address
    /docs says what can be asked.
    """
    from pptsm.serving.limits import Limits
    from pptsm.serving.predictor import Predictor
    from pptsm.serving.server import listening, run_until_stopped

    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token and token):
        raise UserError("the token is empty, or has spaces around it or characters that no header may have.")
    if name is not None and ("/" in name or not name.isprintable() or not name):
        raise UserError(f"--name is {name!r}, and should be a name that can stand in an address.")
    limits = Limits(round(max_mb * 1e6), max_seconds, round(max_megapixels * 1e6), timeout_sec, max_waiting)
    with listening(host, port, has_token=token is not None) as sock:
        run_until_stopped(
            sock, lambda: Predictor(chosen_model(model), sampling, runtime, precision), name, limits, token, decoders
        )
