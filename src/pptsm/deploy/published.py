"""Published weights as a network: built as their parameters say, and filled by all of the file."""

from pathlib import Path

from pptsm.model.network import VideoNetwork
from pptsm.params.choices import Input
from pptsm.params.network import NetworkArguments
from pptsm.runtime.errors import UserError
from pptsm.weights.card import buildable
from pptsm.weights.loading import LoadReport, load_weights


def load_published(
    path: Path, described: NetworkArguments, looks_at: Input, classes: int, labels_from: str
) -> tuple[VideoNetwork, LoadReport]:
    """A network with the weights of a file.

    Args:
        path: the file.
        described: the network, as parameters describe it.
        looks_at: as `clip.input` says.
        classes: how many there are.
        labels_from: what names them, for an error.

    Returns:
        The network, and what became of each of the file's arrays.

    Raises:
        UserError: the file does not fit it, its last layer is for other classes, or it knows frames alone where the
            network is to see differences too.
    """
    model = buildable(described, classes).build(looks_at)
    report = load_weights(model, path)
    if report.reinitialised:
        raise UserError(f"the last layer of {path} does not fit the {classes} classes of {labels_from}.")
    if report.spread:
        raise UserError(f"clip.input is both, but {path} knows frames alone: take clip.input: rgb, or train it.")
    return model, report
