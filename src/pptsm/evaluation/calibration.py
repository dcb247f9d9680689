"""What validation taught about a model's doubts, as one value that travels in its file: read without SciPy.

With it an answer says which classes may be at a coverage (`conformal`), and whether the video shows any (`outliers`).
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.evaluation.conformal import Levels, least_probability, prediction_set
from pptsm.evaluation.metrics import softmax
from pptsm.evaluation.outliers import MOST_CLASSES, ClassDistance, energy
from pptsm.runtime.errors import UserError

VERSION = 2  # of a calibration with a temperature; one without is written as version 1, which older versions read
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0  # where all validation videos are right, no finite one is the best
MOST_BYTES = 1 << 18  # of the JSON: more is no calibration
DIGITS = 9  # of a number in it
NONE_OF_THESE = "none of these"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Outliers:
    """The rule by which a video shows none of the classes."""

    threshold: float  # of the score: above it
    share: float  # of false alarms, on validation videos
    distance: ClassDistance | None  # None: the score is the energy

    def scores(self, logits_NK: Floats) -> Floats:
        """[N]: how unlike known videos these are."""
        return energy(logits_NK) if self.distance is None else self.distance(logits_NK)


@dataclass(frozen=True)
class Calibration:
    """What a model's validation videos say about answers to come."""

    sampling: str  # by which they were scored: it holds for no other
    videos: int
    levels: Levels
    outliers: Outliers | None  # None: too few videos, or one group
    chose: bool  # whether they had chosen the epoch too: then they flatter the model a little
    temperature: float | None = None  # by which logits are divided for probabilities that are shown; None: by none

    def require(self, coverage: float) -> None:
        """Check that a coverage can be had.

        Raises:
            UserError: as `conformal.least_probability`.
        """
        least_probability(self.levels, coverage)

    def softened(self, logits: Floats) -> Floats:
        """Logits [..., K] whose softmax is the probabilities that are shown; the order of the classes stays the same.

        The classes that may be, and whether a video shows one, follow from the logits as they are: a level that was
        learned from the same videos as the temperature would promise a little too much.
        """
        return logits if self.temperature is None else logits / logits.dtype.type(self.temperature)

    def may_be(self, logits_K: Floats, coverage: float) -> NDArray[np.int64]:
        """The classes that may be, best first, at least one.

        Raises:
            UserError: as `require`.
        """
        return prediction_set(softmax(logits_K), least_probability(self.levels, coverage))

    def knows(self, logits_K: Floats) -> bool | None:
        """Whether a video shows one of the classes; None where there is no rule."""
        if self.outliers is None:
            return None
        return bool(self.outliers.scores(logits_K[None])[0] <= self.outliers.threshold)

    def to_json(self) -> str:
        """As a file carries it."""
        values: dict[str, Any] = {
            "version": 1 if self.temperature is None else VERSION,
            "sampling": self.sampling,
            "videos": self.videos,
            "groups": self.levels.groups,
            "chose": self.chose,
            "least": list(self.levels.least_L),
            "coverage": list(self.levels.coverage_L),
            "outliers": None,
        }
        if (rule := self.outliers) is not None:
            distance = rule.distance
            values["outliers"] = {
                "threshold": _short(rule.threshold),
                "share": rule.share,
                "means": None if distance is None else [[_short(v) for v in row] for row in distance.means_KK],
                "whiten": None if distance is None else [[_short(v) for v in row] for row in distance.whiten_KK],
            }
        if self.temperature is not None:
            values["temperature"] = _short(self.temperature)
        return json.dumps(values, allow_nan=False)

    @classmethod
    def of_json(cls, text: str, classes: int) -> "Calibration":
        """From a file's JSON, each value checked: a file may come from elsewhere.

        Args:
            text: the JSON.
            classes: how many the network has.

        Raises:
            UserError: it is of a newer version.
            ValueError: it is no calibration of such a network.
        """
        if len(text) > MOST_BYTES:
            raise ValueError(f"a calibration of {len(text):,} bytes, and those have at most {MOST_BYTES:,}")
        values = json.loads(text, parse_constant=_no_number)
        if not isinstance(values, dict):
            raise ValueError("a calibration that is no JSON object")
        if isinstance(version := values.get("version"), int) and version > VERSION:
            raise UserError(
                f"its calibration is of version {version}, and this pptsm reads versions up to {VERSION}: a newer one "
                "wrote it. Update pptsm."
            )
        least, coverage = _row(values, "least"), _row(values, "coverage")
        groups: Any = values.get("groups")
        videos: Any = values.get("videos")
        sampling, chose = values.get("sampling"), values.get("chose")
        temperature: Any = values.get("temperature")
        good = (
            version == (1 if temperature is None else VERSION)
            and (
                temperature is None
                or (_is_number(temperature) and LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE)
            )
            and sampling in ("uniform", "dense")
            and isinstance(chose, bool)
            and _is_count(groups)
            and _is_count(videos)
            and 0 < len(least) == len(coverage)
            and all(0 <= value <= 1 for value in (*least, *coverage))
            and least == sorted(least, reverse=True)
            and coverage == sorted(coverage)
            and math.isclose(coverage[-1], groups / (groups + 1), abs_tol=1e-6)
        )
        if not good:
            raise ValueError("a calibration whose levels, coverages or counts contradict each other")
        levels = Levels(int(groups), tuple(least), tuple(coverage))
        outliers = _outliers(values.get("outliers"), classes)
        softened_by = None if temperature is None else float(temperature)
        return cls(str(sampling), int(videos), levels, outliers, bool(chose), softened_by)


def _outliers(values: Any, classes: int) -> Outliers | None:
    if values is None:
        return None
    if not isinstance(values, dict) or not (_is_number(values.get("threshold")) and _is_number(values.get("share"))):
        raise ValueError("a calibration whose rule for strange videos lacks its numbers")
    distance = None
    if values.get("means") is not None:
        if classes > MOST_CLASSES:
            raise ValueError(f"a calibration with distances of {classes} classes")
        distance = ClassDistance(*(_square(values.get(name), classes) for name in ("means", "whiten")))
    return Outliers(float(values["threshold"]), float(values["share"]), distance)


def _square(rows: Any, classes: int) -> Floats:
    good = isinstance(rows, list) and len(rows) == classes and all(isinstance(row, list) for row in rows)
    if not good or not all(len(row) == classes and all(map(_is_number, row)) for row in rows):
        raise ValueError(f"a calibration whose table is not {classes} x {classes} numbers")
    return np.array(rows, dtype=np.float64)


def _row(values: dict[str, Any], name: str) -> list[float]:
    row = values.get(name)
    if not isinstance(row, list) or not all(map(_is_number, row)):
        raise ValueError(f"a calibration whose {name!r} is no list of numbers")
    return [float(value) for value in row]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _is_temperature(value: Any) -> bool:
    return _is_number(value) and bool(LEAST_TEMPERATURE <= value <= MOST_TEMPERATURE)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _no_number(name: str) -> float:
    raise ValueError(f"a calibration with {name}")


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
