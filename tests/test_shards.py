"""Archives of many clips in one file: the same frames, one shard for one more video, and damage said clearly."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import moving_square, params_with, spec_with
from helpers.archives import rows_of, video
from pptsm.commands.unpack import unpack
from pptsm.data.clips import EvaluationVideos, FrameSource
from pptsm.data.transforms import normalise
from pptsm.frames import extract
from pptsm.frames.shards import clips_in, shard_name, shards_in
from pptsm.frames.store import Kept
from pptsm.params.schema import FrameSettings
from pptsm.runtime.errors import UserError
from pptsm.training.deciding import digest_of_kept
from pptsm.validation.frames import validate_frames
from pptsm.video.encode import write_video

__all__ = ["video"]  # a fixture

SHARDS = 3
CLIPS = 7


@pytest.fixture
def videos(video: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Seven videos, each of its own content; they are decoded in this process."""
    monkeypatch.setattr(extract, "run_jobs", lambda work, jobs, *_, **__: (work(*job) for job in jobs))
    made = [video.with_name(f"clip_{number}.mp4") for number in range(CLIPS)]
    for number, file in enumerate(made):
        write_video(file, moving_square(12, seed=number), 10, "h264")
    return made


def settings(shards: int | None = SHARDS) -> FrameSettings:
    return params_with(frames={"shards": shards}).frames


