"""The list of networks that stage `also` found, as stage `evaluate_also` reads it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pptsm.runtime.errors import unusable

LIST = "networks.json"
KEY = "evaluate.also"

Kind = Literal["onnx", "card", "published"]


@dataclass(frozen=True)
class Named:
    """A network of the list."""

    name: str  # as it stands in the list
    kind: Kind  # an exported file | weights with their card | published weights, whose row says the rest
    folder: str  # below the folder of links
    file: str  # in it: the exported file or the weights
    published: str | None = None  # its publisher's figure
    described: dict[str, Any] | None = None  # of published weights: `network`, `clip` and `labels`


def read_networks(folder: Path) -> list[Named]:
    """The list in the folder of stage `also`.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / LIST
    try:
        return [Named(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except OSError as error:
        raise unusable("the networks of the list", path, error.strerror or str(error), "also") from None
    except (ValueError, TypeError) as error:
        raise unusable("the networks of the list", path, f"it is damaged ({error})", "also") from None
