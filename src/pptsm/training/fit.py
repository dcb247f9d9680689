"""What the stages of the roles share: inputs opened, networks built and filled, outputs written whole."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import paddle
import pandas as pd

from pptsm.data.clips import clips_of_a_video, frame_source
from pptsm.data.spec import clip_spec
from pptsm.data.table import in_split, load_index, load_labels
from pptsm.distributed.device import use_device
from pptsm.distributed.launcher import launch
from pptsm.distributed.ranks import Ranks, is_helper
from pptsm.frames.store import Kept
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Params, Role, Teacher
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file, atomic_folder, sha256_of
from pptsm.training.chance_test import judge_network, sentence
from pptsm.training.checkpoint import COLUMNS, Checkpoint
from pptsm.training.deciding import LearnsFrom, deciding_parameters, digest_of_kept
from pptsm.training.groups import most_processes
from pptsm.training.loop import Trained, train
from pptsm.training.objectives import CrossEntropy, Distillation, MutualLearning, Objective
from pptsm.training.out_of_memory import explain_oom
from pptsm.training.provenance import Provenance, code_of
from pptsm.training.run import Run
from pptsm.training.workload import Videos, trainings, work_of
from pptsm.weights.card import PEER, load_network, make_card, network_arguments, read_card, save_network
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import WEIGHTS, as_arrays

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


@dataclass(frozen=True)
class Plan:
    """What a stage trains (or, with 0 epochs, takes as it starts), from what, and where its outputs go."""

    role: str  # "teacher", "student", or "baseline", the student without a teacher
    section: Role  # its section of params.yaml
    inputs: Inputs
    out: Path  # folder for weights and card; a peer's go into a folder of it
    history: Path  # CSV with one row per epoch
    teacher: Path | None = None  # folder of a trained teacher that the student learns from
    peer: Peer | None = None  # the network that the student learns together with; each begins with its own weights

    @property
    def sections(self) -> dict[str, Role]:
        """The networks that learn: name -> section of params.yaml."""
        return {self.role: self.section} | ({PEER: self.peer.section} if self.peer else {})

    @property
    def starts(self) -> dict[str, Path]:
        """The networks that learn: name -> file of the weights to start from, which need not be there."""
        folders = {self.role: self.inputs.start} | ({PEER: self.peer.start} if self.peer else {})
        return {name: folder / WEIGHTS for name, folder in folders.items()}


def fit(plan: Plan, params: Params) -> None:
    """Train one role, in as many processes as `compute.devices` asks for, and write its outputs.

    What does not depend on the process is done here, once: the index is read, files are hashed, and other runs of the
    same training are kept out.

    Raises:
        UserError: as `fit_role`, `launch` and what opens the inputs.
    """
    recipe, compute = params.training, params.compute
    device = use_device(compute.device, compute.devices, deterministic=recipe.deterministic)
    table = load_index(plan.inputs.index)
    labels = load_labels(plan.inputs.labels, table)
    train_videos = in_split(table, "train")
    run = Run(
        params=_with_enough_clips(plan.role, params, len(train_videos), plan.section.epochs),
        spec=clip_spec(params.clip, plan.section.network.num_segments, params.sampling),
        labels=labels,
        train_videos=train_videos,
        val_videos=in_split(table, "val"),
        source=frame_source(params, plan.inputs.frames),
    )
    run = _with_its_work(plan, run, params)
    checkpoint = Checkpoint(plan.role, _provenance(plan, run.params, table), compute.save_every_min)
    batch = min(recipe.batch_size, max(1, len(train_videos) * run.params.training.clips_per_video))
    most = most_processes(batch, recipe, on_gpu=device == "gpu") if plan.section.epochs > 0 else 1
    with checkpoint.lock():
        launch(fit_role, (plan, run, checkpoint), compute, most=most, what=plan.role)


def fit_role(plan: Plan, run: Run, checkpoint: Checkpoint, ranks: Ranks) -> None:
    """Train one role among the ranks that all call this; the first writes the outputs.

    Args:
        plan: what is trained.
        run: parameters and data.
        checkpoint: the state of this training, which the first rank holds.
        ranks: this process and the others.

    Raises:
        UserError: as `train` and `load_weights`, or memory runs out.
    """
    run, checkpoint.ranks = replace(run, ranks=ranks), ranks
    params, epochs = run.params, plan.section.epochs
    use_device(params.compute.device, params.compute.devices, deterministic=params.training.deterministic)
    with checkpoint.handle_signals(), explain_oom(plan.role, params, plan.section.network.num_segments):
        paddle.seed(params.seed)
        objective = _objective(plan, run)
        networks = dict(zip(plan.sections, objective.learners, strict=True))
        trained = Trained([as_arrays(network.state_dict()) for network in networks.values()], NO_EPOCHS)
        verdicts: dict[str, dict[str, Any]] = {}
        if epochs > 0:
            with paddle.utils.unique_name.guard():  # the optimiser numbers its state from 0, whatever was built before
                show = None if ranks.rank else partial(_write_history, path=plan.history)
                trained = train(objective, epochs, run, checkpoint, show)
            for (name, network), weights in zip(networks.items(), trained.weights, strict=True):
                network.set_state_dict(weights)
                verdicts[name] = judge_network(network, name, plan.sections[name], trained.history, run)
                note(sentence(name, verdicts[name]))
        if not ranks.rank:
            _write(plan, run, trained, verdicts, checkpoint.provenance)
            checkpoint.finish()


def _provenance(plan: Plan, params: Params, table: pd.DataFrame) -> Provenance:
    """All that decides the result of a training."""
    inputs = {"the index": sha256_of(plan.inputs.index), "the class names": sha256_of(plan.inputs.labels)}
    for name, start in plan.starts.items():
        what = "the peer's starting weights" if name == PEER else "the starting weights"
        inputs[what] = sha256_of(start) if start.exists() else "random"
    if plan.teacher is not None:
        inputs["the teacher's weights"] = sha256_of(plan.teacher / WEIGHTS)
        inputs["the teacher's network"] = read_card(plan.teacher).network.model_dump_json()
    source = params.frames.source
    if source != "video":
        inputs["the kept frames"] = digest_of_kept(Kept(source, plan.inputs.frames), table)
    sections = {"teacher" if name == PEER else name: section for name, section in plan.sections.items()}
    learns_from: LearnsFrom = "peer" if plan.peer else "teacher" if plan.teacher else "labels"
    return Provenance(deciding_parameters(params, sections, learns_from), inputs, code_of(plan.role, source))


def _objective(plan: Plan, run: Run) -> Objective:
    """What the role learns from, and the networks that learn, in the order of `plan.sections`."""
    smoothing, student = run.params.training.label_smoothing, run.params.student
    model, *others = [_started(name, section, run, plan.starts[name]) for name, section in plan.sections.items()]
    if others:
        return MutualLearning(model, others[0], smoothing, student.distillation.weight)
    if plan.teacher is None:
        return CrossEntropy(model, smoothing)
    how = student.distillation
    return Distillation(model, load_network(plan.teacher), smoothing, how.weight, how.temperature)


def _started(name: str, section: Role, run: Run, weights: Path) -> VideoNetwork:
    """A network with its starting weights; where there is no such file, random ones."""
    num_classes, recipe = len(run.labels), run.params.training
    with paddle.utils.unique_name.guard(f"{name}_"):  # the optimiser keeps its state under these names
        model = network_arguments(section, num_classes).build(run.spec.input)
    if not weights.exists():
        return model
    report = load_weights(model, weights, section.start.min_coverage, new_head=section.start.new_head)
    note(f"{name}: {weights}: {report.summary()}")
    if section.epochs == 0 and report.reinitialised:
        raise UserError(
            f"{name}.epochs is 0, but the last layer of {weights} does not fit {num_classes} classes: "
            "without training it would answer at random. Check index.label_file, or train."
        )
    if report.spread and (section.epochs == 0 or recipe.batch_norm == "frozen" or recipe.freeze_stages):
        raise UserError(
            f"clip.input is both, but {weights} knows frames alone: its first layer has to learn, and {name}.epochs is "
            f"{section.epochs}, training.freeze_stages {recipe.freeze_stages}, training.batch_norm "
            f"{recipe.batch_norm}. Train, with freeze_stages: 0 and batch_norm: local, or take clip.input: rgb."
        )
    return model


def _write(
    plan: Plan, run: Run, trained: Trained, verdicts: Mapping[str, dict[str, Any]], provenance: Provenance
) -> None:
    """The outputs of a trained role: weights and cards, and the history."""
    distilled = plan.teacher is not None or plan.peer is not None
    facts: dict[str, Any] = {
        "revision": provenance.revision(plan.role, trained.weights[0]),
        "distilled": distilled,
        "kept_epoch": trained.kept_epoch,
        "clips_per_step": trained.clips_per_step,
    }
    if distilled:
        how = run.params.student.distillation
        facts["distillation"] = {
            "distillation": how.kind,
            "distillation_weight": how.weight,
            "temperature": how.temperature,
        }
    with atomic_folder(plan.out) as folder:
        for (name, section), weights in zip(plan.sections.items(), trained.weights, strict=True):
            place = folder / PEER if name == PEER else folder
            place.mkdir(exist_ok=True)
            card = make_card(name, section, run.labels, run.spec, **facts, verdict=verdicts.get(name))
            save_network(place, card, weights)
    _write_history(trained.history, plan.history)


def _write_history(history: pd.DataFrame, path: Path) -> None:
    """Write the rows of the epochs: after each of them, for whoever watches the curves, and at the end."""
    with atomic_file(path) as file:
        history.to_csv(file, index=False, float_format="%.6g")


def skip_role(role: str, section: Role, params: Params, labels: Path, out: Path, history: Path, why: str) -> None:
    """The outputs of a role that is not trained: a card that says why, and a history without rows."""
    note(f"{role}: nothing is trained here: {why}")
    with atomic_folder(out) as folder:
        spec = clip_spec(params.clip, section.network.num_segments, params.sampling)
        save_network(folder, make_card(role, section, load_labels(labels), spec, revision="", skipped=why), None)
    _write_history(NO_EPOCHS, history)


def _with_its_work(plan: Plan, run: Run, params: Params) -> Run:
    """The run with the amounts by which it says how long it takes; the first one of a pipeline also what follows it."""
    roles = trainings(params)
    if plan.role not in roles or is_helper():
        return run
    videos = Videos(len(run.train_videos), len(run.val_videos), len(run.labels))
    works = [work_of(role, params, videos) for role in roles if role == plan.role or plan.role == roles[0]]
    work, *follows = sorted(works, key=lambda work: roles.index(work.role))
    return replace(run, work=work, follows=follows)


def _with_enough_clips(role: str, params: Params, videos: int, epochs: int) -> Params:
    """The parameters with the clips per video that this role samples in an epoch, which its checkpoint's key holds."""
    drawn = clips_of_a_video(params.training, videos, epochs)
    if epochs == 0 or drawn == params.training.clips_per_video:
        return params
    note(f"{role}: {drawn} clips of each video per epoch, because of training.min_clips")
    return params.model_copy(update={"training": params.training.model_copy(update={"clips_per_video": drawn})})
