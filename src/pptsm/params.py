"""params.yaml as frozen, strict models: one class a section, each field with its range.

There are no default values here: what is not written in params.yaml would not be seen by DVC, and a
changed default would leave stale outputs behind. What a field means stands beside it in params.yaml.
"""

import difflib
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pptsm.data.names import Aspect, Crops, FrameRule, Sampling
from pptsm.errors import ParamsError
from pptsm.model.names import Activation, Depth, Network

Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveReal = Annotated[float, Field(gt=0)]
NonNegativeReal = Annotated[float, Field(ge=0)]
PATTERN_GROUPS = {"label", "group", "split"}  # what index.pattern may tell
# What stands for "no such file" in params.yaml: DVC takes the content of a list as a dependency, and null has none.
NO_FILE = "presets/none"
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]

Device = Literal["auto", "cpu", "gpu"]


def _file_or_none(value: Any) -> Any:
    if value is None:
        raise ValueError(f"write {NO_FILE} where there is no file")
    return None if value == NO_FILE else value


ListFile = Annotated[str | None, BeforeValidator(_file_or_none)]


class Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Motion(Section):
    videos_per_class: Count
    seed: Seed
    groups: Positive
    frame_px: Annotated[int, Field(ge=32, multiple_of=2)]
    num_frames: Annotated[int, Field(ge=2)]
    fps: Positive
    codec: Literal["h264", "mpeg4"]
    noise: Share
    extent: Annotated[float, Field(gt=0, le=1)]


class Index(Section):
    root: str
    pattern: str
    exclude: list[str]
    short_videos: Literal["error", "leave_out"]
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
    probe_timeout_sec: PositiveReal

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            names = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        if unknown := sorted(set(names) - PATTERN_GROUPS):
            raise ValueError(f"pattern has the named groups {unknown}, but may only have {sorted(PATTERN_GROUPS)}")
        if "label" not in names:
            raise ValueError("pattern has no named group (?P<label>...), so a video's class cannot be told")
        if abs(self.train_share + self.val_share + self.test_share - 1) > 1e-6:
            raise ValueError("train_share, val_share and test_share do not add up to 1")
        if self.train_share == 0:
            raise ValueError("train_share is 0, so there would be nothing to train on")
        if both := set(self.val_groups) & set(self.test_groups):
            raise ValueError(f"{sorted(both)} stand both in val_groups and in test_groups")
        if (self.train_list is None) != (self.test_list is None):
            raise ValueError("train_list and test_list go together: give both or neither")
        decided = "the lists" if self.train_list else "the pattern's group split" if "split" in names else None
        if self.test_groups and decided:
            raise ValueError(f"test_groups is given, but {decided} already say which videos are for the test")
        return self

    @property
    def may_have_validation(self) -> bool:
        """False where it is certain, before any video is seen, that none is for validation."""
        if self.val_groups or self.train_list or self.test_groups:
            return bool(self.val_groups)
        return self.val_share > 0 or "split" in re.compile(self.pattern).groupindex


class Validate(Section):
    min_frames: Positive
    max_frames: Positive
    max_duration_sec: PositiveReal
    min_side_px: Positive
    min_videos_per_class: Positive
    max_unreadable_share: Share

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_frames > self.max_frames:
            raise ValueError("min_frames is above max_frames")
        return self


class Frames(Section):
    source: Literal["archive", "video"]
    short_side_px: Annotated[int, Field(ge=16)] | None
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]


