"""Figures of several networks and of their probabilities, each against another library or a plain computation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.metrics import f1_score, log_loss

from conftest import moving_square
from helpers.exported import CLIP, SHAPE, exported
from pptsm.data.views import pixels_of_file
from pptsm.deploy.calibrated import with_calibration
from pptsm.evaluation.agreement import agreement_matrix, bootstrap_by_group
from pptsm.evaluation.calibrate import Scored, calibrate, reached
from pptsm.evaluation.calibration import LEAST_TEMPERATURE, MOST_TEMPERATURE, VERSION, Calibration
from pptsm.evaluation.expected import expected_of_part
from pptsm.evaluation.label_match import match_classes
from pptsm.evaluation.metrics import NoNumbersError, softmax
from pptsm.evaluation.reliability import Bin, calibration_error, reliability
from pptsm.evaluation.statistics import gain_over
from pptsm.evaluation.tables import macro_f1, metric_values, prediction_rows
from pptsm.evaluation.temperature import fit_temperature
from pptsm.runtime.errors import UserError
from pptsm.serving.parity import _is_tie
from pptsm.serving.predictor import Predictor
from pptsm.serving.timeline import Window, WindowScorer
from pptsm.video.encode import write_video

RNG = np.random.default_rng(7)
LABELS = RNG.integers(0, 5, 400)
LOGITS = (2 * np.eye(5)[LABELS] + RNG.standard_normal((400, 5)) * 2).astype(np.float32)
GROUPS = [f"g{number // 8}" for number in range(400)]


# ---- two networks ---------------------------------------------------------------------------------------------------


def test_the_bootstrap_of_groups_is_that_of_scipy() -> None:
    """Groups of different sizes, drawn with replacement: both ends, to what 4,000 draws of either leave open."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 20, 60)
    groups = [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]
    effect = np.repeat(rng.normal(0, 1, 60), sizes)
    right, other = effect + rng.normal(0.3, 1, len(groups)) > 0, rng.normal(0, 1, len(groups)) > 0
    found = bootstrap_by_group(right, other, groups)
    starts = np.cumsum([0, *sizes[:-1]])
    gained = np.add.reduceat(right.astype(int) - other.astype(int), starts)
    theirs = stats.bootstrap(
        (gained, sizes),
        lambda gains, of, axis: gains.sum(axis=axis) / of.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=9999,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.006)
    by_video = bootstrap_by_group(right, other, [str(number) for number in range(len(groups))])
    assert by_video is not None
    assert found is not None
    assert by_video[1] - by_video[0] < found[1] - found[0] - 0.01  # groups that succeed together tell less


def test_with_many_groups_the_bootstrap_is_the_paired_interval() -> None:
    """Each video its own group; and one group has none, nor have networks that agree any width."""
    right, other = RNG.random(900) < 0.8, RNG.random(900) < 0.7
    groups = [str(number) for number in range(900)]
    gain = gain_over(right, other, groups)
    assert bootstrap_by_group(right, other, groups) == pytest.approx((gain.gain_low, gain.gain_high), abs=0.006)
    assert bootstrap_by_group(right, other, ["a"] * 900) is None
    assert bootstrap_by_group(right, right, groups) == (0, 0)


def test_agreement_counts_the_same_answers_right_or_wrong() -> None:
    """Symmetric, whole with itself; the words decide, not their order."""
    found = agreement_matrix([["a", "b", "c", "a"], ["a", "c", "c", "b"], ["x", "x", "x", "x"]])
    assert found.tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]


# ---- probabilities --------------------------------------------------------------------------------------------------


def test_the_calibration_error_is_that_of_a_plain_loop() -> None:
    """Fifteen bins, each with its upper end; every video is in one."""
    confidence, right = softmax(LOGITS).max(axis=1), LOGITS.argmax(axis=1) == LABELS
    expected = 0.0
    for number in range(15):
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if number / 15 < c <= (number + 1) / 15]
        if inside:
            expected += abs(sum(c for c, _ in inside) - sum(r for _, r in inside)) / len(right)
    bins = reliability(confidence, right)
    assert calibration_error(bins) == pytest.approx(expected, abs=1e-12)
    assert sum(one.videos for one in bins) == 400
    assert expected > 0.05  # it is about something


def test_bins_at_their_edges() -> None:
    """0 is in the first, 1 in the last, an edge in the lower one; NaN, a share above 1 and no video are refused."""
    found = reliability(np.array([0.0, 0.5, 1.0]), np.array([False, True, True]), bins=2)
    assert found == [Bin(0, 0.5, 2, 0.25, 0.5), Bin(0.5, 1, 1, 1, 1)]
    for wrong in ([np.nan], [1.1], [-0.1], []):
        with pytest.raises(ValueError, match="not all are between 0 and 1"):
            reliability(np.array(wrong), np.ones(len(wrong), dtype=bool))


