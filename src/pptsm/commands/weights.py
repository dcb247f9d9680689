"""The published weights that params.yaml can name, and their download."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


def weights() -> None:
    """List the published weights that params.yaml can name."""
    from pptsm.runtime.console import say
    from pptsm.weights.registry import known_weights

    for known in known_weights().values():
        say(f"{known.name}\n    {'; '.join(filter(None, [known.note, known.published]))}\n    {known.place}")


def fetch(
    sources: Annotated[list[str], typer.Argument(help="Names that `pptsm weights` lists, or URLs.")],
) -> None:
    """Download weights ahead of their use: resumed, retried, and checked.

    The pipeline finds them when params.yaml names them. Exit code 75: trying again later may help.
    """
    from pptsm.runtime.console import say
    from pptsm.runtime.files import sha256_of
    from pptsm.weights.download import locate_weights
    from pptsm.weights.state_dict import read_weights

    for source in sources:
        path = locate_weights(source, sha256=None)
        arrays = len(read_weights(path))
        say(f"{source}: {path}, {path.stat().st_size:,} bytes, {arrays} arrays, SHA-256 {sha256_of(path)}")
