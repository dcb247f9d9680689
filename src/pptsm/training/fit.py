"""What the teacher and the student stage share: inputs opened, network built and filled, outputs written whole."""

from dataclasses import dataclass
from pathlib import Path

import paddle
import pandas as pd

from pptsm.console import note
from pptsm.data.clips import frame_source
from pptsm.data.table import in_split, load_index, load_labels
from pptsm.errors import UserError
from pptsm.files import sha256_of, whole_file, whole_folder
from pptsm.model.device import use_device
from pptsm.model.pickles import as_arrays
from pptsm.model.roles import build_role, save_role
from pptsm.model.weights import load_weights
from pptsm.params import Params, Student, Teacher
from pptsm.training.checkpoint import Checkpoint, run_key
from pptsm.training.loop import Teaching, Trained, train

NO_EPOCHS = pd.DataFrame(columns=["epoch", "lr", "loss", "train_top1", "clips_per_sec"])


@dataclass(frozen=True)
class Inputs:
    """Files that the stages hand on."""

    index: Path
    labels: Path
    frames: Path
    pretrained: Path  # a weights file; it may be missing


def fit_role(
    role: str,
    section: Teacher | Student,
    params: Params,
    inputs: Inputs,
    out: Path,
    history: Path,
    teaching: Teaching | None = None,
    **decides: str,
) -> None:
    """Train one role (or, with 0 epochs, take its starting weights) and write its outputs.

    Args:
        role: "teacher" or "student".
        section: its section of params.yaml.
        params: all parameters.
        inputs: files of the stages before.
        out: folder for weights and card.
        history: CSV with a row an epoch.
        teaching: what the student learns from.
        decides: hashes of further inputs that decide the result.
    """
    use_device(params.training.device)
    labels = load_labels(inputs.labels)
    table = load_index(inputs.index)
    paddle.seed(params.seed)
    with paddle.utils.unique_name.guard(f"{role}_"):  # the optimiser keeps its state under these names
        model = build_role(params, section, len(labels))
    if inputs.pretrained.exists():
        wanted = params.pretrained
        report = load_weights(model, inputs.pretrained, wanted.min_coverage, new_head=wanted.new_head)
        note(f"{role}: {inputs.pretrained}: {report.summary()}")
        if section.epochs == 0 and report.reinitialised:
            raise UserError(
                f"{role}.epochs is 0, but the last layer of {inputs.pretrained} does not fit {len(labels)} classes: "
                "without training it would answer at random. Check index.label_file, or train."
            )
        decides["pretrained"] = sha256_of(inputs.pretrained)

    key = run_key(
        role,
        section=section.model_dump(),
        params=params.model_dump(include={"seed", "sampling", "frames", "clip", "model", "training"}),
        index=sha256_of(inputs.index),
        labels=sha256_of(inputs.labels),
        new_head=params.pretrained.new_head,
        **decides,
    )
    checkpoint = Checkpoint(key)
    trained = Trained(as_arrays(model.state_dict()), NO_EPOCHS)
    if section.epochs > 0:
        trained = train(
            model,
            role=role,
            epochs=section.epochs,
            params=params,
            labels=labels,
            train_videos=in_split(table, "train"),
            val_videos=in_split(table, "val"),
            source=frame_source(params, inputs.frames),
            checkpoint=checkpoint,
            teaching=teaching,
        )
    with whole_folder(out) as folder:
        save_role(folder, role, section, key, trained.weights)
    with whole_file(history) as partial:
        trained.history.to_csv(partial, index=False, float_format="%.6g")
    checkpoint.remove()


def skip_role(role: str, section: Teacher | Student, out: Path, history: Path) -> None:
    """The outputs of a role that is switched off: a card that says so, and a history without rows."""
    with whole_folder(out) as folder:
        save_role(folder, role, section, revision="", weights=None)
    with whole_file(history) as partial:
        NO_EPOCHS.to_csv(partial, index=False)
