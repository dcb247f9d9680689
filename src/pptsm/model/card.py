"""Teacher and student as networks: built from params.yaml, written to and read from a stage's folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pptsm.model.device import computed_with
from pptsm.model.dialects import Arrays
from pptsm.model.network import VideoNetwork, build_model
from pptsm.model.pickles import write_arrays
from pptsm.model.weights import load_weights
from pptsm.params import Params, Student, Teacher

WEIGHTS = "weights.pdparams"
CARD = "card.json"
PEER = "peer"  # folder below the student's, of the network that learned beside it


def build_role(params: Params, section: Teacher | Student, num_classes: int) -> VideoNetwork:
    """The network that params.yaml describes for one role, with fresh weights."""
    return build_model(
        params.model.network,
        section.depth,
        num_classes,
        params.clip.num_segments,
        width=section.width,
        shift=params.model.shift,
        shift_ratio=params.model.shift_ratio,
        activation=params.model.activation,
        dropout=params.model.dropout,
    )


def load_role(params: Params, section: Teacher | Student, folder: Path, num_classes: int) -> VideoNetwork:
    """A trained role from its stage's output folder, in evaluation mode."""
    model = build_role(params, section, num_classes)
    load_weights(model, folder / WEIGHTS)
    model.eval()
    return model


def save_role(
    folder: Path,
    role: str,
    section: Teacher | Student,
    revision: str,
    weights: Arrays | None,
    *,
    distilled: bool = False,
    verdict: dict[str, Any] | None = None,
    skipped: str | None = None,
) -> None:
    """Write a role's weights, readable by `paddle.load`, and its card; the same weights give the same bytes.

    Args:
        folder: an existing folder.
        role: "teacher", "student" or "peer".
        section: its section of params.yaml.
        revision: names the parameters and inputs of its training by their hash.
        weights: None where nothing was trained.
        distilled: whether another network had a part in its loss.
        verdict: whether it is above chance (`pptsm.training.verdict`); None where that was not asked.
        skipped: why there are no weights.
    """
    if weights is not None:
        write_arrays(folder / WEIGHTS, {key: np.ascontiguousarray(value) for key, value in weights.items()})
    card = {"role": role, "revision": revision, **section.model_dump()}
    card |= {"distilled": distilled, "verdict": verdict, "skipped": skipped, "computed_with": computed_with()}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """The card that `save_role` wrote."""
    card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return card
