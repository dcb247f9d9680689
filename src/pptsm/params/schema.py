"""params.yaml as frozen, strict models: one class per section, each field with its range.

There are no default values here: what is not written in params.yaml would not be seen by DVC, and a
changed default would leave stale outputs behind. What a field means stands beside it in params.yaml.
"""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pptsm.params.choices import (
    NUMBERED_FRAMES,
    Aspect,
    Crops,
    FrameRule,
    Input,
    Precision,
    Runtime,
    Sampling,
    Source,
    StoredAs,
)
from pptsm.params.network import NetworkArguments
from pptsm.params.section import Section

# Upper bounds: no machine could do more, no dataset has more. What is above them is a slip of the key, and would end in
# a trace or run for ever.
Count = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveReal = Annotated[float, Field(gt=0, le=1e9)]
NonNegativeReal = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[
    float, Field(gt=0, le=1e29)
]  # where a loss ends as no number; a learning rate, a multiple of it, or the like
Epochs = Annotated[int, Field(ge=0, le=100_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=16, le=8192)]  # pixels
Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]  # that somebody waits
MOST_PROCESSES = 1024
PATTERN_GROUPS = {"label", "group", "split"}  # what index.pattern may tell
# What stands for "no such file" in params.yaml: DVC takes the content of a list as a dependency, and null has none.
NO_FILE = "presets/none"
ROLES = ("teacher", "peer", "baseline", "student")  # of the networks of a run
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]


Device = Literal["auto", "cpu", "gpu"]
Amp = Literal["none", "fp16", "bf16"]


def _different(numbers: list[int]) -> list[int]:
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"names a GPU twice: {numbers}")
    return numbers


# All there are, a number of processes on CPUs, or the numbers of GPUs.
Devices = (
    Literal["auto"]
    | Annotated[int, Field(ge=1, le=MOST_PROCESSES)]
    | Annotated[list[Annotated[int, Field(ge=0, lt=MOST_PROCESSES)]], Field(min_length=1), AfterValidator(_different)]
)


