"""The networks that evaluate.also names: each found, of a kind that is known, and linked to in a folder.

DVC follows links to files, so the folder changes when one of the files does.
"""

import difflib
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pptsm.data.spec import clip_spec
from pptsm.deploy.named import KEY, LIST, Kind, Named
from pptsm.ingest.texts import read_label_file
from pptsm.params.packaged import packaged
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.runtime.errors import UserError
from pptsm.serving.package_folder import MODEL_FILE
from pptsm.weights.download import locate_weights
from pptsm.weights.registry import KnownWeights, evaluable_weights, known_by_file, known_weights
from pptsm.weights.state_dict import WEIGHTS

CARD = "card.json"  # as `pptsm.weights.card` has it, which needs Paddle
OF_WEIGHTS = (".pdparams", ".pth", ".pt", ".safetensors")
# What describes published weights beside their row: named here, so that the code of stage `also` has them in it.
DESCRIBED_IN = ("base.yaml", "k400-r50-uniform.yaml", "eval.yaml", "kinetics400.txt", "fight.txt")


def find_networks(names: Sequence[str], out: Path, allowed: Callable[[Path], bool]) -> list[Named]:
    """Find the networks of a list, fetch what is known by name, and fill an empty folder with links to their files.

    Args:
        names: names that `pptsm weights` lists, or paths.
        out: an existing folder.
        allowed: whether a path may be named: what this run makes only later may not.

    Raises:
        UserError: naming the network: nothing is there, it may not be named, or it is not known what network is in it.
        DownloadError: published weights could not be fetched.
    """
    found = [_find(name, out, allowed) for name in names]
    text = json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False)
    (out / LIST).write_text(text + "\n", encoding="utf-8")
    return found


def _find(name: str, out: Path, allowed: Callable[[Path], bool]) -> Named:
    if name in known_weights():
        row = _evaluable(name)
        return _linked(name, "published", [locate_weights(name, row.sha256)], out, row)
    path = packaged(Path(name))
    if not path.exists():
        close = difflib.get_close_matches(name, known_weights(), n=1)
        hint = f' (did you mean "{close[0]}"?)' if close else ""
        raise UserError(
            f"{KEY} names {name!r}, but there is no such file or folder (looked from {Path.cwd()}), and no known "
            f"weights are called so{hint}. `pptsm weights` lists those; a path is best absolute."
        )
    if not allowed(path):
        raise UserError(
            f"{KEY} names {name!r}, which a stage of this pipeline writes, perhaps only after this one. Copy it to a "
            f"place of its own (cp -r {shlex.quote(name)} FOLDER) and name that."
        )
    path = path.parent if path.name == CARD else path
    if path.is_dir():
        return _of_folder(name, path, out)
    if path.suffix == ".onnx":
        return _linked(name, "onnx", [path], out)
    if path.name == WEIGHTS and (path.parent / CARD).is_file():
        return _of_folder(name, path.parent, out)
    if path.suffix in OF_WEIGHTS:
        if (known := known_by_file(path.name)) is None:
            raise UserError(
                f"{KEY} names {name!r}, but what network is in it is not known: there is no {CARD} beside it, and its "
                "name is none of a published file. Name the folder of weights with its card, or turn the file into an "
                "ONNX file, which says all: `pptsm convert FILE --params PARAMS --out model.onnx`."
            )
        return _linked(name, "published", [path], out, _evaluable(known.name))
    raise UserError(
        f"{KEY} names {name!r}, which is neither an ONNX file, nor weights ({', '.join(OF_WEIGHTS)}), nor a folder "
        f"with {CARD} or {MODEL_FILE}."
    )


def _evaluable(name: str) -> KnownWeights:
    try:
        return evaluable_weights(name)
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from None


def _of_folder(name: str, folder: Path, out: Path) -> Named:
    """A folder of weights, or a package."""
    if not (folder / CARD).is_file():
        if (folder / MODEL_FILE).is_file():
            return _linked(name, "onnx", [folder / MODEL_FILE], out)
        raise UserError(
            f"{KEY} names the folder {name!r}, but it has neither {CARD} with {WEIGHTS}, as a training writes them, "
            f"nor {MODEL_FILE}, as a package has it."
        )
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{KEY} names the folder {name!r}, whose {CARD} has no {WEIGHTS} beside it: nothing was trained."
        )
    return _linked(name, "card", [folder / WEIGHTS, folder / CARD], out)


def _linked(name: str, kind: Kind, files: list[Path], out: Path, row: KnownWeights | None = None) -> Named:
    """A folder of its own, because files of several networks have the same name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name)[-40:].lstrip(".-")
    folder = out / f"{plain or 'network'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    folder.mkdir()
    for file in files:
        (folder / file.name).symlink_to(file.absolute())
    if row is None:
        return Named(name, kind, folder.name, files[0].name)
    return Named(name, kind, folder.name, files[0].name, row.published, _described(row))


def _described(row: KnownWeights) -> dict[str, Any]:
    """What evaluating published weights needs beside their file."""
    params = chosen_params(PRESETS, Choice("eval", row.name))
    network = params.student.network
    clip = clip_spec(params.clip, network.num_segments, params.sampling)
    labels = read_label_file(str(params.index.label_file))
    return {"network": network.model_dump(), "clip": json.loads(clip.model_dump_json()), "labels": labels}
