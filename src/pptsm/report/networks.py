"""Several networks on the same videos: a row each, compared with the student, and how often they agree."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pptsm.evaluation.agreement import agreement_matrix, bootstrap_by_group
from pptsm.evaluation.expected import expected_of_part
from pptsm.evaluation.paired import mcnemar_p
from pptsm.evaluation.reliability import Bin, reliability
from pptsm.evaluation.statistics import gain_over
from pptsm.params.choices import Sampling
from pptsm.runtime.errors import UserError

KINETICS_VALIDATION = 19_761  # videos that published figures of Kinetics-400 are of
STUDENT = "student"


@dataclass(frozen=True)
class Compared:
    """A network, and the student's difference from it."""

    name: str  # its role, or as evaluate.also names it
    what: str  # in words
    sampling: Sampling
    views: int  # of a video
    metrics: dict[str, Any]  # as `evaluation.tables.metric_values` gives them
    gain: float | None  # of top-1 over the student's, on the same videos; None: the student itself
    gain_low: float | None
    gain_high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    only_it: int | None  # videos that it recognises and the student does not
    only_student: int | None
    p_value: float | None
    latency_ms_per_view: float | None
    onnx_bytes: int | None
    published: str | None
    expected: dict[str, float] | None  # of a network as good as its publisher says, on as many of its videos
    restricted_from: int | None  # to the dataset's classes, from so many of its own
    bins: list[Bin]

    def as_row(self) -> dict[str, Any]:
        """For a table: shares 0 to 1, rounded for reading."""
        metrics = {
            name: self.metrics[name]
            for name in (
                "videos", "groups", "top1", "top1_low", "top1_high", "top1_low_by_group", "top1_high_by_group", "top5",
                "mean_class_accuracy", "macro_f1", "calibration_error", "loss",
            )
        }  # fmt: skip
        own = asdict(self)
        kept = {
            name: own[name]
            for name in (
                "gain", "gain_low", "gain_high", "bootstrap_low", "bootstrap_high", "p_value", "only_it",
                "only_student", "latency_ms_per_view", "onnx_bytes", "published",
            )
        }  # fmt: skip
        expected = {f"expected_{name}": (self.expected or {}).get(name) for name in ("low", "high", "least", "most")}
        head = {"network": self.name, "what": self.what, "sampling": self.sampling, "views": self.views}
        return head | metrics | kept | expected | {"restricted_from": self.restricted_from}


@dataclass(frozen=True)
class Answers:
    """What a network was asked and answered."""

    name: str
    what: str
    sampling: Sampling
    views: int
    metrics: dict[str, Any]
    predictions: pd.DataFrame  # columns id, label, top1, score1
    latency_ms_per_view: float | None = None
    onnx_bytes: int | None = None
    published: str | None = None
    published_top1: float | None = None
    restricted_from: int | None = None


def compare(networks: Sequence[Answers], groups: dict[str, str], *, of_kinetics: bool) -> list[Compared]:
    """A row for each network, in their order.

    Args:
        networks: the student among them; all were asked about the same videos.
        groups: id of a video -> its group.
        of_kinetics: whether the videos are Kinetics-400's validation videos, or a part of them.
    """
    right = {one.name: _right(one) for one in networks}
    ids = next(one for one in networks if one.name == STUDENT).predictions["id"]
    groups_N = [groups[name] for name in ids]
    return [_compared(one, right[one.name], right[STUDENT], groups_N, of_kinetics) for one in networks]


def same_videos(asked: pd.DataFrame, others: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The rows of a network's predictions in the order of the student's.

    Args:
        asked: the student's.
        others: the network's.
        stage: who wrote them.

    Raises:
        UserError: they are of other videos.
    """
    found = others.set_index("id").reindex(asked["id"]).reset_index()
    if len(others) != len(asked) or found["top1"].isna().any() or (found["label"] != asked["label"].to_numpy()).any():
        raise UserError(
            f"the student's {len(asked)} predictions and another network's {len(others)} are of different videos, and "
            f"can only be compared on the same ones. `dvc repro {stage}` makes them anew."
        )
    return found


def agreement(networks: Sequence[Answers]) -> NDArray[np.float64]:
    """[M, M]: the share of the videos with the same answer."""
    return agreement_matrix([one.predictions["top1"].tolist() for one in networks])


def table(rows: Sequence[Compared], agree: NDArray[np.float64]) -> pd.DataFrame:
    """All figures, one row per network, with its agreement with each of them."""
    values = pd.DataFrame([row.as_row() for row in rows])
    counts = ["only_it", "only_student", "onnx_bytes", "restricted_from"]
    values[counts] = values[counts].astype("Int64")  # whole numbers, where there is one
    for row, shares in zip(rows, agree.T, strict=True):
        values[f"agrees with {row.name}"] = shares.round(6)
    return values


def _right(network: Answers) -> NDArray[np.bool_]:
    return (network.predictions["top1"] == network.predictions["label"]).to_numpy()


def _compared(
    one: Answers,
    right_N: NDArray[np.bool_],
    student_right_N: NDArray[np.bool_],
    groups_N: list[str],
    of_kinetics: bool,
) -> Compared:
    expected = None
    if of_kinetics and one.published_top1 is not None and one.restricted_from is None:
        expected = expected_of_part(one.published_top1, KINETICS_VALIDATION, len(right_N))
    versus: dict[str, Any] = dict.fromkeys(
        ("gain", "gain_low", "gain_high", "bootstrap_low", "bootstrap_high", "only_it", "only_student", "p_value")
    )
    if one.name != STUDENT:
        gain = gain_over(right_N, student_right_N, groups_N)
        low, high = bootstrap_by_group(right_N, student_right_N, groups_N) or (None, None)
        won, lost = int((right_N & ~student_right_N).sum()), int((~right_N & student_right_N).sum())
        versus = {name: _rounded(value) for name, value in asdict(gain).items()}
        versus |= {"bootstrap_low": _rounded(low), "bootstrap_high": _rounded(high)}
        versus |= {"only_it": won, "only_student": lost, "p_value": mcnemar_p(won, lost)}
    return Compared(
        name=one.name,
        what=one.what,
        sampling=one.sampling,
        views=one.views,
        metrics=one.metrics,
        **versus,
        latency_ms_per_view=one.latency_ms_per_view,
        onnx_bytes=one.onnx_bytes,
        published=one.published,
        expected=None if expected is None else {name: round(value, 6) for name, value in asdict(expected).items()},
        restricted_from=one.restricted_from,
        bins=reliability(one.predictions["score1"].to_numpy(), right_N),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
