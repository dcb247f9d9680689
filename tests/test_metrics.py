"""Accuracy from hand-made logits."""

import numpy as np
import pytest

from pptsm.evaluation.diagnosis import figures
from pptsm.evaluation.metrics import accuracy, confusion_matrix, cross_entropy, ranking, softmax
from pptsm.evaluation.tables import in_words, metric_values

LOGITS = np.array([[3.0, 1, 0, 0, 0, 0], [0, 1, 3, 0, 0, 0], [6, 5, 4, 3, 2, 1], [0, 0, 0, 0, 0, 9]])
LABELS = np.array([0, 1, 5, 5])


def test_top1_top5_and_class_mean_count_videos() -> None:
    """Right, second, sixth, right; class 5 is half right."""
    figures = accuracy(LOGITS, LABELS)
    assert (figures.videos, figures.top1, figures.top5) == (4, 0.5, 0.75)
    assert figures.mean_class_accuracy == pytest.approx((1 + 0 + 0.5) / 3)  # classes without videos do not count


def test_fewer_than_five_classes() -> None:
    """Top-5 of two classes is certain."""
    assert accuracy(np.array([[0.0, 1.0]]), np.array([0])).top5 == 1


def test_ties_go_to_the_lower_class() -> None:
    """The same in ranking, accuracy and confusion."""
    tied = np.zeros((1, 3))
    assert ranking(tied, 2).tolist() == [[0, 1]]
    assert confusion_matrix(tied, np.array([2]))[2, 0] == 1


def one_hot(guesses: list[int], classes: int) -> np.ndarray:
    return np.eye(classes)[guesses]


def test_intervals_by_video_and_by_group_stand_side_by_side() -> None:
    """8 of 10 right: Wilson's example by video; wider by group where one of five groups is wrong throughout."""
    labels = np.zeros(10, dtype=np.int64)
    logits = one_hot([1, 1] + [0] * 8, 3)
    values = metric_values(logits, labels, [str(number // 2) for number in range(10)])
    assert (values["videos"], values["groups"], values["classes"]) == (10, 5, 3)
    assert (values["top1_low"], values["top1_high"]) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    assert values["top1_low_by_group"] < values["top1_low"]
    assert values["top1_high_by_group"] > values["top1_high"]
    alone = metric_values(logits, labels, [str(number) for number in range(10)])
    assert (alone["top1_low_by_group"], alone["top1_high_by_group"]) == (values["top1_low"], values["top1_high"])


def test_the_verdict_on_chance_goes_with_the_figures() -> None:
    """All taken for the larger class of two: 75 %, and nothing known; all right: known."""
    labels = np.array([0] * 30 + [1] * 10)
    groups = [str(number) for number in range(40)]
    lazy = metric_values(one_hot([0] * 40, 2), labels, groups)
    assert (lazy["top1"], lazy["chance"], lazy["largest_class"], lazy["above_chance"]) == (0.75, 0.75, 0.75, False)
    assert "NOT ABOVE CHANCE (75.0%)" in in_words(lazy)
    right = metric_values(one_hot(labels.tolist(), 2), labels, groups)
    assert right["above_chance"] is True
    assert "CHANCE" not in in_words(right)


def test_the_lower_end_that_is_named_allows_for_the_choice_of_the_epoch() -> None:
    """15 of 20 pairs recognised is above chance, but not as the best of 50 epochs that these videos chose."""
    labels, groups = np.array([0, 1] * 20), [str(number // 2) for number in range(40)]
    logits = one_hot([1, 0] * 5 + [0, 1] * 15, 2)
    plain, chosen = metric_values(logits, labels, groups), metric_values(logits, labels, groups, compared=50)
    assert plain["low"] == plain["top1_low_by_group"]
    assert plain["low_by_video"] == plain["top1_low"]
    assert chosen["top1_low_by_group"] == plain["top1_low_by_group"]  # a plain 95 % interval
    assert (plain["above_chance"], chosen["above_chance"]) == (True, False)
    assert f"interval from {chosen['low']:.1%} (these videos chose the best of 50 epochs" in figures(chosen, "val")
    assert chosen["low"] < chosen["chance"] < plain["low"]
    assert "if groups did not matter" not in figures(chosen, "val")
    assert chosen["low_by_video"] < chosen["chance"] < chosen["top1_low"]


def test_figures_are_json_of_plain_values() -> None:
    """No numpy types, rounded to six places."""
    values = metric_values(LOGITS, LABELS, list("aabb"))
    assert {type(value) for value in values.values()} <= {int, float, bool}
    assert values["mean_class_accuracy"] == 0.5
    assert values["loss"] == round(values["loss"], 6)


def test_softmax_and_loss_take_each_video_by_itself() -> None:
    """Two videos with logits of different size: as each alone."""
    two, labels = np.array([[0.0, np.log(3)], [7.0, 7.0]]), np.array([1, 0])
    np.testing.assert_allclose(softmax(two), [[0.25, 0.75], [0.5, 0.5]])
    assert cross_entropy(two, labels) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_softmax_and_loss_of_large_logits_do_not_overflow() -> None:
    """Shifted by the maximum."""
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]])), [[0.5, 0.5]])
    assert cross_entropy(np.array([[1000.0, 1000.0]]), np.array([0])) == pytest.approx(np.log(2))
