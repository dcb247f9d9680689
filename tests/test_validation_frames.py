"""Great Expectations over the frames: archives that are missing, damaged, of another video, or of nobody."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import good_index, moving_square, params_with, pptsm, write_params
from pptsm.data.clips import FrameSource
from pptsm.data.table import save_index
from pptsm.frames.archive import archive_name, facts_of
from pptsm.frames.store import FrameRequest, stored_name, write_archive, write_stored
from pptsm.validation.frames import validate_frames
from pptsm.validation.result import Result, sentences
from pptsm.video.encode import write_video
from pptsm.video.types import FrameRange, VideoError

INDEX = Path("data/index.csv")
SIDE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of 48 x 40, a square that moves over different grounds, and their archives."""
    folder = tmp_path_factory.mktemp("frames")
    settings = params_with(frames={"short_side_px": SIDE}, clip={"resize_px": 32, "crop_px": 32, "test_crop_px": 32})
    for number, row in enumerate(good_index().itertuples()):
        ground = np.random.default_rng(number).integers(0, 200, (10, 12, 3), dtype=np.uint8)
        frames = moving_square(30, size=64)[:, :40, :48] // 2 + np.kron(ground, np.ones((4, 4, 1), np.uint8)) // 2
        video, archive = folder / "videos" / row.path, folder / "frames" / archive_name(row.id)
        video.parent.mkdir(parents=True, exist_ok=True)
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, frames, 25, "h264")
        write_archive(archive, video, 30, settings.frames)
    return folder


def index() -> pd.DataFrame:
    return good_index().assign(width=48, height=40)


def checked(folder: Path, table: pd.DataFrame, side: int | None = SIDE, **limits: Any) -> Result:
    source = FrameSource("archive", folder / "frames")
    return validate_frames(table, source, side, params_with(validate=limits).validate_, folder / "docs", 1)


def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "place"))


def test_whole_frames_pass_with_their_pages_and_bytes(made: Path) -> None:
    """No rule of the six is broken, no clip looks like another."""
    result = checked(made, index())
    assert result.success, sentences(result, INDEX)
    assert not result.warnings
    assert result.expectations == 6
    size = sum(file.stat().st_size for file in (made / "frames").rglob("*.zip"))
    assert result.facts == {"kept": 6, "bytes": size, "compared": 6}
    assert (made / "docs/index.html").is_file()


def remove(archive: Path) -> None:
    archive.unlink()


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-30])


def stray(archive: Path) -> None:
    shutil.copyfile(archive, archive.with_name("old.zip"))


def shorter(archive: Path) -> None:
    rewritten(archive, 29, 32)


def larger(archive: Path) -> None:
    rewritten(archive, 30, 36)


def rewritten(archive: Path, num_frames: int, side: int) -> None:
    video = archive.parents[2] / "videos" / archive.parent.name / archive.stem
    write_archive(archive, video, num_frames, params_with().frames.model_copy(update={"short_side_px": side}))


def of_another_size(archive: Path) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"[48, 40]", b"[40, 48]"))


@pytest.mark.parametrize(
    ("damage", "rule", "said"),
    [
        (remove, "the frames of every usable clip are there", "run/b.mp4 (class run, val): there is no "),
        (cut, "the frames of every usable clip are there", "run/b.mp4 (class run, val): "),
        (stray, "no file that no row of the index names", "run/old.zip"),
        (shorter, "as many frames as the index says", "its file has 29 frames, the index says 30"),
        (larger, "frames.short_side_px (32)", "its frames' short side is +4 pixels off"),
        (of_another_size, "of the size that the index says", "are of 40 x 48, the index says 48 x 40"),
    ],
)
def test_an_archive_that_is_not_what_the_index_says_is_named(
    made: Path, tmp_path: Path, damage: Any, rule: str, said: str
) -> None:
    """One rule is broken, by one archive."""
    place = copied(made, tmp_path)
    damage(place / "frames/run/b.mp4.zip")
    result = checked(place, index(), near_duplicate_bits=None)
    assert len(result.faults) == 1
    assert rule in result.faults[0].what
    assert said in sentences(result, INDEX)


def test_native_sizes_are_kept_where_nothing_is_asked_for(made: Path, tmp_path: Path) -> None:
    """null: frames are as large as the video, so ours of 32 pixels are 8 off."""
    place = copied(made, tmp_path)
    result = checked(place, index(), side=None, near_duplicate_bits=None)
    assert "its frames' short side is -8 pixels off" in sentences(result, INDEX)
    for row in index().itertuples():
        rewritten(place / "frames" / archive_name(row.id), 30, 40)
    assert checked(place, index(), side=None, near_duplicate_bits=None).success


