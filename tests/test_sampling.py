"""Frame indices against the printed examples and an independent formula."""

import json

import numpy as np
import pytest

from conftest import GOLDEN, spec_with
from pptsm.data.clips import evaluation_indices
from pptsm.data.sampling import centred_indices, dense_indices, twice_indices, uniform_indices

LENGTHS = range(1, 401)  # of videos, in frames


def test_the_printed_example_of_131_frames() -> None:
    """Uniform 7, 23, ..., 119; first dense clip 0, 8, ..., 56, second 7, 15, ..., 63."""
    golden = json.loads((GOLDEN / "frame_indices.json").read_text())
    assert uniform_indices(golden["num_frames"], 8).tolist() == golden["uniform"]
    clips = dense_indices(golden["num_frames"], 8)
    assert clips.shape == (10, 8)
    assert clips[:2].tolist() == golden["dense"]


def test_fewer_frames_than_segments_repeat_the_video() -> None:
    """Index i modulo n."""
    assert uniform_indices(3, 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_evaluation_indices_equal_the_formula() -> None:
    """Written out in plain integers, for every length from 1 to 400."""
    for num_frames in LENGTHS:
        length = int(num_frames / 8)
        uniform = [i * length + (length - 1) // 2 for i in range(8)] if length else [i % num_frames for i in range(8)]
        assert uniform_indices(num_frames, 8).tolist() == uniform, num_frames
        last = max(0, num_frames - 64)
        starts = [int(last * k / 9) if k < 9 else last for k in range(10)]
        dense = [[(start + 8 * j) % num_frames for j in range(8)] for start in starts]
        assert dense_indices(num_frames, 8).tolist() == dense, num_frames


@pytest.mark.parametrize("num_frames", [1, 7, 8, 9, 63, 64, 65, 66, 131, 300])
def test_training_indices_stay_in_their_part_and_reach_all_of_it(num_frames: int) -> None:
    """Uniform: every offset of every part is drawn; dense: every start in [0, n - 64)."""
    rng = np.random.default_rng(0)
    draws = np.stack([uniform_indices(num_frames, 8, rng) for _ in range(2000)])
    length = num_frames // 8
    if length:
        offsets = draws - np.arange(8) * length
        assert offsets.min() == 0
        assert offsets.max() == length - 1
    starts = {int(dense_indices(num_frames, 8, rng)[0, 0]) for _ in range(4000)}
    assert starts == set(range(max(1, num_frames - 64)))


def test_one_segment_is_the_middle_of_the_video() -> None:
    """The smallest clip there is."""
    assert uniform_indices(9, 1).tolist() == [4]
    assert dense_indices(9, 1, window=1, num_clips=2).tolist() == [[0], [8]]


@pytest.mark.parametrize("num_segments", [8, 16])
def test_the_other_tsms_take_middles_of_parts_that_are_no_whole_frames(num_segments: int) -> None:
    """As their configurations compute it, in floating point (exact for 8 and 16 parts)."""
    for num_frames in LENGTHS:
        tick = num_frames / num_segments
        middles = [int(tick / 2 + tick * i) for i in range(num_segments)]
        starts = [int(tick * i) for i in range(num_segments)]
        assert centred_indices(num_frames, num_segments).tolist() == middles, num_frames
        assert twice_indices(num_frames, num_segments).tolist() == [middles, starts], num_frames


@pytest.mark.parametrize(
    ("frame_rule", "expected"),
    [
        ("official", [[7, 23, 39, 55, 71, 87, 103, 119]]),
        ("centred", [[8, 24, 40, 57, 73, 90, 106, 122]]),
        ("twice", [[8, 24, 40, 57, 73, 90, 106, 122], [0, 16, 32, 49, 65, 81, 98, 114]]),
    ],
)
def test_the_clip_says_which_rule_evaluation_follows(frame_rule: str, expected: list[list[int]]) -> None:
    """131 frames, the printed example's; dense evaluation has one rule."""
    spec = spec_with(segments=8, frame_rule=frame_rule, dense_window=64)
    assert evaluation_indices(131, spec, "uniform").reshape(-1, 8).tolist() == expected
    assert evaluation_indices(131, spec, "dense").tolist() == dense_indices(131, 8).ravel().tolist()


def test_a_single_dense_clip_is_the_window_in_the_middle() -> None:
    """As looked at during training: not the first window, which a video's opening may fill."""
    assert dense_indices(132, 8, num_clips=1).tolist() == [[34 + 8 * j for j in range(8)]]
    assert dense_indices(20, 8, num_clips=1).tolist() == [[8 * j % 20 for j in range(8)]]


def test_a_count_of_zero_is_refused() -> None:
    """An empty video has no frames to name."""
    with pytest.raises(ValueError, match="must be at least 1"):
        uniform_indices(0, 8)
    with pytest.raises(ValueError, match="must be at least 1"):
        twice_indices(0, 8)
    with pytest.raises(ValueError, match="shorter than 8 segments"):
        dense_indices(10, 8, window=4)