def _path_text(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError("is no path: it is empty, or has a NUL character in it")
    return value


def _file_or_none(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError(f"write {NO_FILE} where there is no file")
    return None if value == NO_FILE else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"names a precision now, none, fp16 or bf16: write {'fp16' if value else 'none'} for {value}")
    return value


PathText = Annotated[str, AfterValidator(_path_text)]


def _as_list(value: Any) -> Any:
    if value is None or value in ("", NO_FILE):
        return []
    return [value] if isinstance(value, str) else value


def _no_role(value: str) -> str:
    if value in ROLES:
        raise ValueError(f"is what the report calls a network of this run: write ./{value} for a folder of that name")
    return value


Annotations = Annotated[list[PathText], BeforeValidator(_as_list)]
AnnotationFormat = Literal["auto", "csv", "kinetics", "ucf101", "hmdb51", "ssv2", "list", "paddlex"]
ListFile = Annotated[
    str | None, BeforeValidator(_file_or_none), AfterValidator(lambda value: value and _path_text(value))
]


def _frame_name(value: str) -> str:
    if not re.fullmatch(NUMBERED_FRAMES, value):
        raise ValueError("is no name of numbered frames: write it as img_%05d.jpg, one number, ending in .jpg or .jpeg")
    return value


class Motion(Section):
    videos_per_class: Annotated[int, Field(ge=0, le=1_000_000)]
    seed: Seed
    groups: Annotated[int, Field(ge=1, le=1_000_000)]
    frame_px: Annotated[int, Field(ge=32, le=4096, multiple_of=2)]
    num_frames: Annotated[int, Field(ge=2, le=100_000)]
    fps: Annotated[int, Field(ge=1, le=1000)]
    codec: Literal["h264", "mpeg4"]
    noise: Share
    extent: Annotated[float, Field(gt=0, le=1)]


class Index(Section):
    root: PathText
    pattern: str
    frame_name: Annotated[str, AfterValidator(_frame_name)] | None
    exclude: list[str]
    short_videos: Literal["error", "leave_out"]
    annotations: Annotations
    format: AnnotationFormat
    official_split: Annotated[int, Field(ge=1, le=3)]
    first_class: Literal["auto", 0, 1]
    group_file: ListFile
    label_file: ListFile
    train_share: Share
    val_share: Share
    test_share: Share
    split_seed: Seed
    val_groups: list[str]
    test_groups: list[str]
    train_list: ListFile
    test_list: ListFile
    max_unmatched_share: Share
    max_missing_share: Share
    max_unlisted_share: Share
    probe_timeout_sec: Seconds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            names = re.compile(self.pattern).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        if unknown := sorted(set(names) - PATTERN_GROUPS):
            raise ValueError(f"pattern has the named groups {unknown}, but may only have {sorted(PATTERN_GROUPS)}")
        if "label" not in names and not self.annotations:
            raise ValueError("pattern has no named group (?P<label>...), so a video's class is unknown")
        if abs(self.train_share + self.val_share + self.test_share - 1) > 1e-6:
            raise ValueError("train_share, val_share and test_share do not add up to 1")
        if self.train_share == 0:
            raise ValueError("train_share is 0, so there would be nothing to train on")
        if both := set(self.val_groups) & set(self.test_groups):
            raise ValueError(f"{sorted(both)} stand both in val_groups and in test_groups")
        if (self.train_list is None) != (self.test_list is None):
            raise ValueError("train_list and test_list go together: give both or neither")
        if self.annotations and self.train_list:
            raise ValueError("annotations and train_list both name the clips: give one of them")
        decided = "the lists" if self.train_list else "the pattern's group split" if "split" in names else None
        if self.test_groups and decided:
            raise ValueError(f"test_groups is given, but {decided} already say which videos are for the test")
        return self

    @property
    def may_have_validation(self) -> bool:
        """False where it is certain, before any video is seen, that none is for validation."""
        if self.annotations and not self.test_groups:
            return True
        if self.val_groups or self.train_list or self.test_groups:
            return bool(self.val_groups)
        return self.val_share > 0 or "split" in re.compile(self.pattern).groupindex


class Validate(Section):
    min_frames: Positive
    max_frames: Positive
    max_duration_sec: PositiveReal
    min_side_px: Positive
    min_videos_per_class: Count
    max_imbalance: Annotated[float, Field(ge=1, le=1e9)] | None
    min_class_coverage: Share
    max_unreadable_share: Share
    leakage: Literal["error", "warning", "off"]
    near_duplicate_bits: Annotated[int, Field(ge=0, lt=256)] | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_frames > self.max_frames:
            raise ValueError("min_frames is above max_frames")
        return self


class FrameSettings(Section):
    source: Source
    short_side_px: Side | None
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    crf: Annotated[int, Field(ge=1, le=51)]
    key_frame_every: Annotated[int, Field(ge=1, le=250)]
    shards: Annotated[int, Field(ge=1, le=99_999)] | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shards is not None and self.source != "archive":
            raise ValueError(f"shards hold archives: set source to archive (it is {self.source}), or shards to null")
        return self

    @property
    def stored_as(self) -> StoredAs:
        """The form in which frames are kept; where training reads the videos, that of `pptsm views`."""
        return "archive" if self.source == "video" else self.source


class Clip(Section):
    input: Input
    resize_px: Side
    crop_px: Side
    aspect: Aspect
    frame_rule: FrameRule
    crops: Crops
    dense_window: Annotated[int, Field(ge=1, le=100_000)]
    dense_clips: Annotated[int, Field(ge=1, le=1000)]
    dense_crops: Crops
    test_crop_px: Side
    average: Literal["logits", "probabilities"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("crop_px", "test_crop_px"):
            if getattr(self, name) > self.resize_px:
                raise ValueError(f"{name} ({getattr(self, name)}) is larger than resize_px ({self.resize_px})")
        return self


class Training(Section):
    batch_size: BatchSize
    batch_norm_clips: BatchSize
    clips_per_video: Annotated[int, Field(ge=1, le=1_000_000)]
    min_clips: Count
    schedule: Literal["cosine", "piecewise"]
    base_lr: Rate
    lr_for_batch: Annotated[int, Field(ge=0, le=65_536)]
    warmup_epochs: Epochs
    warmup_start_lr: Rate
    step_epochs: list[Annotated[int, Field(ge=1, le=100_000)]]
    step_factor: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1000)]
    decay_norm_and_bias: bool
    head_weight_lr: Rate
    head_bias_lr: Rate
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    mix: Literal["none", "mixup", "cutmix", "videomix"]
    mixup_alpha: Rate
    cutmix_alpha: Rate
    batch_norm: Literal["local", "synchronised", "frozen"]
    freeze_stages: Annotated[int, Field(ge=0, le=4)]
    precise_bn_every: Epochs
    precise_bn_batches: Annotated[int, Field(ge=1, le=1_000_000)]
    crop: Literal["multi_scale", "random"]
    flip: Literal["none", "horizontal"]
    flip_labels: dict[str, str]
    brightness: Share
    keep: Literal["last", "best"]
    clip_norm: NonNegativeReal
    amp: Annotated[Amp, BeforeValidator(_no_bool)]
    deterministic: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.schedule == "piecewise" and not self.step_epochs:
            raise ValueError("schedule is piecewise, but step_epochs names no epoch")
        if self.schedule == "cosine" and self.step_epochs:
            raise ValueError("step_epochs belongs to schedule: piecewise, but schedule is cosine")
        if self.schedule == "piecewise" and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, but schedule: piecewise has no warm-up: set it to 0, "
                "or take schedule: cosine"
            )
        if any(later <= earlier for earlier, later in pairwise(self.step_epochs)):
            raise ValueError(f"step_epochs is {self.step_epochs}, but each epoch must be later than the one before it")
        if self.flip_labels and self.flip == "none":
            raise ValueError("flip_labels is given, but flip is none")
        if any(self.flip_labels.get(other) != name for name, other in self.flip_labels.items()):
            raise ValueError("flip_labels must map back: with a: b there must be b: a")
        if self.batch_norm_clips > self.batch_size:
            raise ValueError(
                f"batch_norm_clips ({self.batch_norm_clips}) is above batch_size ({self.batch_size}), of which it is a "
                f"part: lower it to {self.batch_size} or less, or raise batch_size"
            )
        if self.batch_norm_clips == 1 and self.mix != "none":
            raise ValueError(
                f"mix is {self.mix}, but batch_norm_clips is 1, and clips are mixed among those: set it to 2 or more, "
                "or mix to none"
            )
        if self.batch_norm == "frozen" and self.precise_bn_every:
            raise ValueError(
                f"precise_bn_every is {self.precise_bn_every}, but batch_norm is frozen: its statistics stay those of "
                "the starting weights. Set precise_bn_every to 0"
            )
        return self


