"""Intervals and the verdict on chance, from hand-made results."""

import numpy as np
import pytest

from pptsm.evaluation.statistics import gain_over, interval, interval_by_group, judge


def test_wilson_interval_equals_the_published_example() -> None:
    """8 of 10: 0.4902 to 0.9433; all and none stay inside 0..1."""
    assert interval(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    assert interval(0, 5)[0] == 0
    assert interval(5, 5)[1] == 1


def test_few_groups_of_many_videos_tell_little() -> None:
    """59 videos in six groups, one of which is wrong throughout: far wider than by video."""
    groups = [f"g{number % 6}" for number in range(59)]
    right = np.array([group != "g0" for group in groups])
    by_video, by_group = interval(int(right.sum()), 59), interval_by_group(right, groups)
    assert by_group[0] < by_video[0] - 0.1
    assert by_group[1] >= by_video[1]


def test_a_groups_right_videos_stay_with_its_size() -> None:
    """Large groups are right as often as small ones: drawing them again moves the share little."""
    sizes = [2, 4, 6, 40, 60, 80, 2, 4, 6, 40, 60, 80]
    right = np.concatenate([np.arange(size) < size // 2 + (number % 2) for number, size in enumerate(sizes)])
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    low, high = interval_by_group(right, groups)
    assert (low, high) == pytest.approx(interval(int(right.sum()), len(groups)), abs=0.02)


def test_groups_of_one_are_videos_and_groups_all_alike_count_as_one_each() -> None:
    """Each its own group: Wilson's. All right in five groups of ten: as five of five."""
    right = np.array([True, True, False, True])
    assert interval_by_group(right, list("abcd")) == interval(3, 4)
    assert interval_by_group(np.ones(50, dtype=bool), [str(number % 5) for number in range(50)]) == interval(5, 5)


@pytest.mark.parametrize(
    ("right", "labels", "above"),
    [
        ([True] * 56 + [False] * 44, [0, 1] * 50, False),  # 56 % of two classes
        ([True] * 70 + [False] * 30, [0, 1] * 50, True),
        ([True] * 80 + [False] * 20, [0] * 80 + [1] * 20, False),  # always the larger class
    ],
)
def test_above_chance_means_the_whole_interval_is(right: list[bool], labels: list[int], above: bool) -> None:
    """Chance is guessing, or always naming the largest class."""
    verdict = judge(np.array(right), np.array(labels), [str(number) for number in range(100)], 2)
    assert verdict.above_chance is above
    assert verdict.chance == max(0.5, np.mean(np.array(labels) == 0))


def test_a_gain_is_told_by_the_videos_on_which_two_networks_differ() -> None:
    """Of 100 videos, 12 won and 4 lost, by hand: (12 - 4) / 100, and Agresti and Min's interval about 8 / 102."""
    right, plain = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    right[:72], plain[12:76] = True, True
    gain = gain_over(right, plain, ["one"] * 100)
    half = 1.959964 * np.sqrt(17 - 8**2 / 102) / 102
    assert (gain.gain, gain.gain_low, gain.gain_high) == pytest.approx((0.08, 8 / 102 - half, 8 / 102 + half), abs=1e-6)
    assert gain.in_words() == "+8.0 points of top-1 (95 % interval +0.1 to +15.6)"


def test_networks_that_agree_on_every_video_are_not_told_apart() -> None:
    """No gain; how far it may be from that follows from the number of videos."""
    right = np.arange(50) % 2 == 0
    gain = gain_over(right, right, [str(number // 5) for number in range(50)])
    assert gain.gain == 0
    assert gain.gain_low == pytest.approx(-gain.gain_high)
    assert 0 < gain.gain_high < 0.05
    few = gain_over(right[:5], right[:5], list("abcde"))
    assert few.gain_high > gain.gain_high


def test_a_gain_in_few_groups_proves_little() -> None:
    """60 videos in six groups; all 20 that were won are of two groups: by video it is sure, by group it is not."""
    groups = [f"g{number % 6}" for number in range(60)]
    right, plain = np.array([group in ("g0", "g1") for group in groups]), np.zeros(60, dtype=bool)
    alone = gain_over(right, plain, [str(number) for number in range(60)])
    together = gain_over(right, plain, groups)
    assert alone.gain == together.gain == pytest.approx(1 / 3)
    assert alone.gain_low > 0.15
    assert together.gain_low <= 0
