"""Intervals and the verdict on chance, from hand-made results."""

import numpy as np
import pytest
from scipy import stats

from pptsm.evaluation.statistics import gain_over, interval, interval_by_group, judge


def test_wilson_interval_equals_the_published_example() -> None:
    """8 of 10: 0.4902 to 0.9433; all and none stay inside 0..1."""
    assert interval(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    assert interval(0, 5)[0] == 0
    assert interval(5, 5)[1] == 1


def test_wilson_interval_is_scipys_to_the_last_bit() -> None:
    """Which takes a second to import; its ends stand in reports, which are to keep their bytes."""
    for total in (1, 2, 3, 7, 30, 160, 999, 250_000):
        for right in sorted({0, 1, total // 3, total - 1, total}):
            for miss in (0.05, 0.05 / 3, 0.05 / 80):
                found = stats.binomtest(right, total).proportion_ci(1 - miss, method="wilson")
                assert interval(right, total, miss) == (float(found.low), float(found.high))


def test_few_groups_of_many_videos_tell_little() -> None:
    """59 videos in six groups, one of which is wrong throughout: far wider than by video."""
    groups = [f"g{number % 6}" for number in range(59)]
    right = np.array([group != "g0" for group in groups])
    by_video, by_group = interval(int(right.sum()), 59), interval_by_group(right, groups)
    assert by_group is not None
    assert by_group[0] < by_video[0] - 0.1
    assert by_group[1] >= by_video[1]


def test_a_groups_right_videos_stay_with_its_size() -> None:
    """Large groups are right as often as small ones: groups that alike tell nearly what their videos do."""
    sizes = [2, 4, 6, 40, 60, 80, 2, 4, 6, 40, 60, 80]
    right = np.concatenate([np.arange(size) < size // 2 + (number % 2) for number, size in enumerate(sizes)])
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    found = interval_by_group(right, groups)
    assert found is not None
    assert found == pytest.approx(interval(int(right.sum()), len(groups)), abs=0.03)


def test_groups_of_one_are_videos_and_groups_all_alike_count_as_one_each() -> None:
    """Each its own group: Wilson's. All right in five groups of ten: exactly as five of five (Clopper and Pearson)."""
    right = np.array([True, True, False, True])
    assert interval_by_group(right, list("abcd")) == interval(3, 4)
    five = [str(number % 5) for number in range(50)]
    assert interval_by_group(np.ones(50, dtype=bool), five) == pytest.approx((0.025**0.2, 1))
    assert interval_by_group(np.zeros(50, dtype=bool), five) == pytest.approx((0, 1 - 0.025**0.2))


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
    gain = gain_over(right, plain, [str(number) for number in range(100)])
    half = 1.959964 * np.sqrt(17 - 8**2 / 102) / 102
    assert (gain.gain, gain.gain_low, gain.gain_high) == pytest.approx((0.08, 8 / 102 - half, 8 / 102 + half), abs=1e-6)
    assert gain.in_words() == "+8.0 points of top-1 (95 % interval +0.1 to +15.6)"


def test_networks_that_agree_on_every_video_are_not_told_apart() -> None:
    """No gain; how far it may be from that follows from the number of videos."""
    right = np.arange(50) % 2 == 0
    highs = []
    for groups in (range(50), [number // 5 for number in range(50)], [number // 25 for number in range(50)]):
        gain = gain_over(right, right, [str(group) for group in groups])
        assert gain.gain == 0
        assert gain.gain_high is not None
        assert gain.gain_low == pytest.approx(-gain.gain_high)
        highs.append(gain.gain_high)
    assert 0 < highs[0] < 0.05 < highs[1] < 0.2 < highs[2] < 0.6


def test_a_gain_in_few_groups_proves_little() -> None:
    """60 videos in six groups; all 20 that were won are of two groups: by video it is sure, by group it is not."""
    groups = [f"g{number % 6}" for number in range(60)]
    right, plain = np.array([group in ("g0", "g1") for group in groups]), np.zeros(60, dtype=bool)
    alone = gain_over(right, plain, [str(number) for number in range(60)])
    together = gain_over(right, plain, groups)
    assert alone.gain == together.gain == pytest.approx(1 / 3)
    assert alone.gain_low > 0.15
    assert together.gain_low <= 0


def covered(share: float, correlation: float, groups: int, equal: bool, runs: int = 80) -> tuple[float, float]:
    """Share of intervals by group that cover, and share that lies wholly above, of made results, 20 videos a group."""
    rng = np.random.default_rng(5)
    hit = above = 0
    for _ in range(runs):
        sizes = np.full(groups, 20) if equal else 1 + (20 * rng.lognormal(-0.5, 1, groups)).astype(int)
        scatter = (1 - correlation) / correlation
        of_group = rng.beta(share * scatter, (1 - share) * scatter, groups)
        right = np.concatenate([rng.random(size) < each for size, each in zip(sizes, of_group, strict=True)])
        found = interval_by_group(right, np.repeat(np.arange(groups), sizes).astype(str).tolist())
        assert found is not None
        hit += found[0] <= share <= found[1]
        above += found[0] > share
    return hit / runs, above / runs


@pytest.mark.parametrize(("groups", "equal"), [(2, True), (3, False), (5, True), (5, False), (10, False)])
def test_intervals_by_group_cover_however_few_the_groups_are(groups: int, equal: bool) -> None:
    """In each of four cases nearly 95 % of 80 are covered, on the whole 95; hardly any lies wholly above."""
    cases = [covered(share, each, groups, equal) for share in (0.5, 0.9) for each in (0.1, 0.6)]
    hits, aboves = zip(*cases, strict=True)
    assert min(hits) >= 0.89
    assert np.mean(hits) >= 0.94
    assert np.mean(aboves) <= 0.025


@pytest.mark.parametrize("groups", [2, 5])
def test_a_gain_is_covered_however_few_the_groups_are(groups: int) -> None:
    """Of 50 made comparisons without any gain, 20 videos a group, each group with shares of its own."""
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(50):
        shares = rng.dirichlet(np.array([0.2, 0.6, 0.2]) * 2, groups)
        found = np.concatenate([rng.choice(3, 20, p=each) for each in shares])
        gain = gain_over(found == 0, found == 2, [str(number // 20) for number in range(len(found))])
        assert gain.gain_low is not None
        assert gain.gain_high is not None
        missed += not gain.gain_low <= 0 <= gain.gain_high
    assert missed <= 4


def test_one_group_has_no_interval_by_group_and_proves_nothing() -> None:
    """All right, but all of one actor: neither the accuracy nor the gain has an interval, and the verdict is open."""
    right, labels = np.ones(40, dtype=bool), np.arange(40) % 2
    assert interval_by_group(right, ["one"] * 40) is None
    gain = gain_over(right, ~right, ["one"] * 40)
    assert (gain.gain, gain.gain_low, gain.gain_high) == (1, None, None)
    assert "one group" in gain.in_words()
    assert judge(right, labels, ["one"] * 40, 2).above_chance is None
    assert judge(labels == 0, labels, ["one"] * 40, 2).above_chance is False
    assert judge(right, labels, [str(number) for number in range(40)], 2).above_chance is True


def test_videos_that_chose_the_epoch_must_show_more() -> None:
    """The best of 20 epochs of random answers is rarely called above chance; without the correction often."""
    rng, labels, groups = np.random.default_rng(7), np.arange(60) % 2, [str(number) for number in range(60)]
    called = {1: 0, 20: 0}
    for _ in range(100):
        best = max((rng.random(60) < 0.5 for _ in range(20)), key=np.mean)
        for compared in called:
            called[compared] += judge(best, labels, groups, 2, compared).above_chance is True
    assert called[20] <= 5
    assert called[1] >= 25