class Clip(Section):
    resize_px: Annotated[int, Field(ge=16)]
    crop_px: Annotated[int, Field(ge=16)]
    aspect: Aspect
    frame_rule: FrameRule
    crops: Crops
    dense_window: Positive
    dense_clips: Positive
    dense_crops: Crops
    test_crop_px: Annotated[int, Field(ge=16)]
    average: Literal["logits", "probabilities"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("crop_px", "test_crop_px"):
            if getattr(self, name) > self.resize_px:
                raise ValueError(f"{name} ({getattr(self, name)}) is larger than resize_px ({self.resize_px})")
        return self


class Training(Section):
    batch_size: Positive
    clips_per_video: Positive
    schedule: Literal["cosine", "piecewise"]
    base_lr: PositiveReal
    warmup_epochs: Count
    warmup_start_lr: PositiveReal
    step_epochs: list[Positive]
    step_factor: PositiveReal
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NonNegativeReal
    decay_norm_and_bias: bool
    head_weight_lr: PositiveReal
    head_bias_lr: PositiveReal
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    mix: Literal["none", "mixup", "cutmix", "videomix"]
    mix_alpha: PositiveReal
    precise_bn_every: Count
    precise_bn_batches: Positive
    crop: Literal["multi_scale", "random"]
    flip: Literal["none", "horizontal"]
    flip_labels: dict[str, str]
    brightness: Share
    keep: Literal["last", "best"]
    amp: bool

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
        return self


class Role(Section):
    """A network and where it starts: the same fields for teacher and student, each with values of its own."""

    network: Network
    depth: Depth
    width: PositiveReal
    segments: Positive
    shift: bool
    shift_ratio: Literal["auto"] | Annotated[float, Field(gt=0, le=0.5)]
    attention: bool
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    start: str | None
    start_sha256: Sha256 | None
    new_head: bool
    min_coverage: Share
    epochs: Count

    @model_validator(mode="after")
    def _consistent_start(self) -> Self:
        if self.start_sha256 is not None and self.start is None:
            raise ValueError("start_sha256 is given, but start names no weights, so nothing would be checked")
        return self

    @model_validator(mode="after")
    def _consistent_network(self) -> Self:
        if self.attention and self.network != "pptsm_v2":
            raise ValueError(f"attention is true, but only network: pptsm_v2 has one, and network is {self.network}")
        return self


class Teacher(Role):
    enabled: bool


class Student(Role):
    distillation: Literal["hinton", "mutual"]
    distillation_weight: Share
    temperature: PositiveReal
    weak_teacher: Literal["stop", "without"]


class Evaluate(Section):
    split: Literal["val", "test"]
    sampling: Literal["uniform", "dense", "both"]
    engine: Literal["auto", "onnx", "paddle"]
    served_videos: Count
    served_agreement: Share

    @property
    def samplings(self) -> list[Sampling]:
        """The ways in which videos are scored."""
        return ["uniform", "dense"] if self.sampling == "both" else [self.sampling]


class Export(Section):
    opset: Annotated[int, Field(ge=11, le=19)]
    check_clips: Positive
    tolerance: PositiveReal
    latency_runs: Positive


class Report(Section):
    title: str
    wrong_clips: Count


class Compute(Section):
    device: Device
    workers: Literal["auto"] | Count
    batch_views: Positive


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    sampling: Sampling
    motion: Motion
    index: Index
    validate_: Annotated[Validate, Field(alias="validate")]
    frames: Frames
    clip: Clip
    training: Training
    teacher: Teacher
    student: Student
    evaluate: Evaluate
    export: Export
    report: Report
    compute: Compute

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.student.distillation_weight > 0 and not self.teacher.enabled:
            raise ValueError("student.distillation_weight is above 0, but teacher.enabled is false")
        if self.student.distillation == "mutual":
            self._check_mutual()
        if self.teacher.start is not None and not self.teacher.enabled:
            raise ValueError("teacher.start names weights, but teacher.enabled is false: nobody would use them")
        used: dict[str, Teacher | Student] = {"teacher": self.teacher} if self.teacher.enabled else {}
        used["student"] = self.student
        for role, section in used.items():
            if 0 < section.epochs <= self.training.warmup_epochs:
                raise ValueError(f"{role}.epochs ({section.epochs}) leaves nothing after training.warmup_epochs")
            if section.epochs > 0 and self.training.step_epochs and self.training.step_epochs[-1] >= section.epochs:
                raise ValueError(
                    f"training.step_epochs ends with {self.training.step_epochs[-1]}, but {role}.epochs is "
                    f"{section.epochs}: that step would never come (epochs count from 0)"
                )
            if section.epochs == 0 and section.start is None:
                raise ValueError(f"{role}.epochs is 0, but {role}.start names no weights: it would be random")
            if self.clip.dense_window < section.segments:
                raise ValueError(
                    f"clip.dense_window ({self.clip.dense_window}) is below {role}.segments ({section.segments})"
                )
        if self.teacher.enabled and self.student.distillation_weight > 0:
            self._check_pair()
        if self.evaluate.sampling not in ("both", self.sampling):
            raise ValueError(
                f"evaluate.sampling is {self.evaluate.sampling}, but sampling, which the headline shows, is "
                f"{self.sampling}: evaluate that too (both)"
            )
        if self.compute.device == "gpu" and self.evaluate.engine == "onnx":
            raise ValueError("evaluate.engine: onnx computes on the CPU, but compute.device is gpu: take engine: auto")
        if self.training.amp and self.compute.device == "cpu":
            raise ValueError("training.amp is true, but compute.device is cpu: half precision needs a GPU")
        side, wanted = self.frames.short_side_px, self.clip.resize_px
        if self.frames.source == "archive" and side is not None and side < wanted:
            raise ValueError(
                f"frames.short_side_px ({side}) is below clip.resize_px ({wanted}): every frame would first be shrunk, "
                f"then enlarged. Set short_side_px to {wanted} or more, or to null"
            )
        if self.training.keep == "best" and not self.index.may_have_validation:
            raise ValueError("training.keep is best, but the index has no validation split to tell it by")
        return self

    def _check_pair(self) -> None:
        """Teacher and student see the same clip."""
        if self.teacher.segments != self.student.segments:
            raise ValueError(
                f"teacher.segments is {self.teacher.segments} and student.segments {self.student.segments}, but a "
                "teacher teaches on the very clip that the student sees: they must be equal"
            )

    def _check_mutual(self) -> None:
        """Both networks learn together, as published: temperature 1, no label smoothing, one number of epochs."""
        student, teacher = self.student, self.teacher
        if student.distillation_weight == 0 or student.epochs == 0:
            raise ValueError(
                "student.distillation is mutual, but student.distillation_weight or student.epochs is 0: nothing "
                "would be learned from one another. Set distillation to hinton, or both above 0"
            )
        if teacher.epochs != student.epochs:
            raise ValueError(
                f"student.distillation is mutual, so both learn together, but teacher.epochs is {teacher.epochs} and "
                f"student.epochs {student.epochs}: they must be equal"
            )
        if student.temperature != 1:
            raise ValueError(
                f"student.temperature is {student.temperature:g}, but mutual learning has no temperature: set it to 1"
            )
        if self.training.label_smoothing != 0:
            raise ValueError(
                f"training.label_smoothing is {self.training.label_smoothing:g}, but mutual learning smooths no labels "
                "(the networks soften each other's): set it to 0"
            )


def load_params(path: Path) -> Params:
    """Read and check the whole of params.yaml.

    Raises:
        ParamsError: the file is missing or no YAML, or a key or value is wrong; each fault is named with
            its key, the value found, and what is allowed.
    """
    from ruamel.yaml import YAML  # DVC's own parser, so that both read the same file alike (1e-4 is a number)
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"no {path} here ({Path.cwd()}). Go to the project's folder, or write one with `pptsm preset motion`."
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    return check_params(values, str(path))


def check_params(values: Any, source: str) -> Params:
    """Check already parsed values; `source` names where they came from in an error.

    Raises:
        ParamsError: as `load_params`.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults: dict[str, str] = {}
        for fault in error.errors(include_url=False):
            key = _key(fault, values)
            before = faults.get(key)  # of another kind of value that the key may have
            faults[key] = f"{before} or {_message(fault)}" if before else _sentence(key, fault)
        raise ParamsError("\n".join(f"{source}: {fault}" for fault in faults.values())) from None


def _key(fault: ErrorDetails, values: Any) -> str:
    """Where a fault is, in the file's words: pydantic adds which kind of value it tried."""
    parts = []
    for part in fault["loc"]:
        if not isinstance(values, dict | list):
            break
        parts.append(str(part))
        values = values[int(part)] if isinstance(values, list) else values.get(part)
    return ".".join(parts) or "the file"


def _message(fault: ErrorDetails) -> str:
    return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")


def _sentence(key: str, fault: ErrorDetails) -> str:
    found = fault["input"]
    if fault["type"] == "missing":
        return f"key {key} is missing"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    if fault["type"] == "value_error":
        return f"{key}: {_message(fault)}"
    return f"{key} is {found!r}, but {_message(fault)}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Params
    for part in location:
        field = next(f for name, f in section.model_fields.items() if (f.alias or name) == part)
        section = field.annotation
    return [field.alias or name for name, field in section.model_fields.items()]
