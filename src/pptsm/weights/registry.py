"""The weights that others have published and that are known by name: rows of known_weights.yaml."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from pptsm.runtime.errors import UserError


@dataclass(frozen=True)
class KnownWeights:
    """A row of known_weights.yaml."""

    name: str
    url: str
    note: str
    published: str | None = None  # its publisher's figure
    sha256: str | None = None  # the whole digest, or as many first digits as are published
    params: dict[str, Any] | None = None  # what evaluating it needs beside preset `eval`; None: it cannot be


def known_weights() -> dict[str, KnownWeights]:
    """The registry of published weights, by name."""
    text = resources.files("pptsm.weights").joinpath("known_weights.yaml").read_text(encoding="utf-8")
    return {name: KnownWeights(name, **row) for name, row in YAML(typ="safe").load(text).items()}


def known_by_file(source: str) -> KnownWeights | None:
    """The row that a name, or a file or URL that ends in the published file's name, stands for."""
    known = known_weights()
    by_file = {Path(urlsplit(row.url).path).name: row for row in known.values()}
    return known.get(source) or by_file.get(Path(urlsplit(source).path).name)


def evaluable_weights(name: str) -> KnownWeights:
    """The row of weights that classify actions with a network of this project.

    Raises:
        UserError: there is no such name, or it is a start for training, or its network is not built here.
    """
    known = known_weights()
    if name in known and known[name].params is not None:
        return known[name]
    problem = f"they are {known[name].note}: only to be fetched, or to start from" if name in known else "unknown name"
    rows = ", ".join(row.name for row in known.values() if row.params is not None)
    raise UserError(f"weights {name!r} cannot be evaluated: {problem}. Those that can be are {rows}.")