def extracted(out: Path, rows: pd.DataFrame, shards: int | None = SHARDS) -> dict[str, bytes]:
    """The files that the extraction writes into a new folder."""
    extract.extract_all(rows, out.parent / "videos", out, settings(shards), 1)
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def decoded_videos(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the videos that are decoded from now on."""
    names: list[str] = []
    whole = extract.write_stored

    def write(path: Path, *rest: object) -> None:
        names.append(path.name)
        whole(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(extract, "write_stored", write)
    return names


def test_the_frames_of_a_clip_are_the_same_bytes_in_either_layout(videos: list[Path], tmp_path: Path) -> None:
    """Its archive within the shard, what the network is given, and what names a training's inputs."""
    rows = rows_of(*videos)
    alone = extracted(tmp_path / "alone", rows, shards=None)
    together = extracted(tmp_path / "together", rows)
    assert sorted(together) == sorted({shard_name(name, SHARDS) for name in rows["id"]})
    assert len(together) > 1
    held = {}
    for file in (tmp_path / "together").iterdir():
        with zipfile.ZipFile(file) as shard:
            assert {info.compress_type for info in shard.infolist()} == {zipfile.ZIP_STORED}
            held |= {name: shard.read(name) for name in shard.namelist()}
    assert held == alone
    sources = [FrameSource("archive", tmp_path / layout) for layout in ("alone", "together")]
    views = [EvaluationVideos(rows.assign(label_index=0), source, spec_with(), "uniform") for source in sources]
    for number in range(CLIPS):
        np.testing.assert_array_equal(*(normalise(of[number][0]) for of in views))
    clips = rows.assign(split="train")
    assert len({digest_of_kept(Kept("archive", tmp_path / layout), clips) for layout in ("alone", "together")}) == 1


def test_one_more_video_is_one_extraction_and_one_shard(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other clips of its shard are taken from the shard as it was."""
    before = extracted(tmp_path / "before", rows_of(*videos[:-1]))
    names = decoded_videos(monkeypatch)
    after = extracted(tmp_path / "after", rows_of(*videos))
    assert names == [videos[-1].name]
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {shard_name(f"run/{videos[-1].name}", SHARDS)}


def test_finished_shards_are_linked_in_and_hold_the_only_copy(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run decodes nothing and gives the same bytes; the archives that it packed take no room of their own."""
    first = extracted(tmp_path / "first", rows_of(*videos))
    names = decoded_videos(monkeypatch)
    assert extracted(tmp_path / "second", rows_of(*videos)) == first
    assert names == []
    kept = list((tmp_path / ".pptsm/frames").rglob("*.zip"))
    assert {file.stat().st_nlink for file in kept} == {3}
    assert len(kept) == len(first)


@pytest.mark.parametrize("at", ["frames", "directory", "gone"])
def test_a_damaged_shard_is_named_and_mended(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Of damaged frames only the clip that they are of is extracted again."""
    rows = rows_of(*videos)
    whole = extracted(tmp_path / "first", rows)
    clip_id = rows["id"][0]
    file = tmp_path / "first" / shard_name(clip_id, SHARDS)
    source = FrameSource("archive", tmp_path / "first")
    if at == "gone":
        file.unlink()
    else:
        place = source.kept.file_of(clip_id) if source.kept else file
        content = bytearray(place.read_bytes())
        of_clip = (clips_in(file) or {})[clip_id]
        middle = of_clip.at + (of_clip.size or 0) // 2 if at == "frames" else len(content) - 60
        content[middle : middle + 20] = bytes(20)
        file.write_bytes(content)  # the store's link is the same file
    (excerpt,) = EvaluationVideos(rows[:1].assign(label_index=0), source, spec_with(), "uniform").excerpts
    with pytest.raises(UserError, match=f"clip '{clip_id}' cannot be read.*{file.name}"):
        source.read(excerpt, np.arange(12)).pixels  # noqa: B018
    names = decoded_videos(monkeypatch)
    assert extracted(tmp_path / "second", rows) == whole
    in_shard = [Path(name).name for name in rows["id"] if shard_name(name, SHARDS) == file.name]
    assert sorted(names) == {"frames": [Path(clip_id).name], "directory": sorted(in_shard), "gone": []}[at]


def test_validation_knows_shards(videos: list[Path], tmp_path: Path) -> None:
    """Whole ones pass; a clip that its shard has not, and a file of nobody, are faults."""
    rows = rows_of(*videos).assign(split="train", width=32, height=32, label="a", status="ok", reason="")
    names = [shard_name(name, SHARDS) for name in rows["id"]]
    place = next(place for place in range(CLIPS) if names.count(names[place]) > 1)
    missing, others = rows["id"][place], rows.drop(index=place)
    extracted(tmp_path / "out", others)
    (tmp_path / "out" / "stray.zip").write_bytes(b"")

    def faults(table: pd.DataFrame) -> list[str]:
        source, limits = FrameSource("archive", tmp_path / "out"), params_with().validate_
        found = validate_frames(table, source, settings().short_side_px, limits, tmp_path / "docs", 1)
        return [line for fault in found.faults for line in fault.lines.first]

    lines = faults(rows)
    assert len(lines) == 2
    assert missing in lines[0]
    assert "not this one" in lines[0]
    assert lines[1] == "stray.zip"
    (tmp_path / "out" / "stray.zip").unlink()
    assert faults(others) == []


def test_shards_unpack_to_loose_frames(videos: list[Path], tmp_path: Path) -> None:
    """As archives of their own do."""
    rows = rows_of(*videos)
    for layout, shards in (("alone", None), ("together", SHARDS)):
        extracted(tmp_path / layout, rows, shards)
        unpack(tmp_path / layout, tmp_path / f"{layout}_loose")
    loose = [
        {file.relative_to(tmp_path / name): file.read_bytes() for file in (tmp_path / name).rglob("*.jpg")}
        for name in ("alone_loose", "together_loose")
    ]
    assert [path.parts[1:] for path in loose[0]] != []
    assert {path.as_posix(): content for path, content in loose[0].items()} == {
        path.as_posix(): content for path, content in loose[1].items()
    }


def test_a_clips_shard_does_not_depend_on_the_others() -> None:
    """Pinned: another place would rewrite all shards of a dataset."""
    assert shard_name("class/video.mp4", 2000) == "00023-of-02000.zip"
    counts = np.bincount([int(shard_name(f"v{number}.mp4", 20)[:5]) for number in range(2000)])
    assert len(counts) == 20
    assert 60 < counts.min() <= counts.max() < 140


def test_a_folder_of_archives_that_are_called_as_shards_are_is_none(video: Path, tmp_path: Path) -> None:
    """A folder of frames may have such a name; what the file says of itself counts."""
    extracted(tmp_path / "out", rows_of(video), shards=None)
    file = next((tmp_path / "out").rglob("*.zip"))
    file.rename(tmp_path / "out" / "00000-of-00003.zip")
    assert shards_in(tmp_path / "out") is None


@pytest.mark.parametrize("source", ["short_gop", "video"])
def test_only_archives_lie_in_shards(source: str) -> None:
    """The sentence says what to set."""
    with pytest.raises(UserError, match=f"shards hold archives: set source to archive .it is {source}."):
        params_with(frames={"source": source, "shards": 2})
