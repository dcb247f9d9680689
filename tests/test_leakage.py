"""What training must not know of validation and test: shared frames, and clips that look alike."""

from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from conftest import good_index, params_with
from pptsm.data.clips import FrameSource
from pptsm.data.table import SPLITS
from pptsm.runtime.files import sha256_of
from pptsm.validation.index import validate_index
from pptsm.validation.leakage import frame_hashes, nearest_copies, shared_with
from pptsm.validation.result import sentences
from pptsm.video.pixels import resized
from pptsm.video.video import Video

DEFAULT_BITS = params_with().validate_.near_duplicate_bits or 0
INDEX = Path("data/index.csv")


def parts(*rows: tuple[str, str, int, int]) -> pd.DataFrame:
    """Clips of (content, split, first frame, frames)."""
    table = pd.DataFrame(rows, columns=["sha256", "split", "first_frame", "num_frames"])
    return table.assign(path=table["sha256"] + ".mp4")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a", "train", 0, 10), ("a", "test", 0, 10)], [-1, 0]),
        ([("a", "train", 0, 10), ("a", "test", 10, 5)], [-1, -1]),
        ([("a", "test", 9, 5), ("a", "train", 0, 10)], [1, -1]),
        ([("a", "train", 0, 99), ("a", "train", 20, 5), ("a", "val", 50, 5)], [-1, -1, 0]),
        ([("a", "train", 0, 10), ("b", "test", 0, 10)], [-1, -1]),
        ([("a", "train", 0, 10), ("a", "train", 5, 10)], [-1, -1]),
        ([("a", "val", 0, 50), ("a", "val", 10, 5), ("a", "test", 20, 5), ("a", "train", 40, 20)], [-1, -1, 0, 0]),
    ],
    ids=["whole", "one after the other", "the later first", "a long one", "two files", "one split", "three splits"],
)
def test_clips_that_share_frames_across_splits(rows: list[tuple[str, str, int, int]], expected: list[int]) -> None:
    """The later of two has the other's position; files that only touch do not share."""
    assert shared_with(parts(*rows)).tolist() == expected


def test_sharing_is_what_comparing_all_pairs_finds() -> None:
    """Sixty random clips of four files: a clip is found if and only if it is the later one of some pair."""
    rng = np.random.default_rng(4)
    contents, splits = (rng.choice(names, 60).tolist() for names in (list("abcd"), SPLITS))
    table = parts(
        *zip(contents, splits, rng.integers(0, 300, 60).tolist(), rng.integers(1, 40, 60).tolist(), strict=True)
    )
    expected = set()
    for one, other in combinations(table.sort_values("first_frame", kind="stable").itertuples(), 2):
        overlap = one.first_frame + one.num_frames > other.first_frame
        if one.sha256 == other.sha256 and one.split != other.split and overlap:
            expected.add(other.Index)
    assert 5 < len(expected) < 50
    assert set(np.flatnonzero(shared_with(table) >= 0)) == expected


def test_overlapping_ranges_of_a_file_are_named(tmp_path: Path) -> None:
    """Two parts of one video, of two groups as somebody has said, with frames in common."""
    table = good_index()
    table.loc[2, ["id", "path", "sha256", "first_frame"]] = "jump/a.mp4#1-2", "jump/a.mp4", table.loc[0, "sha256"], 29
    strict = params_with(validate={"leakage": "error"}).validate_
    result = validate_index(table, ["jump", "run"], strict, tmp_path / "one")
    assert "jump/a.mp4 (train) = jump/a.mp4#1-2 (test)" in sentences(result, INDEX)
    table.loc[2, "first_frame"] = 30
    assert validate_index(table, ["jump", "run"], strict, tmp_path / "two").success


@pytest.mark.parametrize(("leakage", "faults", "warnings"), [("error", 1, 0), ("warning", 0, 1), ("off", 0, 0)])
def test_the_same_file_on_two_sides_is_what_the_parameter_says(
    tmp_path: Path, leakage: str, faults: int, warnings: int
) -> None:
    """An error, a warning, or not asked."""
    table = good_index()
    table.loc[2, "sha256"] = table.loc[0, "sha256"]
    params = params_with(validate={"leakage": leakage}).validate_
    result = validate_index(table, ["jump", "run"], params, tmp_path / "docs")
    assert (len(result.faults), len(result.warnings)) == (faults, warnings)
    for fault in (*result.faults, *result.warnings):
        assert fault.lines.first == ["jump/a.mp4 (train) = jump/c.mp4 (test)"]


