"""What the teacher and the student stage share: inputs opened, networks built and filled, outputs written whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
import pandas as pd

from pptsm.data.clips import clips_of_a_video, frame_source
from pptsm.data.spec import clip_spec
from pptsm.data.table import in_split, load_index, load_labels
from pptsm.distributed.device import use_device
from pptsm.distributed.ranks import together
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Params, Role, Teacher
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import sha256_of, whole_file, whole_folder
from pptsm.training.chance_test import judge_network, sentence
from pptsm.training.checkpoint import Checkpoint, MadeOf, code_of
from pptsm.training.deciding import LearnsFrom, deciding_parameters, digest_of_kept
from pptsm.training.groups import most_processes
from pptsm.training.loop import Trained, train
from pptsm.training.objectives import Hinton, Mutual, Objective, Plain
from pptsm.training.out_of_memory import told_if_it_runs_out
from pptsm.weights.card import PEER, load_network, make_card, network_arguments, read_card, save_network
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import WEIGHTS, as_arrays

COLUMNS = ["epoch", "lr", "loss", "cross_entropy", "train_top1", "clips_per_sec", "wait_share", "kept"]
NO_EPOCHS = pd.DataFrame(columns=COLUMNS)


@dataclass(frozen=True)
class Peer:
    """A network that the student learns together with: the teacher's, from the teacher's start."""

    section: Teacher
    start: Path


@dataclass(frozen=True)
class Inputs:
    """Files that the stages hand on."""

    index: Path
    labels: Path
    frames: Path
    start: Path  # folder of the weights to start from; without them the start is random


def fit_role(
    role: str,
    section: Role,
    params: Params,
    inputs: Inputs,
    out: Path,
    history: Path,
    *,
    teacher: Path | None = None,
    peer: Peer | None = None,
) -> None:
    """Train one role (or, with 0 epochs, take its starting weights) and write its outputs.

    Args:
        role: "teacher", "student", or "baseline", the student without a teacher.
        section: its section of params.yaml.
        params: all parameters.
        inputs: files of the stages before.
        out: folder for weights and card; a peer's go into a folder of it.
        history: CSV with a row an epoch.
        teacher: folder of a trained teacher that the student learns from.
        peer: the network that the student learns together with; both begin with weights of their own.

    Raises:
        UserError: as `train`, `together` and what opens the inputs.
    """
    call = dict(locals())  # as the other ranks are to make it
    device = use_device(params.compute.device, params.compute.devices, deterministic=params.training.deterministic)
    table = load_index(inputs.index)
    labels = load_labels(inputs.labels, table)
    spec = clip_spec(params.clip, section.network.num_segments, params.sampling)
    train_videos = in_split(table, "train")
    params = _with_enough_clips(role, params, len(train_videos), section.epochs)
    paddle.seed(params.seed)
    model, start = _starting(role, section, len(labels), inputs.start)
    networks = {role: (section, model)}
    hashes = {"the index": sha256_of(inputs.index), "the class names": sha256_of(inputs.labels)}
    hashes["the starting weights"] = start or "random"
    smoothing, student = params.training.label_smoothing, params.student
    objective: Objective = Plain(model, smoothing)
    if teacher is not None:
        taught_by = load_network(teacher)
        objective = Hinton(model, taught_by, smoothing, student.distillation.weight, student.distillation.temperature)
        hashes["the teacher's weights"] = sha256_of(teacher / WEIGHTS)
        hashes["the teacher's network"] = read_card(teacher).network.model_dump_json()
    if peer is not None:
        other, start = _starting(PEER, peer.section, len(labels), peer.start)
        hashes["the peer's starting weights"] = start or "random"
        objective = Mutual(model, other, smoothing, student.distillation.weight)
        networks[PEER] = peer.section, other

    if params.frames.source != "video":
        hashes["the kept frames"] = digest_of_kept(params.frames.source, inputs.frames, table)
    sections = {"teacher" if name == PEER else name: its_section for name, (its_section, _) in networks.items()}
    learns_from: LearnsFrom = "peer" if peer else "teacher" if teacher else "labels"
    parameters = deciding_parameters(params, sections, learns_from)
    made_of = MadeOf(parameters, hashes, code_of(role, params.frames.source))
    checkpoint = Checkpoint(role, made_of, params.compute.save_every_min)
    batch = min(params.training.batch_size, max(1, len(train_videos) * params.training.clips_per_video))
    most = most_processes(batch, params.training, on_gpu=device == "gpu") if section.epochs > 0 else 1
    with (
        checkpoint.held(),
        told_if_it_runs_out(role, params, section.network.num_segments),
        together(fit_role, call, params.compute, most, role) as ranks,
    ):
        checkpoint.ranks = ranks
        trained = Trained([as_arrays(model.state_dict())], NO_EPOCHS)
        verdicts: dict[str, dict[str, Any] | None] = dict.fromkeys(networks)
        if section.epochs > 0:
            data: dict[str, Any] = {
                "params": params,
                "spec": spec,
                "labels": labels,
                "train_videos": train_videos,
                "val_videos": in_split(table, "val"),
                "source": frame_source(params, inputs.frames),
                "ranks": ranks,
            }
            with paddle.utils.unique_name.guard():  # the optimiser numbers its state from 0, whatever was built before
                trained = train(objective, role=role, epochs=section.epochs, checkpoint=checkpoint, **data)
            last = trained.history.iloc[-1]
            for (name, (its_section, network)), weights in zip(networks.items(), trained.weights, strict=True):
                network.set_state_dict(weights)
                train_top1 = float(last["peer_train_top1" if name == PEER else "train_top1"])
                verdict = judge_network(network, name, its_section, trained.history, train_top1, **data)
                verdicts[name] = verdict
                note(sentence(name, verdict))
        if ranks.rank:
            return  # the first writes for all
        with whole_folder(out) as folder:
            for (name, (its_section, _)), weights in zip(networks.items(), trained.weights, strict=True):
                place = folder / PEER if name == PEER else folder
                place.mkdir(exist_ok=True)
                distilled = teacher is not None or peer is not None
                facts: dict[str, Any] = {
                    "revision": made_of.revision(role, trained.weights[0]),
                    "distilled": distilled,
                    "verdict": verdicts[name],
                    "kept_epoch": trained.kept_epoch,
                    "clips_per_step": trained.clips_per_step,
                }
                if distilled:
                    how = student.distillation
                    facts["distillation"] = {
                        "distillation": how.kind,
                        "distillation_weight": how.weight,
                        "temperature": how.temperature,
                    }
                save_network(place, make_card(name, its_section, labels, spec, **facts), weights)
        with whole_file(history) as partial:
            trained.history.to_csv(partial, index=False, float_format="%.6g")
        checkpoint.finish()


def skip_role(role: str, section: Role, params: Params, labels: Path, out: Path, history: Path, why: str) -> None:
    """The outputs of a role that is not trained: a card that says why, and a history without rows."""
    note(f"{role}: nothing is trained here: {why}")
    with whole_folder(out) as folder:
        spec = clip_spec(params.clip, section.network.num_segments, params.sampling)
        save_network(folder, make_card(role, section, load_labels(labels), spec, revision="", skipped=why), None)
    with whole_file(history) as partial:
        NO_EPOCHS.to_csv(partial, index=False)


def _with_enough_clips(role: str, params: Params, videos: int, epochs: int) -> Params:
    """The parameters with the clips a video that this role draws in an epoch, which its checkpoint's key then holds."""
    drawn = clips_of_a_video(params.training, videos, epochs)
    if epochs == 0 or drawn == params.training.clips_per_video:
        return params
    note(f"{role}: {drawn} clips of each video an epoch, as training.min_clips asks")
    return params.model_copy(update={"training": params.training.model_copy(update={"clips_per_video": drawn})})


def _starting(role: str, section: Role, num_classes: int, start: Path) -> tuple[VideoNetwork, str | None]:
    """A network with its starting weights, and the hash of the file they came from (None: random)."""
    weights = start / WEIGHTS
    with paddle.utils.unique_name.guard(f"{role}_"):  # the optimiser keeps its state under these names
        model = network_arguments(section, num_classes).build()
    if not weights.exists():
        return model, None
    report = load_weights(model, weights, section.start.min_coverage, new_head=section.start.new_head)
    note(f"{role}: {weights}: {report.summary()}")
    if section.epochs == 0 and report.reinitialised:
        raise UserError(
            f"{role}.epochs is 0, but the last layer of {weights} does not fit {num_classes} classes: "
            "without training it would answer at random. Check index.label_file, or train."
        )
    return model, sha256_of(weights)