class Start(Section):
    """The weights that a network starts from."""

    weights: PathText | None
    sha256: Sha256 | None
    new_head: bool
    min_coverage: Share

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sha256 is not None and self.weights is None:
            raise ValueError("sha256 is given, but weights names none, so nothing would be checked")
        return self


class Role(Section):
    """A network and where it starts: the same fields for teacher and student, each with values of its own."""

    network: NetworkArguments
    start: Start
    epochs: Epochs


class Teacher(Role):
    enabled: bool


class Distillation(Section):
    kind: Literal["hinton", "mutual"]
    weight: Share
    temperature: Rate
    weak_teacher: Literal["stop", "without"]


class Student(Role):
    distillation: Distillation
    baseline: bool


class Evaluate(Section):
    split: Literal["val", "test"]
    sampling: Literal["uniform", "dense", "both"]
    engine: Literal["auto", "onnx", "paddle"]
    served_videos: Count
    served_agreement: Share
    also: list[Annotated[PathText, AfterValidator(_no_role)]]
    temperature: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if twice := sorted({name for name in self.also if self.also.count(name) > 1}):
            raise ValueError(f"also names {', '.join(twice)} twice")
        if self.temperature and self.split == "val":
            raise ValueError(
                "temperature is true, but split is val: it is fitted on the validation videos, and would be judged on "
                "the same ones. Set temperature to false, or split to test"
            )
        return self

    @property
    def samplings(self) -> list[Sampling]:
        """The ways in which videos are scored."""
        return ["uniform", "dense"] if self.sampling == "both" else [self.sampling]


class Export(Section):
    opset: Annotated[int, Field(ge=11, le=19)]
    check_clips: Annotated[int, Field(ge=1, le=100_000)]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    latency_runs: Annotated[int, Field(ge=1, le=1_000_000)]


class Quantize(Section):
    enabled: bool
    clips: Annotated[int, Field(ge=1, le=100_000)]
    max_drop: Annotated[float, Field(ge=0, le=100)]


class Serving(Section):
    runtime: Runtime | Literal["auto"]
    precision: Precision | Literal["auto"]
    folder: PathText | None


class Explanations(Section):
    videos: Annotated[int, Field(ge=0, le=1_000_000)]


class Report(Section):
    title: str
    wrong_clips: Annotated[int, Field(ge=0, le=10_000)]


