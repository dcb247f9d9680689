"""The table of runtimes: what each way to compute an exported network answers, and how fast; and the gate of each.

The way that the others are compared with is ONNX Runtime in float32, which the evaluation scored.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.data.clips import Dataset, EvaluationVideos
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import ClipArray, Pixels, normalise
from pptsm.evaluation.engines import Engine, has_bfloat16, open_engine
from pptsm.evaluation.metrics import in_top, ranking, require_numbers
from pptsm.evaluation.model_file import Exported, read_exported
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import gain_over, interval
from pptsm.params.choices import Precision, Runtime, Sampling
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError

RUNS = 20  # clips that each way is timed on
FOLDER_VIDEOS = 32  # videos on which clips/s are counted, at most


@dataclass(frozen=True)
class Row:
    """A runtime in a precision; shares are 0 to 1, None where no labelled video was looked at."""

    runtime: Runtime
    precision: Precision
    file: str
    top1: float | None
    top1_low: float | None  # 95 % interval, of independent videos
    top1_high: float | None
    difference: float | None  # of top-1 from the first row, on the same videos
    difference_low: float | None
    difference_high: float | None
    agreement: float  # share of the videos, or clips, with the first row's answer
    passed: bool
    reason: str  # why it did not pass; empty where it did
    ms_p50: float  # of one clip on all cores
    ms_p95: float
    clips_per_sec: float  # of many clips, one by one
    start_sec: float  # to open the file
    size_mb: float

    def in_words(self) -> str:
        """A line for the log."""
        top1 = "" if self.top1 is None else f"top-1 {self.top1:.2%}, "
        gate = "passed" if self.passed else f"NOT passed: {self.reason}"
        return (
            f"{self.runtime} {self.precision}: {top1}the same answer for {self.agreement:.2%}, {self.ms_p50:.1f} ms a "
            f"clip, {self.size_mb:.1f} MB; {gate}"
        )


@dataclass(frozen=True)
class Gate:
    """What a way must reach.

    Attributes:
        max_drop: of top-1, in points.
        least_agreement: share of the videos with the same answer; one may always differ.
    """

    max_drop: float
    least_agreement: float

    def fault(self, difference: float | None, low: float | None, high: float | None, different: int, of: int) -> str:
        """Why a way is refused; empty where it is not. Said so that what is not a number is refused."""
        agreement = 1 - different / of
        if not (different <= 1 or agreement >= self.least_agreement):
            return f"{different} of {of} answers differ (at most {1 - self.least_agreement:.1%} may)"
        if difference is None or difference * 100 >= -self.max_drop:
            return ""
        lost = f"top-1 falls by {-difference * 100:.1f} points, and at most {self.max_drop:g} are allowed"
        if low is None or high is None:
            return f"{lost}; all videos are of one group"
        doubt = "; so few videos cannot tell whether it would elsewhere" if high * 100 >= -self.max_drop else ""
        return f"{lost} (95 % interval of the difference {low * 100:+.1f} to {high * 100:+.1f}){doubt}"


def ways(files: dict[Precision, Exported]) -> Iterator[tuple[Runtime, Precision, Exported]]:
    """All that can compute these files here, the reference first."""
    exact, int8 = files["float32"], files.get("int8")
    yield "onnxruntime", "float32", exact
    if int8 is not None:
        yield "onnxruntime", "int8", int8
    if find_spec("openvino") is None:
        note("runtimes: OpenVINO is not installed (extra openvino), so its rows are missing")
        return
    yield "openvino", "float32", exact
    if has_bfloat16():
        yield "openvino", "bfloat16", exact
    if int8 is not None:
        yield "openvino", "int8", int8


def table(
    files: dict[Precision, Exported],
    spec: ClipSpec,
    sampling: Sampling,
    data: Dataset | None,
    gate: Gate,
    batch_views: int,
) -> list[Row]:
    """Open, score and time every way.

    Args:
        files: of float32, and of int8 if there is one.
        spec: of the clips.
        sampling: by which videos are scored.
        data: labelled videos; None: random clips are compared, and no accuracy is known.
        gate: what each must reach.
        batch_views: views that are scored at once.

    Raises:
        UserError: the reference cannot be computed.
    """
    opened = []
    for runtime, precision, exported in ways(files):
        try:
            opened.append((open_timed(exported, runtime, precision), exported))
        except UserError as error:
            if not opened:  # the reference
                raise
            note(f"runtimes: {runtime} in {precision} is left out: {error}")
    timed = time_clips([engine for (engine, _), _ in opened], spec)
    rows: list[Row] = []
    reference: _Answers | None = None
    for ((engine, start_sec), exported), (p50, p95, rate) in zip(opened, timed, strict=True):
        fault, found = "", None
        try:
            found = _answers(engine, spec, sampling, data, batch_views)
        except UserError as error:  # what is not a number, or cannot be computed here
            fault = str(error)
        if reference is None:
            if found is None:
                raise UserError(fault)
            reference = found
        compared = _compared(found, reference, data) if found is not None else _NOTHING
        if found is not None and rows:
            different = int((found.best_N != reference.best_N).sum())
            low, high = compared["difference_low"], compared["difference_high"]
            fault = gate.fault(compared["difference"], low, high, different, len(found.best_N))
        rows.append(
            Row(
                engine.runtime,
                engine.precision,
                exported.file.name,
                **compared,
                passed=not fault,
                reason=fault,
                ms_p50=p50,
                ms_p95=p95,
                clips_per_sec=rate,
                start_sec=start_sec,
                size_mb=round(len(exported.data) / 1e6, 3),
            )
        )
        note(f"runtimes: {rows[-1].in_words()}")
    return rows


def open_timed(exported: Exported, runtime: Runtime, precision: Precision) -> tuple[Engine, float]:
    """An engine, and the seconds that opening it took."""
    started = time.perf_counter()
    engine = open_engine(exported, runtime, precision)
    return engine, round(time.perf_counter() - started, 3)


def time_clips(engines: Sequence[Engine], spec: ClipSpec, runs: int = RUNS) -> list[tuple[float, float, float]]:
    """Median and 95th percentile of a clip in ms, and clips/s, of each engine; they take turns, run by run."""
    clip = np.random.default_rng(0).standard_normal((1, *spec.shape)).astype(np.float32)
    taken: list[list[float]] = [[] for _ in engines]
    for _ in range(runs + 2):  # the first two warm up
        for engine, times in zip(engines, taken, strict=True):
            started = time.perf_counter()
            engine.score(clip)
            times.append(time.perf_counter() - started)
    found = []
    for times in taken:
        counted = np.array(times[2:])
        p50, p95 = (round(float(np.percentile(counted, q) * 1000), 3) for q in (50, 95))
        found.append((p50, p95, round(len(counted) / float(counted.sum()), 3)))
    return found


@dataclass(frozen=True)
class _Answers:
    best_N: NDArray[np.int64]
    right_N: NDArray[np.bool_] | None


_NOTHING: dict[str, Any] = dict.fromkeys(
    ("top1", "top1_low", "top1_high", "difference", "difference_low", "difference_high")
) | {"agreement": 0.0}


def _answers(engine: Engine, spec: ClipSpec, sampling: Sampling, data: Dataset | None, batch_views: int) -> _Answers:
    if data is None:
        clips = np.random.default_rng(1).standard_normal((8, *spec.shape)).astype(np.float32)
        logits = np.concatenate([engine.score(clip[None]) for clip in clips])
        require_numbers(logits, f"{engine.runtime} in {engine.precision}")
        return _Answers(ranking(logits, 1)[:, 0], None)
    videos = EvaluationVideos(data.videos, data.source, spec, sampling)
    what = f"{engine.runtime} {engine.precision}"
    logits, truth = score_videos(_from_pixels(engine), videos, batch_views=batch_views, workers=0, what=what)
    return _Answers(ranking(logits, 1)[:, 0], in_top(logits, truth, 1))


def _from_pixels(engine: Engine) -> Any:
    def score(pixels: Pixels) -> NDArray[np.float32]:
        views: ClipArray = normalise(pixels)
        return engine.score(views)

    return score


def _compared(found: _Answers, reference: _Answers, data: Dataset | None) -> dict[str, Any]:
    agreement = round(float((found.best_N == reference.best_N).mean()), 6)
    if found.right_N is None or reference.right_N is None or data is None:
        return _NOTHING | {"agreement": agreement}
    low, high = interval(int(found.right_N.sum()), len(found.right_N))
    gain = gain_over(found.right_N, reference.right_N, data.videos["group"].tolist())
    values = {
        "top1": float(found.right_N.mean()),
        "top1_low": low,
        "top1_high": high,
        "difference": gain.gain,
        "difference_low": gain.gain_low,
        "difference_high": gain.gain_high,
        "agreement": agreement,
    }
    return {name: value if value is None else round(value, 6) for name, value in values.items()}


def as_values(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for JSON.

    Raises:
        ValueError: a time is not a number.
    """
    if not all(math.isfinite(row.ms_p50) and math.isfinite(row.ms_p95) for row in rows):
        raise ValueError("a time that is not a number")
    return [asdict(row) for row in rows]


def files_at(exact: Path, int8: Path | None) -> dict[Precision, Exported]:
    """The files of a model, looked into.

    Raises:
        UserError: as `read_exported`.
    """
    files: dict[Precision, Exported] = {"float32": read_exported(exact)}
    if int8 is not None and int8.is_file():
        files["int8"] = read_exported(int8)
    return files
