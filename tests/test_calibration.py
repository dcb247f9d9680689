"""'Don't know': sets of classes at a coverage, and videos that show none of the classes, by validation videos."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from conftest import moving_square, pptsm
from helpers.exported import LABELS, exported
from pptsm.deploy.calibrated import with_calibration
from pptsm.evaluation.calibrate import Scored, calibrate, reached
from pptsm.evaluation.calibration import Calibration
from pptsm.evaluation.conformal import (
    MOST_LEVELS,
    conformal_levels,
    fewest_groups,
    group_weights,
    least_probability,
    prediction_set,
)
from pptsm.evaluation.metrics import softmax
from pptsm.evaluation.model_file import has_right_digest
from pptsm.evaluation.outliers import alarm_threshold, class_distance
from pptsm.runtime.errors import UserError
from pptsm.serving.inbox import read_results
from pptsm.serving.metadata import CALIBRATION, ModelMetadata
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video


def drawn(groups: int, videos: int, classes: int, seed: int) -> Scored:
    """Videos whose logits scatter about their class's, and whose groups differ much in how hard they are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, groups * videos)
    hardness = np.repeat(rng.exponential(1.5, groups), videos)[:, None]
    logits = 3 * np.eye(classes)[labels] + hardness * rng.standard_normal((groups * videos, classes))
    return Scored(logits.astype(np.float32), labels, [f"g{number // videos}" for number in range(groups * videos)])


@pytest.mark.parametrize(("groups", "videos"), [(30, 1), (12, 6)])
def test_the_coverage_holds_in_groups_never_seen(groups: int, videos: int) -> None:
    """On average over 300 draws of validation and test groups; a level one video too high would fall short."""
    covered, size = [], []
    for seed in range(300):
        both = drawn(groups + 20, videos, 5, seed)
        cut = groups * videos
        levels = conformal_levels(both.logits_NK[:cut], both.labels_N[:cut], both.groups_N[:cut])
        least = least_probability(levels, 0.9)
        sets = [prediction_set(row, least) for row in softmax(both.logits_NK[cut:])]
        covered.append(np.mean([label in found for label, found in zip(both.labels_N[cut:], sets, strict=True)]))
        size.append(np.mean([len(found) for found in sets]))
    assert 0.9 - 0.005 < np.mean(covered) < 0.96
    assert 1 < np.mean(size) < 5


@pytest.mark.parametrize(("coverage", "groups"), [(0.9, 10), (0.8, 5), (0.95, 20), (0.99, 100), (0.5, 2), (2 / 3, 3)])
def test_so_many_groups_are_needed_and_no_more(coverage: float, groups: int) -> None:
    """1 / (1 - coverage), whatever floating point makes of it; the refusal names both numbers and what can be asked."""
    assert fewest_groups(coverage) == groups
    enough, few = drawn(groups, 2, 3, 0), drawn(groups - 1, 2, 3, 0)
    least_probability(conformal_levels(*enough), coverage)
    with pytest.raises(UserError, match=rf"at least {groups} groups, .* calibrated with {groups - 1}\. ") as refused:
        least_probability(conformal_levels(*few), coverage)
    if groups > 2:
        remedy = float(str(refused.value).split("at most ")[1].split(";")[0])
        least_probability(conformal_levels(*few), remedy)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(UserError, match="above 0 and below 1"):
        fewest_groups(coverage)


def test_each_group_weighs_the_same() -> None:
    np.testing.assert_allclose(group_weights(["a", "b", "b", "b"]), [0.5, 1 / 6, 1 / 6, 1 / 6])


def test_a_set_holds_ties_and_is_never_empty() -> None:
    """Best first; two equal classes are both in it; where none is probable enough, the best stays."""
    assert prediction_set(np.array([0.1, 0.4, 0.4, 0.1]), 0.4).tolist() == [1, 2]
    assert prediction_set(np.array([0.2, 0.5, 0.3]), 0.25).tolist() == [1, 2]
    assert prediction_set(np.array([0.2, 0.5, 0.3]), 0.9).tolist() == [1]


def test_levels_that_are_left_out_make_no_set_smaller() -> None:
    """With thousands of videos a part of the levels is kept."""
    many = drawn(3000, 1, 4, 1)
    levels = conformal_levels(*many)
    assert len(levels.least_L) == MOST_LEVELS
    own = np.sort(softmax(many.logits_NK)[np.arange(3000), many.labels_N])[::-1]
    for coverage in (0.1, 0.5, 0.9, 0.99, 0.999):
        exact = own[int(np.ceil(coverage * 3001)) - 1]
        assert exact * 0.9 < least_probability(levels, coverage) <= exact