class Compute(Section):
    device: Device
    devices: Devices
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=MOST_PROCESSES)]
    cluster: Annotated[str, Field(pattern=r"^(tcp|tls)://\S+:\d{1,5}$")] | None
    batch_views: BatchSize
    save_every_min: Annotated[float, Field(ge=0, le=525_600)]

    @property
    def where(self) -> int | str:
        """Where videos are probed and extracted: on a cluster, if there is one, or in so many processes here."""
        return self.cluster or self.workers


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    sampling: Sampling
    motion: Motion
    index: Index
    validate_: Annotated[Validate, Field(alias="validate")]
    frames: FrameSettings
    clip: Clip
    training: Training
    teacher: Teacher
    student: Student
    evaluate: Evaluate
    export: Export
    quantize: Quantize
    serving: Serving
    explanations: Explanations
    report: Report
    compute: Compute

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.student.distillation.weight > 0 and not self.teacher.enabled:
            raise ValueError("student.distillation.weight is above 0, but teacher.enabled is false")
        if self.student.distillation.kind == "mutual":
            self._check_mutual()
        if self.student.baseline and (self.student.distillation.weight == 0 or self.student.epochs == 0):
            raise ValueError(
                "student.baseline is true, but student.distillation.weight or student.epochs is 0: the student is not "
                "distilled, so there is nothing to compare. Set baseline to false"
            )
        if self.teacher.start.weights is not None and not self.teacher.enabled:
            raise ValueError("teacher.start names weights, but teacher.enabled is false: nobody would use them")
        used: dict[str, Role] = {"teacher": self.teacher} if self.teacher.enabled else {}
        used["student"] = self.student
        for role, section in used.items():
            if 0 < section.epochs <= self.training.warmup_epochs:
                raise ValueError(f"{role}.epochs ({section.epochs}) leaves nothing after training.warmup_epochs")
            if section.epochs > 0 and self.training.step_epochs and self.training.step_epochs[-1] >= section.epochs:
                raise ValueError(
                    f"training.step_epochs ends with {self.training.step_epochs[-1]}, but {role}.epochs is "
                    f"{section.epochs}: that step would never come (epochs count from 0)"
                )
            if section.epochs == 0 and section.start.weights is None:
                raise ValueError(f"{role}.epochs is 0, but {role}.start names no weights: it would be random")
            if self.clip.dense_window < (segments := section.network.num_segments):
                raise ValueError(
                    f"clip.dense_window ({self.clip.dense_window}) is below {role}.network.num_segments ({segments})"
                )
            if self.clip.input != "rgb" and segments == 1:
                raise ValueError(
                    f"clip.input is {self.clip.input}, but {role}.network.num_segments is 1, and a difference is one "
                    "of two frames: set num_segments to 2 or more, or clip.input to rgb"
                )
        if self.teacher.enabled and self.student.distillation.weight > 0:
            self._check_pair()
        if self.evaluate.sampling not in ("both", self.sampling):
            raise ValueError(
                f"evaluate.sampling is {self.evaluate.sampling}, but sampling, which the headline shows, is "
                f"{self.sampling}: evaluate that too (both)"
            )
        if self.compute.device == "gpu" and self.evaluate.engine == "onnx":
            raise ValueError("evaluate.engine: onnx computes on the CPU, but compute.device is gpu: take engine: auto")
        if self.training.amp != "none" and self.compute.device == "cpu":
            raise ValueError(
                f"training.amp is {self.training.amp}, but compute.device is cpu, and Paddle has half precision on "
                "GPUs only: set training.amp to none"
            )
        if self.compute.device == "gpu" and isinstance(self.compute.devices, int):
            raise ValueError(
                f"compute.devices ({self.compute.devices}) is a number of processes on CPUs, but compute.device is "
                "gpu: name GPUs in a list, or take auto"
            )
        if self.compute.device == "cpu" and isinstance(self.compute.devices, list):
            raise ValueError("compute.devices is a list of GPUs, but compute.device is cpu: take a number, or auto")
        side, least = self.frames.short_side_px, self.clip.resize_px
        if self.frames.source != "video" and side is not None and side < least:
            raise ValueError(
                f"frames.short_side_px ({side}) is below clip.resize_px ({least}): every frame would first be shrunk, "
                f"then enlarged. Set short_side_px to {least} or more, or to null"
            )
        if self.training.keep == "best" and not self.index.may_have_validation:
            raise ValueError("training.keep is best, but the index has no validation split to choose it by")
        return self

    def _check_pair(self) -> None:
        """Teacher and student see the same clip."""
        teacher, student = self.teacher.network.num_segments, self.student.network.num_segments
        if teacher != student:
            raise ValueError(
                f"teacher.network.num_segments is {teacher} and student.network.num_segments {student}, but a "
                "teacher teaches on the very clip that the student sees: they must be equal"
            )

    def _check_mutual(self) -> None:
        """Both networks learn together, as published: temperature 1, no label smoothing, one number of epochs."""
        student, teacher = self.student, self.teacher
        if student.distillation.weight == 0 or student.epochs == 0:
            raise ValueError(
                "student.distillation.kind is mutual, but student.distillation.weight or student.epochs is 0: nothing "
                "would be learned from one another. Set kind to hinton, or both above 0"
            )
        if teacher.epochs != student.epochs:
            raise ValueError(
                f"student.distillation.kind is mutual, so both learn together, but teacher.epochs is {teacher.epochs} "
                f"and student.epochs {student.epochs}: they must be equal"
            )
        if student.distillation.temperature != 1:
            raise ValueError(
                f"student.distillation.temperature is {student.distillation.temperature:g}, but mutual learning has no "
                "temperature: set it to 1"
            )
        if self.training.label_smoothing != 0:
            raise ValueError(
                f"training.label_smoothing is {self.training.label_smoothing:g}, but mutual learning smooths no labels "
                "(the networks soften each other's): set it to 0"
            )