def test_the_nearest_clip_is_that_of_all_pairs() -> None:
    """Hashes with copies of which some bits are turned: position and distance, as comparing one by one finds them."""
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 2**64, (150, 3, 4), dtype=np.uint64)
    splits, contents = rng.choice(SPLITS, 150).tolist(), [str(number) for number in range(150)]
    for here in range(100, 150):
        hashes[here] = hashes[here - 100] ^ (np.uint64(1) << rng.integers(0, 64, (3, 4), dtype=np.uint64))
        hashes[here, 2, 3] ^= np.uint64(2 ** (here - 99) - 1 if here < 140 else 0)  # up to 40 bits more of one frame
    contents[149] = contents[49]
    splits[49], splits[149] = "train", "test"
    nearest, bits = nearest_copies(hashes, splits, contents, 24)
    found = 0
    for row in range(150):
        apart = {
            other: int(np.bitwise_count(hashes[row] ^ hashes[other]).sum(-1, dtype=int).max())
            for other in range(150)
            if SPLITS.index(splits[other]) < SPLITS.index(splits[row]) and contents[row] != contents[other]
        }
        best = min(apart, key=lambda other: (apart[other], other), default=-1)
        near = best >= 0 and apart[best] <= 24
        found += near
        assert (nearest[row], bits[row]) == ((best, apart[best]) if near else (-1, 256))
    assert 8 < found < 35
    assert nearest[149] == -1  # parts of one file are another rule's


@pytest.mark.parametrize("third", range(3))
def test_the_limit_itself_is_near_and_one_bit_more_is_not(third: int) -> None:
    """The third that differs most decides."""
    hashes = np.zeros((3, 3, 4), np.uint64)
    hashes[1, third, 1:] = 2**8 - 1  # 24 bits
    hashes[2, third] = 1, 2**8 - 1, 2**8 - 1, 2**8 - 1
    for here, expected in ((1, (0, 24)), (2, (-1, 256))):
        pair = hashes[[0, here]]
        nearest, bits = nearest_copies(pair, ["train", "test"], ["a", "b"], 24)
        assert (nearest[1], bits[1]) == expected


def shrunk_copy(video: Path, target: Path, codec: str = "libx264", **options: str) -> None:
    """Every frame at half the size (of 320 x 240), encoded once more."""
    with av.open(str(target), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for frame in Video(video):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(resized(frame, (160, 120)), format="rgb24")))
        container.mux(stream.encode(None))


def videos_of(*paths: Path) -> pd.DataFrame:
    """Rows with what comparing looks needs; paths are below /."""
    ids = [str(path.resolve().relative_to("/")) for path in paths]
    rows = {"id": ids, "path": ids, "first_frame": 0, "num_frames": [len(Video(path)) for path in paths]}
    return pd.DataFrame(rows).assign(sha256=[sha256_of(path) for path in paths])


def looks_alike(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of names that the default finds among these videos."""
    hashes = frame_hashes(table, FrameSource("video", Path("/")), 2)
    nearest, _ = nearest_copies(hashes, table["split"].tolist(), table["sha256"].tolist(), DEFAULT_BITS)
    names = [Path(name).name for name in table["id"]]
    return [(names[here], names[there]) for here, there in enumerate(nearest) if there >= 0]


@pytest.mark.slow
def test_a_shrunk_and_reencoded_copy_is_found_and_no_other_real_video(shared: Path, tmp_path: Path) -> None:
    """Two copies of one clip among 91 others: of ten people before one background, and of nine sports scenes."""
    original = shared / "data/clips/archery_k400.avi"
    shrunk_copy(original, tmp_path / "copy.mp4", crf="33")
    shrunk_copy(original, tmp_path / "copy.avi", "mpeg4", qscale="10")
    people = sorted((shared / "data/weizmann").rglob("*.avi"))
    scenes = sorted((shared / "data/ucf_style").rglob("*.avi"))
    table = videos_of(original, tmp_path / "copy.mp4", tmp_path / "copy.avi", *people, *scenes)
    actors = [Path(name).name.split("_")[0] for name in table["id"]]
    of_actor = {actor: SPLITS[number % 3] for number, actor in enumerate(sorted(set(actors)))}
    for splits in (list(map(of_actor.get, actors)), [SPLITS[number % 3] for number in range(len(table))]):
        table["split"] = ["train", "test", "test", *splits[3:]]  # the two copies look like each other, too
        assert looks_alike(table) == [("copy.mp4", "archery_k400.avi"), ("copy.avi", "archery_k400.avi")]