def test_the_distance_tells_strange_logits_that_look_sure() -> None:
    """Logits between the classes, and far out in an unknown direction, although one class wins clearly."""
    train, val = drawn(40, 5, 4, 2), drawn(30, 5, 4, 3)
    tame = [
        Scored(3 * np.eye(4)[s.labels_N] + 0.1 * (s.logits_NK - 3 * np.eye(4)[s.labels_N]), *s[1:])
        for s in (train, val)
    ]
    made = calibrate(tame[1], tame[0], "uniform", chose=False)
    assert made.outliers is not None
    assert made.outliers.distance is not None
    assert made.knows(np.array([3.0, 0, 0, 0], np.float32)) is True
    assert made.knows(np.array([5.0, 3.0, 3.0, 0], np.float32)) is False
    alarms = made.outliers.scores(tame[1].logits_NK) > made.outliers.threshold
    assert alarms.mean() <= 0.05


def test_few_videos_of_a_class_give_no_distance() -> None:
    """Four of one class; a class of which there is none; and one class alone."""
    logits = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    assert class_distance(logits, np.repeat([0, 1], [8, 4])) is None
    assert class_distance(logits, np.zeros(12, np.int64)) is None
    assert class_distance(logits[:, :1], np.zeros(12, np.int64)) is None
    assert class_distance(logits, np.repeat([0, 1], [7, 5])) is not None
    assert class_distance(np.ones((12, 2), np.float32), np.repeat([0, 1], 6)) is None  # nothing scatters


def test_a_threshold_needs_videos_and_groups() -> None:
    """20 videos for a share of 5 %, and no verdict from one group; each group weighs the same."""
    groups = [str(number) for number in range(20)]
    scores = np.arange(20.0)
    assert alarm_threshold(scores, groups, 0.05) == 19
    assert alarm_threshold(scores[1:], groups[1:], 0.05) is None
    assert alarm_threshold(scores, ["a"] * 20, 0.05) is None
    many = alarm_threshold(np.arange(1000.0), [str(number) for number in range(1000)], 0.05)
    assert many is not None
    assert (np.arange(1000) > many).mean() == pytest.approx(0.05, abs=0.002)


def test_what_is_reached_is_counted_on_other_videos() -> None:
    """A promise for which there are no groups is not in the table."""
    made = calibrate(drawn(12, 6, 5, 4), drawn(20, 10, 5, 5), "uniform", chose=True)
    found = reached(made, drawn(40, 6, 5, 6))
    assert [row["coverage"] for row in found["coverages"]] == [0.8, 0.9]
    for row in found["coverages"]:
        assert row["low_by_group"] <= row["low"] <= row["share"] <= row["high"] <= row["high_by_group"]
    assert found["false_alarms"]["stated"] == 0.05
    assert 0 <= found["false_alarms"]["share"] < 0.3


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(drawn(12, 6, len(LABELS), 4), drawn(20, 10, len(LABELS), 5), "uniform", chose=False)


def test_it_is_read_as_it_was_written(calibration: Calibration) -> None:
    assert Calibration.of_json(calibration.to_json(), len(LABELS)).to_json() == calibration.to_json()


FAULTS: dict[str, Any] = {
    "sampling": "both",
    "videos": 0,
    "groups": True,
    "chose": "no",
    "least": [0.1, 0.9],
    "coverage": [2.0],
    "outliers": {"threshold": "1", "share": 0.05},
    "version": 0,
}


@pytest.mark.parametrize("key", FAULTS)
def test_a_wrong_value_is_refused(calibration: Calibration, key: str) -> None:
    """A file may come from elsewhere."""
    values = json.loads(calibration.to_json()) | {key: FAULTS[key]}
    with pytest.raises(ValueError, match="calibration"):
        Calibration.of_json(json.dumps(values), len(LABELS))


