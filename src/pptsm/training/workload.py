"""How much a training computes, known before it begins: its clips, and the multiplications of one of them."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paddle

from pptsm.data.clips import clips_of_a_video
from pptsm.data.spec import ClipSpec, clip_spec
from pptsm.model.cost import count_macs
from pptsm.params.schema import Params, Role, Training
from pptsm.runtime.cores import cores, cpu_processes, processor_name
from pptsm.training.batchnorm import statistics_are_due
from pptsm.weights.card import network_arguments

FORWARD = 1 / 3  # of a training step: the other two thirds are gradients of values and of weights
MEASURED_CLIPS = 4
KIND = "training"  # of what is remembered (`pptsm.runtime.memory`)


@dataclass(frozen=True)
class Videos:
    """How many there are, and of how many classes."""

    train: int
    val: int
    classes: int


@dataclass(frozen=True)
class Work:
    """One role's training as an amount; every clip that is only looked at counts as `FORWARD` clips."""

    role: str
    clips: float
    macs: float  # multiplications of a clip that is learned from, gradients included
    key: str  # under which the speed of such a training on this machine is remembered


def whole_batches(clips: int, batch_size: int) -> int:
    """How many of an epoch's clips are learned from: those in whole batches, or all where they fill none."""
    return clips if clips < batch_size else clips // batch_size * batch_size


def clips_looked_at(recipe: Training, epoch: int, epochs: int, per_epoch: int, val_videos: int, learners: int) -> float:
    """What follows the steps of an epoch (0-based, of so many), as clips: batch norm statistics and validation.

    Args:
        recipe: section training.
        epoch, epochs: which, and of how many.
        per_epoch: clips in whole batches.
        val_videos: seen once after each epoch.
        learners: networks that learn.
    """
    due = statistics_are_due(epoch, epochs, recipe.precise_bn_every)
    of_statistics = min(recipe.precise_bn_batches * recipe.batch_size, per_epoch) * learners if due else 0
    return (of_statistics + val_videos) * FORWARD


def trainings(params: Params) -> list[str]:
    """The roles that are trained, in the order of the graph."""
    student, teacher = params.student, params.teacher
    found = ["teacher"] if teacher.enabled and teacher.epochs and student.distillation.kind == "hinton" else []
    found += ["student"] if student.epochs else []
    return found + (["baseline"] if student.baseline and student.epochs else [])


def work_of(role: str, params: Params, videos: Videos) -> Work:
    """What the training of a role will be. Its networks are built once, and see one clip of zeros.

    Args:
        role: "teacher", "student" or "baseline".
        params: all parameters, as params.yaml has them.
        videos: of the index.
    """
    recipe = params.training
    learning, teacher = _networks(role, params)
    first = next(iter(learning.values()))
    spec = clip_spec(params.clip, first.network.num_segments, params.sampling)
    per_video = clips_of_a_video(recipe, videos.train, first.epochs)
    per_epoch = whole_batches(videos.train * per_video, recipe.batch_size)
    clips = per_epoch * first.epochs + videos.val * FORWARD  # the verdict
    for epoch in range(first.epochs):
        clips += clips_looked_at(recipe, epoch, first.epochs, per_epoch, videos.val, len(learning))
    macs = sum(_macs(section, spec, videos.classes) for section in learning.values()) / FORWARD
    if teacher is not None:
        macs += _macs(teacher, spec, videos.classes)
    return Work(role, clips, macs, _key(learning, teacher, spec, params))


def measured_macs_per_sec(params: Params, classes: int) -> float:
    """How fast this machine's cores compute the gradients of the student, from one step on a few clips of nothing."""
    section = params.student
    spec = clip_spec(params.clip, section.network.num_segments, params.sampling)
    clips = min(params.training.batch_norm_clips, MEASURED_CLIPS)
    with paddle.utils.unique_name.guard("measured_"):
        network = network_arguments(section, classes).build(spec.input)
    macs = count_macs(network, (spec.segments, 3, spec.crop_px, spec.crop_px))
    pixels = paddle.zeros([clips, spec.segments, 3, spec.crop_px, spec.crop_px])
    seconds = 0.0
    for _ in range(2):  # the first one also finds memory
        started = time.monotonic()
        network(pixels).mean().backward()
        seconds = time.monotonic() - started
    devices = params.compute.devices
    return clips * macs / FORWARD / seconds * cpu_processes(devices if isinstance(devices, int) else "auto")


def _networks(role: str, params: Params) -> tuple[dict[str, Role], Role | None]:
    """The sections of the networks that learn in a role's training, and that of a fixed one."""
    if role == "teacher":
        return {role: params.teacher}, None
    how = params.student.distillation
    if role == "baseline" or not how.weight:
        return {role: params.student}, None
    if how.kind == "mutual":
        return {role: params.student, "peer": params.teacher}, None
    return {role: params.student}, params.teacher


def _macs(section: Role, spec: ClipSpec, classes: int) -> int:
    with paddle.utils.unique_name.guard("counted_"):
        network = network_arguments(section, classes).build(spec.input)
    network.eval()
    return count_macs(network, (spec.segments, 3, spec.crop_px, spec.crop_px))


def _key(learning: Mapping[str, Role], teacher: Role | None, spec: ClipSpec, params: Params) -> str:
    recipe, compute = params.training, params.compute
    facts: list[Any] = [
        processor_name(),
        cores(),
        paddle.__version__,
        [compute.device, compute.devices, compute.workers],
        [section.network.model_dump() for section in learning.values()],
        teacher and teacher.network.model_dump(),
        spec.model_dump(mode="json"),
        [recipe.batch_size, recipe.batch_norm_clips, recipe.batch_norm, recipe.freeze_stages, recipe.amp],
        params.frames.source,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
