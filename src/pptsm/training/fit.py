"""What the teacher and the student stage share: inputs opened, networks built and filled, outputs written whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
import pandas as pd

from pptsm.console import note
from pptsm.data.clips import frame_source
from pptsm.data.spec import clip_spec
from pptsm.data.table import in_split, load_index, load_labels
from pptsm.errors import UserError
from pptsm.files import sha256_of, whole_file, whole_folder
from pptsm.model.card import PEER, WEIGHTS, load_network, make_card, network_arguments, save_network
from pptsm.model.device import use_device
from pptsm.model.network import VideoNetwork
from pptsm.model.pickles import as_arrays
from pptsm.model.weights import load_weights
from pptsm.params import Params, Role
from pptsm.training.loop import Teaching, Trained, train
from pptsm.training.state import Checkpoint, run_key
from pptsm.training.verdict import judge_network, sentence

NO_EPOCHS = pd.DataFrame(columns=["epoch", "lr", "loss", "cross_entropy", "train_top1", "clips_per_sec"])


@dataclass(frozen=True)
class Inputs:
    """Files that the stages hand on."""

    index: Path
    labels: Path
    frames: Path
    pretrained: Path  # folder of weights to start from, a file a role; a role's file may be missing


def fit_role(
    role: str,
    section: Role,
    params: Params,
    inputs: Inputs,
    out: Path,
    history: Path,
    *,
    teacher: Path | None = None,
    peer: Role | None = None,
) -> None:
    """Train one role (or, with 0 epochs, take its starting weights) and write its outputs.

    Args:
        role: "teacher" or "student".
        section: its section of params.yaml.
        params: all parameters.
        inputs: files of the stages before.
        out: folder for weights and card; a peer's go into a folder of it.
        history: CSV with a row an epoch.
        teacher: folder of a trained teacher that the student learns from.
        peer: the network that the student learns together with; both begin with weights of their own.
    """
    use_device(params.compute.device)
    labels = load_labels(inputs.labels)
    spec = clip_spec(params.clip, section.segments, params.sampling)
    table = load_index(inputs.index)
    paddle.seed(params.seed)
    model, start = _starting(role, section, len(labels), inputs.pretrained / f"{role}.pdparams")
    networks, decides = {role: (section, model)}, {"pretrained": start}
    teaching, student = None, params.student
    if teacher is not None:
        taught_by = load_network(teacher)
        teaching = Teaching(taught_by, "hinton", student.distillation_weight, student.temperature)
        decides["teacher"] = sha256_of(teacher / WEIGHTS)
    if peer is not None:
        other, start = _starting(PEER, peer, len(labels), inputs.pretrained / "teacher.pdparams")
        teaching = Teaching(other, "mutual", student.distillation_weight, student.temperature)
        networks[PEER], decides["peer_pretrained"] = (peer, other), start

    key = run_key(
        role,
        sections=[section.model_dump() for section, _ in networks.values()],
        params=params.model_dump(include={"seed", "sampling", "frames", "clip", "training"}),
        index=sha256_of(inputs.index),
        labels=sha256_of(inputs.labels),
        **decides,
    )
    checkpoint = Checkpoint(key)
    trained = Trained([as_arrays(model.state_dict())], NO_EPOCHS)
    verdicts: dict[str, dict[str, Any] | None] = dict.fromkeys(networks)
    if section.epochs > 0:
        data: dict[str, Any] = {
            "params": params,
            "spec": spec,
            "labels": labels,
            "train_videos": in_split(table, "train"),
            "val_videos": in_split(table, "val"),
            "source": frame_source(params, inputs.frames),
        }
        trained = train(model, role=role, epochs=section.epochs, checkpoint=checkpoint, teaching=teaching, **data)
        last = trained.history.iloc[-1]
        for (name, (_, network)), weights in zip(networks.items(), trained.weights, strict=True):
            network.set_state_dict(weights)
            train_top1 = float(last["peer_train_top1" if name == PEER else "train_top1"])
            verdict = verdicts[name] = judge_network(network, name, train_top1=train_top1, **data)
            if not verdict["above_chance"]:
                note(sentence(name, verdict))
    with whole_folder(out) as folder:
        for (name, (its_section, _)), weights in zip(networks.items(), trained.weights, strict=True):
            place = folder / PEER if name == PEER else folder
            place.mkdir(exist_ok=True)
            distilled = teaching is not None
            facts: dict[str, Any] = {"revision": key, "distilled": distilled, "verdict": verdicts[name]}
            save_network(place, make_card(name, its_section, labels, spec, **facts), weights)
    with whole_file(history) as partial:
        trained.history.to_csv(partial, index=False, float_format="%.6g")
    checkpoint.remove()


def skip_role(role: str, section: Role, params: Params, labels: Path, out: Path, history: Path, why: str) -> None:
    """The outputs of a role that is not trained: a card that says why, and a history without rows."""
    note(f"{role}: nothing is trained here: {why}")
    with whole_folder(out) as folder:
        spec = clip_spec(params.clip, section.segments, params.sampling)
        save_network(folder, make_card(role, section, load_labels(labels), spec, revision="", skipped=why), None)
    with whole_file(history) as partial:
        NO_EPOCHS.to_csv(partial, index=False)


def _starting(role: str, section: Role, num_classes: int, weights: Path) -> tuple[VideoNetwork, str | None]:
    """A network with its starting weights, and the hash of the file they came from (None: random)."""
    with paddle.utils.unique_name.guard(f"{role}_"):  # the optimiser keeps its state under these names
        model = network_arguments(section, num_classes).build()
    if not weights.exists():
        return model, None
    report = load_weights(model, weights, section.min_coverage, new_head=section.new_head)
    note(f"{role}: {weights}: {report.summary()}")
    if section.epochs == 0 and report.reinitialised:
        raise UserError(
            f"{role}.epochs is 0, but the last layer of {weights} does not fit {num_classes} classes: "
            "without training it would answer at random. Check index.label_file, or train."
        )
    return model, sha256_of(weights)
