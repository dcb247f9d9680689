"""What the report reads of other stages' JSON, held to the shape that its pages count on."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from pptsm.data.spec import ClipSpec
from pptsm.params.choices import Sampling
from pptsm.runtime.errors import unusable


class Figures(BaseModel):
    """A network's figures in one sampling."""

    videos: int
    groups: int
    classes: int
    top1: float
    top1_low: float
    top1_high: float
    top1_low_by_group: float | None  # None with one group
    top1_high_by_group: float | None
    top5: float
    mean_class_accuracy: float
    macro_f1: float
    calibration_error: float
    loss: float
    chance: float
    largest_class: float
    above_chance: bool | None  # None: one group is not enough to say


Metrics = TypeAdapter(dict[str, dict[str, Figures]])  # role -> sampling


class Reached(BaseModel):
    """A share of the evaluated videos, with its 95 % intervals."""

    share: float
    low: float
    high: float
    low_by_group: float | None  # None with one group
    high_by_group: float | None


class ReachedCoverage(Reached):
    """The share of videos whose class was among those that may be."""

    coverage: float  # that was asked for
    mean_set: float


class FalseAlarms(Reached):
    """The share of videos that were called none of the classes."""

    stated: float
    score: str


class TemperatureFigures(BaseModel):
    """What the temperature changes on the evaluated videos."""

    temperature: float
    calibration_error_without: float
    calibration_error: float
    loss_without: float
    loss: float


class ReachedFigures(BaseModel):
    """What the calibration reaches on the evaluated videos."""

    coverages: list[ReachedCoverage]
    false_alarms: FalseAlarms | None
    temperature: TemperatureFigures | None = None  # not in the file where none was asked for


class CalibratedBy(BaseModel):
    """The videos that calibrated the student; the model file carries the rest."""

    videos: int
    groups: int
    chose: bool


class Calibrated(BaseModel):
    """The student's calibration, or why there is none."""

    calibration: CalibratedBy | None
    reason: str | None
    reached: ReachedFigures | None


class RuntimeRow(BaseModel):
    """A runtime in a precision, scored and timed; shares are 0 to 1. The table has more than is shown."""

    runtime: str
    precision: str
    top1: float | None  # None, as what follows from it: it gave no numbers
    top1_low: float | None
    top1_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    agreement: float
    passed: bool
    reason: str
    ms_p50: float
    ms_p95: float
    clips_per_sec: float
    start_sec: float
    size_mb: float


class Runtimes(BaseModel):
    """What was measured of each runtime and precision."""

    machine: str
    sampling: str
    videos: int
    rows: list[RuntimeRow]


class Mistake(BaseModel):
    """Why a video is answered so; the answer is a wrong one."""

    id: str
    score: float
    drops: list[float]
    decisive: int | None
    reversed_answer_kept: bool
    shuffles: int
    shuffles_answer_kept: int


class ClassOrder(BaseModel):
    """What the order of the frames is worth to a class."""

    label: Annotated[str, Field(alias="class")]
    asked: int
    videos: int
    reversed_kept: float | None
    shuffled_kept: float | None
    became: str | None
    needs_time: bool | None


class Orders(BaseModel):
    """The same of all classes that have videos."""

    videos: int
    classes: list[ClassOrder]


class Explanations(BaseModel):
    """Why the student answers as it does."""

    mistakes: list[Mistake]
    order: Orders | None
    reason: str | None


class Splits(BaseModel):
    """Usable videos of each split."""

    train: int
    val: int
    test: int


class Facts(BaseModel):
    """What the validation counted."""

    videos: int
    usable: int
    status: dict[str, int]
    splits: Splits
    groups: int
    classes: int
    frames: int
    hours: float


class Warned(BaseModel):
    """What did not stop the pipeline."""

    what: str
    rows: list[str]


class Suite(BaseModel):
    """Rules of one kind, and how many of them do not hold."""

    rules: int
    faults: int
    warnings: int


class ClassCoverage(BaseModel):
    """Of a class's videos that lists name, those that are there."""

    named: int
    found: int
    share: float


class Coverage(BaseModel):
    """The same of all classes; the one that lacks most comes first."""

    named: int
    found: int
    classes: list[ClassCoverage]


class Validation(BaseModel):
    """The result of the index's validation."""

    expectations: int
    suites: dict[str, Suite]
    warnings: list[Warned]
    facts: Facts
    unused: list[str]
    coverage: Coverage | None


class FramesFacts(BaseModel):
    """What the frames' validation counted."""

    kept: int
    bytes: int
    compared: int


class FramesValidation(BaseModel):
    """The result of the frames' validation."""

    expectations: int
    suites: dict[str, Suite]
    warnings: list[Warned]
    facts: FramesFacts


class Agreement(BaseModel):
    """ONNX Runtime against Paddle."""

    clips: int
    max_relative_difference: float


class Exported(BaseModel):
    """Cost, latency and agreement of the exported student."""

    agreement: Agreement
    parameters: int
    macs_per_view: float
    onnx_bytes: int
    latency_ms_per_view: float
    revision: str
    computed_with: str


class Network(BaseModel):
    """What the pages say of a network; `pptsm.weights.card` has the whole, but needs Paddle."""

    network: str
    depth: int
    width: float
    shift: bool
    shift_ratio: float
    activation: str


class OtherNetwork(BaseModel):
    """A network of evaluate.also."""

    name: str
    published: str | None
    published_top1: float | None
    revision: str
    network: dict[str, Any] | None  # None: an exported file does not say it
    sampling: Sampling
    views: int
    classes_of_its_own: int
    restricted: bool
    latency_ms_per_view: float
    onnx_bytes: int
    metrics: Figures


class CardOf(BaseModel):
    """The same of its card."""

    role: str
    network: Network
    clip: ClipSpec
    epochs: int
    kept_epoch: int | None = None
    start: str | None
    distilled: bool
    distillation: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None


Shape = TypeVar("Shape")


def read_json(path: Path, what: str, stage: str, shape: TypeAdapter[Shape]) -> Any:
    """The content of a JSON file that a stage wrote.

    Args:
        path: the file.
        what: its name in a sentence.
        stage: who writes it.
        shape: what must be in it; it may hold more.

    Raises:
        UserError: it is missing, damaged, or has another shape.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        shape.validate_python(values)
    except OSError as error:
        raise unusable(what, path, error.strerror or str(error), stage) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        raise unusable(what, path, f"it is damaged or of another version: {place}: {first['msg']}", stage) from None
    except ValueError as error:
        raise unusable(what, path, f"it is damaged ({error})", stage) from None
    return values


def read_metrics(path: Path, sampling: str) -> dict[str, Any]:
    """Role -> sampling -> figures; the student's in the headline's sampling are there."""
    metrics: dict[str, Any] = read_json(path, "the figures of the evaluation", "evaluate", Metrics)
    headline = metrics.get("student", {}).get(sampling, {})
    if missing := {"top1", "served_videos", "served_top1", "served_agreement"} - set(headline):
        found = f"it lacks {', '.join(sorted(missing))} of the student in {sampling} sampling"
        raise unusable("the figures of the evaluation", path, found, "evaluate")
    return metrics
