"""Accuracy from hand-made logits."""

import numpy as np
import pytest

from pptsm.evaluation.metrics import accuracy, confusion_matrix, cross_entropy, ranking, softmax, wilson_interval

LOGITS = np.array([[3.0, 1, 0, 0, 0, 0], [0, 1, 3, 0, 0, 0], [6, 5, 4, 3, 2, 1], [0, 0, 0, 0, 0, 9]])
LABELS = np.array([0, 1, 5, 5])


def test_top1_top5_and_class_mean_count_videos() -> None:
    """Right, second, sixth, right; class 5 is half right."""
    figures = accuracy(LOGITS, LABELS)
    assert (figures.videos, figures.top1, figures.top5) == (4, 0.5, 0.75)
    assert figures.mean_class_accuracy == pytest.approx((1 + 0 + 0.5) / 3)  # classes without videos do not count
    assert figures.top1_low < 0.5 < figures.top1_high


def test_fewer_than_five_classes() -> None:
    """Top-5 of two classes is certain."""
    assert accuracy(np.array([[0.0, 1.0]]), np.array([0])).top5 == 1


def test_ties_go_to_the_lower_class() -> None:
    """The same in ranking, accuracy and confusion."""
    tied = np.zeros((1, 3))
    assert ranking(tied, 2).tolist() == [[0, 1]]
    assert confusion_matrix(tied, np.array([2]))[2, 0] == 1


def test_wilson_interval_equals_the_published_example() -> None:
    """8 of 10: 0.4902 to 0.9433; all and none stay inside 0..1."""
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    assert wilson_interval(0, 5)[0] == 0
    assert wilson_interval(5, 5)[1] == 1


def test_softmax_and_loss_take_each_video_by_itself() -> None:
    """Two videos with logits of different size: as each alone."""
    two, labels = np.array([[0.0, np.log(3)], [7.0, 7.0]]), np.array([1, 0])
    np.testing.assert_allclose(softmax(two), [[0.25, 0.75], [0.5, 0.5]])
    assert cross_entropy(two, labels) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_softmax_and_loss_of_large_logits_do_not_overflow() -> None:
    """Shifted by the maximum."""
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]])), [[0.5, 0.5]])
    assert cross_entropy(np.array([[1000.0, 1000.0]]), np.array([0])) == pytest.approx(np.log(2))
