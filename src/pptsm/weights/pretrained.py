"""The weights that a role starts from, in a folder: fetched, looked into, and with a note of where they came from."""

import json
import shutil
from pathlib import Path

from pptsm.runtime.console import note
from pptsm.runtime.files import atomic_folder, sha256_of
from pptsm.weights.download import locate_weights
from pptsm.weights.state_dict import WEIGHTS, read_weights


def fetch_start(role: str, source: str | None, sha256: str | None, out: Path) -> None:
    """Write a folder with `source.json` and, unless the role starts at random, `weights.pdparams`.

    Args:
        role: for the log.
        source: a file, a URL, a name that `pptsm weights` lists, or None for random weights.
        sha256: what the file must hash to (or begin with), or None.
        out: the folder to write.

    Raises:
        UserError: the weights are not to be had, or are no weights; refused here rather than an hour later.
    """
    with atomic_folder(out) as folder:
        origin: dict[str, str | None] = {"source": source, "sha256": None}
        if source is None:
            note(f"{role} starts from random weights")
        else:
            path = locate_weights(source, sha256)
            read_weights(path)
            shutil.copyfile(path, folder / WEIGHTS)
            origin["sha256"] = sha256_of(path)
            note(f"{role} starts from {path.name}")
        (folder / "source.json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