def test_macro_f1_is_that_of_scikit_learn() -> None:
    """Also where a class has no video, or was never the answer; with one class it is 1."""
    for chosen in (LABELS < 9, LABELS < 3, LABELS == 2):
        labels, logits = LABELS[chosen], LOGITS[chosen]
        theirs = f1_score(labels, logits.argmax(axis=1), average="macro")
        assert macro_f1(logits, labels) == pytest.approx(theirs, abs=1e-12)
    assert macro_f1(np.zeros((3, 1), np.float32), np.zeros(3, dtype=np.int64)) == 1


def test_the_figures_of_a_table_of_predictions_are_those_of_the_logits() -> None:
    """The report draws bins from the table, and quotes the error from the figures."""
    classes = list("abcde")
    videos = pd.DataFrame({"id": [str(n) for n in range(400)], "label": [classes[n] for n in LABELS]})
    rows = prediction_rows(videos, LOGITS, classes)
    bins = reliability(rows["score1"].to_numpy(), (rows["top1"] == rows["label"]).to_numpy())
    assert metric_values(LOGITS, LABELS, GROUPS)["calibration_error"] == pytest.approx(
        calibration_error(bins), abs=1e-6
    )


# ---- a temperature --------------------------------------------------------------------------------------------------


def test_the_temperature_is_where_the_loss_is_least() -> None:
    """As another optimiser finds it by another library's loss; of logits twice as large it is twice as high."""
    found = fit_temperature(LOGITS, LABELS)
    theirs = minimize(
        lambda log_t: log_loss(LABELS, softmax(LOGITS.astype(np.float64) / np.exp(log_t[0]))),
        [0.0],
        method="Nelder-Mead",
    )
    assert found == pytest.approx(float(np.exp(theirs.x[0])), rel=1e-3)
    assert fit_temperature(2 * LOGITS, LABELS) == pytest.approx(2 * found, rel=1e-4)
    assert found > 1.2  # too sure: noise of 2 on a signal of 2


def test_a_temperature_where_there_is_little_to_fit() -> None:
    """All right: the least allowed; all wrong: the most; one class, ties: 1; not a number: refused."""
    sure = 5 * np.eye(3, dtype=np.float32)
    assert fit_temperature(sure, np.arange(3)) == pytest.approx(LEAST_TEMPERATURE, rel=1e-3)
    assert fit_temperature(sure, np.array([1, 2, 0])) == pytest.approx(MOST_TEMPERATURE, rel=1e-3)
    assert fit_temperature(np.ones((4, 1), np.float32), np.zeros(4, dtype=np.int64)) == 1
    assert fit_temperature(np.full((4, 3), 7, np.float32), np.zeros(4, dtype=np.int64)) == 1
    for bad in (np.full((2, 3), np.nan, np.float32), np.zeros((0, 3), np.float32)):
        with pytest.raises(NoNumbersError):
            fit_temperature(bad, np.zeros(len(bad), dtype=np.int64))


def test_a_calibration_carries_its_temperature_and_one_without_stays_as_it_was() -> None:
    """Answers and sets are the same with it; the error of other videos falls; older files are read, newer refused."""
    cut = 200
    val = Scored(LOGITS[:cut], LABELS[:cut], GROUPS[:cut])
    other = Scored(LOGITS[cut:], LABELS[cut:], GROUPS[cut:])
    without = calibrate(val, None, "uniform", False)
    softened = calibrate(val, None, "uniform", False, temperature=True)
    assert '"version": 1' in without.to_json()
    assert "temperature" not in without.to_json()
    assert "temperature" not in reached(without, other)
    assert f'"version": {VERSION}' in softened.to_json()
    assert Calibration.of_json(softened.to_json(), 5) == softened
    found = reached(softened, other)
    assert found["coverages"] == reached(without, other)["coverages"]
    assert found["temperature"]["calibration_error"] < found["temperature"]["calibration_error_without"] - 0.03
    assert found["temperature"]["loss"] < found["temperature"]["loss_without"]
    logits = softened.softened(LOGITS)
    assert logits.dtype == np.float32
    assert (logits.argmax(axis=1) == LOGITS.argmax(axis=1)).all()
    assert without.softened(LOGITS) is LOGITS
    said = softened.to_json()
    for wrong in ("0", "-1", "1e9", "true", '"2"'):
        with pytest.raises(ValueError, match="contradict each other"):
            Calibration.of_json(said.replace(said.rsplit(": ", 1)[1], wrong + "}"), 5)
    with pytest.raises(UserError, match=f"version {VERSION + 1}"):
        Calibration.of_json(said.replace(f'"version": {VERSION}', f'"version": {VERSION + 1}'), 5)


# ---- what a published figure lets one expect -------------------------------------------------------------------------