@pytest.mark.parametrize(("leakage", "faults", "warnings"), [("error", 1, 0), ("warning", 0, 1), ("off", 0, 0)])
def test_a_clip_that_looks_like_one_of_another_split_is_what_the_parameter_says(
    made: Path, tmp_path: Path, leakage: str, faults: int, warnings: int
) -> None:
    """The test clip of one class is a training clip of the other, encoded anew."""
    place = copied(made, tmp_path)
    write_archive(
        place / "frames/run/c.mp4.zip",
        place / "videos/jump/a.mp4",
        30,
        params_with().frames.model_copy(update={"short_side_px": SIDE, "jpeg_quality": 90}),
    )
    result = checked(place, index(), leakage=leakage)
    assert (len(result.faults), len(result.warnings)) == (faults, warnings)
    assert all(warning.what.startswith("expected: no clip looks like") for warning in result.warnings)
    for fault in (*result.faults, *result.warnings):
        assert fault.lines.first[0].startswith("run/c.mp4 (test) looks like jump/a.mp4 (train): ")
        assert len(fault.lines.first) == 1


def test_short_gop_clips_are_held_to_the_same_rules(made: Path, tmp_path: Path) -> None:
    """Five whole ones, and one with a frame too few."""
    settings = params_with().frames.model_copy(update={"source": "short_gop", "short_side_px": 33})
    for row in index().itertuples():
        clip = tmp_path / "frames" / stored_name("short_gop", row.id)
        clip.parent.mkdir(parents=True, exist_ok=True)
        write_stored(
            made / "videos" / row.path,
            [FrameRequest(clip, FrameRange(0, 29 if row.id == "run/b.mp4" else 30))],
            settings,
        )
    source, limits = FrameSource("short_gop", tmp_path / "frames"), params_with().validate_
    result = validate_frames(index(), source, 33, limits, tmp_path / "docs", 1)
    assert [fault.lines.first for fault in result.faults] == [
        ["run/b.mp4 (class run, val): its file has 29 frames, the index says 30"]
    ]
    assert result.facts["kept"] == 6


def test_straight_from_videos_only_looks_are_compared(made: Path) -> None:
    """There are no archives to check."""
    source = FrameSource("video", made / "videos")
    result = validate_frames(index(), source, SIDE, params_with().validate_, made / "docs of videos", 1)
    assert result.success
    assert result.expectations == 1
    assert result.facts == {"kept": 0, "bytes": 0, "compared": 6}


def test_the_facts_of_an_archive_cost_no_decoding(made: Path, tmp_path: Path) -> None:
    """Of ours and of one that another tool packed; a file that is none is refused."""
    ours = made / "frames/jump/a.mp4.zip"
    facts = facts_of(ours)
    assert facts == (30, (48, 40), 32, ours.stat().st_size)
    other = tmp_path / "other.zip"
    other.write_bytes(ours.read_bytes().replace(b"PK\5\6", b"PK\5\6", 1))
    assert facts_of(other).num_frames == 30
    other.write_text("no archive")
    with pytest.raises(VideoError, match=r"other\.zip"):
        facts_of(other)


def test_the_stage_lets_whole_frames_through_with_a_file_that_never_changes(made: Path, tmp_path: Path) -> None:
    """What training depends on is the same whatever was warned of; a fault leaves neither it nor a result."""
    place = copied(made, tmp_path)
    command = ("validate_frames", "--index", "index.csv", "--frames", "frames", "--out", "checked")
    command += ("--result", "frames.json", "--docs", "pages")
    table = index()
    save_index(table, place / "index.csv")
    contents = set()
    for bits, leakage in ((None, "warning"), (255, "warning"), (255, "error")):
        for name in ("checked", "frames.json"):
            with contextlib.suppress(FileNotFoundError):
                (place / name).unlink()
        changes = {"frames": {"short_side_px": SIDE}, "clip": {"resize_px": 32, "crop_px": 32, "test_crop_px": 32}}
        changes |= {"validate": {"near_duplicate_bits": bits, "leakage": leakage}}
        write_params(place / "params.yaml", changes)
        done = pptsm(*command, cwd=place, check=False)
        if leakage == "error":
            assert done.returncode == 1
            assert "1 of 6 expectations do not hold" in done.stderr
            assert "run/c.mp4 (test) looks like " in done.stderr
            assert not (place / "checked").exists()
            assert not (place / "frames.json").exists()
        else:
            assert done.returncode == 0, done.stderr
            assert ("looks like" in done.stderr) == (bits is not None)
            assert len(json.loads((place / "frames.json").read_text())["warnings"]) == (bits is not None)
            contents.add((place / "checked").read_bytes())
    assert len(contents) == 1