def test_what_is_no_calibration_is_refused(calibration: Calibration) -> None:
    """Not a number, another network's, no JSON object, too large; and one of a newer version gets its own sentence."""
    text = calibration.to_json()
    for bad, classes in (
        (text.replace("0.05", "NaN"), len(LABELS)),
        (text, len(LABELS) + 1),
        ("[]", 2),
        (" " * 300_000, 2),
    ):
        with pytest.raises(ValueError, match="calibration"):
            Calibration.of_json(bad, classes)
    with pytest.raises(UserError, match="newer one wrote it"):
        Calibration.of_json(text.replace('"version": 1', '"version": 3'), len(LABELS))


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory, calibration: Calibration) -> Path:
    """A folder with model.onnx, which carries a calibration, plain.onnx, which does not, and a video."""
    folder = tmp_path_factory.mktemp("packaged")
    plain = exported(folder)
    plain.rename(folder / "plain.onnx")
    (folder / "model.onnx").write_bytes(with_calibration((folder / "plain.onnx").read_bytes(), calibration))
    write_video(folder / "a.mp4", moving_square(16), 10, "h264")
    return folder


def test_a_file_with_its_calibration_has_the_same_graph(packaged: Path, calibration: Calibration) -> None:
    """Byte for byte, with a right digest; and without it again, it is the file that it was."""
    with_it, plain = (packaged / name for name in ("model.onnx", "plain.onnx"))
    graphs = [onnx.load(str(file)).graph.SerializeToString(deterministic=True) for file in (with_it, plain)]
    assert graphs[0] == graphs[1]
    assert has_right_digest(with_it.read_bytes())
    said = ModelMetadata.of_file(with_it).calibration
    assert said is not None
    assert said.to_json() == calibration.to_json()
    assert ModelMetadata.of_file(plain).calibration is None
    assert with_calibration(with_it.read_bytes(), None) == plain.read_bytes()


def test_a_garbled_calibration_is_refused(packaged: Path) -> None:
    said = ModelMetadata.of_file(packaged / "model.onnx").to_properties()
    with pytest.raises(UserError, match="was not written by `pptsm export`"):
        ModelMetadata.from_properties(said | {CALIBRATION: "{"}, "x.onnx")


def test_predict_says_what_may_be_and_that_it_is_none_of_these(packaged: Path, calibration: Calibration) -> None:
    """As the calibration has it for the video's logits; the list of the best is what it was."""
    arguments = ("predict", "a.mp4", "--json")
    plain, told = (
        json.loads(pptsm(*arguments, "--model", name, *more, cwd=packaged).stdout)[0]
        for name, more in (("plain.onnx", ()), ("model.onnx", ("--coverage", "0.9")))
    )
    logits = Predictor(packaged / "model.onnx").answer(packaged / "a.mp4").logits
    assert logits is not None
    assert told["known"] is calibration.knows(logits)
    assert told["classes"] == [LABELS[number] for number in calibration.may_be(logits, 0.9)]
    assert told["coverage"] == 0.9
    assert told["top"] == plain["top"]
    assert not {"known", "classes", "coverage"} & set(plain)
    text = pptsm("predict", "a.mp4", "--model", "model.onnx", cwd=packaged).stdout
    assert ("none of these" in text) is not told["known"]
    assert "may be" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "plain.onnx", "--coverage", "0.9"), "carries no calibration"),
        (("--model", "model.onnx", "--coverage", "0.95"), "at least 20 groups"),
        (("--model", "model.onnx", "--coverage", "nan"), "above 0 and below 1"),
        (("--model", "model.onnx", "--coverage", "0.9", "--sampling", "dense"), "calibrated by uniform sampling"),
    ],
)
def test_a_coverage_that_cannot_be_had_is_refused(packaged: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """In a sentence, before any video is opened."""
    done = pptsm("predict", "a.mp4", *arguments, cwd=packaged, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_of_results_says_what_is_none_of_these(packaged: Path, calibration: Calibration) -> None:
    """In column `known`; empty of a model that cannot tell, and added to a table of an older version."""
    (packaged / "in").mkdir(exist_ok=True)
    shutil.copy2(packaged / "a.mp4", packaged / "in" / "a.mp4")
    os.utime(packaged / "in" / "a.mp4", (0, 0))
    logits = Predictor(packaged / "model.onnx").answer(packaged / "a.mp4").logits
    assert logits is not None
    expected = str(calibration.knows(logits)).lower()
    for model, known in (("model.onnx", expected), ("plain.onnx", "")):
        results = packaged / f"{model}.csv"
        pptsm("predict", "in", "--model", model, "--results", results, cwd=packaged)
        (row,) = read_results(results).values()
        assert row["known"] == known
    older = pd.read_csv(results, dtype=str, keep_default_na=False).drop(columns="known")
    older.to_csv(results, index=False)
    assert [row["known"] for row in read_results(results).values()] == [""]