def test_a_part_of_the_videos_lets_expect_what_drawing_it_gives() -> None:
    """Draws of 500 of 2,000, of which 1,490 are right: 95 % lie in the range, and none outside the bounds."""
    found = expected_of_part(0.745, 2000, 500)
    assert found is not None
    rng = np.random.default_rng(3)
    drawn = np.array([(rng.permutation(2000)[:500] < 1490).mean() for _ in range(3000)])
    inside = (drawn >= found.low) & (drawn <= found.high)
    assert 0.94 < inside.mean() < 0.975
    assert ((drawn <= found.low).mean(), (drawn >= found.high).mean()) == pytest.approx((0.025, 0.025), abs=0.015)
    assert (found.least, found.most) == (0, 1)
    nearly = expected_of_part(0.745, 2000, 1990)
    assert nearly is not None
    assert (nearly.least, nearly.most) == pytest.approx((1480 / 1990, 1490 / 1990))


def test_all_videos_let_expect_the_figure_itself_and_none_nothing() -> None:
    """More videos than there were, no figure, or none: nothing is expected."""
    whole = expected_of_part(0.7454, 19761, 19761)
    assert whole is not None
    assert {whole.low, whole.high, whole.least, whole.most} == {round(0.7454 * 19761) / 19761}
    for figure, of, found in ((0.7, 10, 11), (0.7, 10, 0), (float("nan"), 10, 5), (74.5, 10, 5)):
        assert expected_of_part(figure, of, found) is None


# ---- classes --------------------------------------------------------------------------------------------------------


def test_classes_are_matched_by_name() -> None:
    """In another order, by another spelling, as a part of the network's; each class has a column of its own."""
    assert match_classes(["a", "b"], ["a", "b"], "x").columns == [0, 1]
    found = match_classes(["Air_Drumming", "zumba"], ["zumba", "yoga", "air drumming"], "x")
    assert (found.columns, found.of, found.restricted) == ([2, 0], 3, True)
    assert not match_classes(["b", "a"], ["a", "b"], "x").restricted
    assert match_classes(["A", "a"], ["a", "A"], "x").columns == [1, 0]  # as they stand, before as they are spelled


@pytest.mark.parametrize(
    ("classes", "labels", "sentence"),
    [
        (["a", "b", "c"], ["a", "d"], "of the dataset's 3 classes it does not know 2 ('b', 'c'); it knows 2"),
        (["A B"], ["a b", "a_b"], "does not know 1 ('A B')"),
        (["a b", "a_b"], ["A B"], "'a b', 'a_b' are one class to it"),
    ],
    ids=["unknown", "ambiguous", "two for one"],
)
def test_classes_that_a_network_does_not_know_are_named(classes: list[str], labels: list[str], sentence: str) -> None:
    """With the network, and that nothing was scored."""
    with pytest.raises(UserError, match="Nothing was scored") as caught:
        match_classes(classes, labels, "some network")
    assert sentence in str(caught.value)
    assert "some network" in str(caught.value)


def test_a_packaged_file_answers_with_the_temperature_and_another_sampling_does_not(tmp_path: Path) -> None:
    """What was measured is what is served, by file and by windows; the exported file itself is as it was."""
    plain = exported(tmp_path)
    levels = calibrate(Scored(LOGITS[:, :3], LABELS % 3, GROUPS), None, "uniform", False)
    softened = replace(levels, temperature=2.5)
    packaged = tmp_path / "packaged.onnx"
    packaged.write_bytes(with_calibration(plain.read_bytes(), softened))
    views = np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32)
    before, after = Predictor(plain, runtime="onnxruntime"), Predictor(packaged, runtime="onnxruntime")
    (top, logits), (soft, same_logits) = before.ranked(views, 3), after.ranked(views, 3)
    assert np.array_equal(logits, same_logits)
    assert [guess.label for guess in top] == [guess.label for guess in soft]
    assert [guess.score for guess in top] == pytest.approx(np.sort(softmax(logits))[::-1], abs=1e-6)
    assert [guess.score for guess in soft] == pytest.approx(np.sort(softmax(logits / 2.5))[::-1], abs=1e-6)
    assert top[0].score > soft[0].score + 0.01
    other = Predictor(packaged, "dense", runtime="onnxruntime")
    assert other.ranked(views, 3)[0] == top
    video = tmp_path / "a.mp4"
    write_video(video, moving_square(20), 10, "h264")
    whole = pixels_of_file(video, CLIP, "uniform")
    scores, _ = WindowScorer(after)(Window(0.0, 1.0, whole.values))
    assert scores.max() == pytest.approx(after.predict(video, 1)[0].score, abs=1e-4)


def test_a_tie_is_one_before_the_temperature() -> None:
    """0.96 of the probability is a tie, 0.9 none; softened, both are closer, and still so."""
    for temperature in (1.0, 0.5, 3.0):
        for ratio, tied in ((0.96, True), (0.9, False)):
            row = {"top1": "a", "score1": 0.4, "top2": "b", "score2": 0.4 * ratio ** (1 / temperature)}
            assert _is_tie(row, "b", temperature) is tied
