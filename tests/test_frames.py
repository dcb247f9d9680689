"""Frame archives: what is in them, and that work is not done twice."""

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import moving_square, params_with, spec_with
from helpers.archives import rows_of, video
from pptsm.data.clips import EvaluationVideos, FrameSource, TrainingClips
from pptsm.data.table import ClipRef
from pptsm.data.transforms import normalise
from pptsm.frames.archive import frames_in, read_frames
from pptsm.frames.extract import extract_all
from pptsm.frames.store import write_archive
from pptsm.runtime.errors import UserError
from pptsm.video.encode import write_video
from pptsm.video.pixels import decode_jpeg
from pptsm.video.types import VideoError
from pptsm.video.video import Video, probe

__all__ = ["video"]  # a fixture


@pytest.mark.parametrize(("short_side_px", "size"), [(16, (16, 24)), (32, (32, 48)), (256, (32, 48)), (None, (32, 48))])
def test_frames_are_scaled_down_and_never_up(video: Path, short_side_px: int | None, size: tuple[int, int]) -> None:
    """Members img_00001.jpg ..., stored, short side as asked."""
    params = params_with().frames.model_copy(update={"short_side_px": short_side_px})
    write_archive(Path("a.zip"), video, 12, params)
    with zipfile.ZipFile("a.zip") as archive:
        assert archive.namelist() == [f"img_{number:05d}.jpg" for number in range(1, 13)]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert read_frames(Path("a.zip"), np.array([0, 11])).pixels.shape == (2, *size, 3)


def test_an_archive_holds_the_videos_frames_in_order(video: Path) -> None:
    """Close to the decoded frames (JPEG), any order of indices."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    indices = np.array([11, 0, 5])
    decoded = Video(video).frames(indices).pixels.astype(int)
    assert np.abs(read_frames(Path("a.zip"), indices).pixels - decoded).mean() < 3


def test_an_archives_directory_is_not_parsed(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our own archives `zipfile` would read every record, for each clip; the bytes are those that it reads."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    names = ["img_00012.jpg", "img_00001.jpg", "img_00012.jpg"]
    with zipfile.ZipFile("a.zip") as archive:
        expected = [np.asarray(Image.open(archive.open(name))) for name in names]
    monkeypatch.delattr(zipfile, "ZipFile")
    np.testing.assert_array_equal(read_frames(Path("a.zip"), np.array([11, 0, 11])).pixels, expected)


def rezipped(change: str) -> None:
    """Write b.zip: the members of a.zip as another tool might store them."""
    with zipfile.ZipFile("a.zip") as old, zipfile.ZipFile("b.zip", "w") as new:
        new.comment = old.comment
        for name in sorted(old.namelist(), reverse=change == "in another order"):
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED if change == "compressed" else zipfile.ZIP_STORED
            if change == "with times":
                member.extra = b"UT\x05\x00\x03\x00\x00\x00\x00"
            if change == "with remarks":
                member.comment = b"a remark"
            new.writestr(member, old.read(name))
        if change == "with others":
            new.writestr("notes_about_it.txt", "by hand")
        if change == "of sizes above 4 GB":
            with new.open("more.jpg", "w", force_zip64=True) as more:
                more.write(b"none is so large here, but the record has room for it")
        if change == "with a frame replaced":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's own, of the double name
                new.writestr("img_00001.jpg", old.read("img_00012.jpg"))


@pytest.mark.parametrize(
    "change",
    ["in another order", "compressed", "with times", "with remarks", "with others", "of sizes above 4 GB"],
)
def test_archives_of_other_tools_are_read(video: Path, change: str) -> None:
    """Whatever the ZIP's records look like, the frames are the same."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    rezipped(change)
    first_and_last = np.array([0, 11])
    expected = read_frames(Path("a.zip"), first_and_last).pixels
    np.testing.assert_array_equal(read_frames(Path("b.zip"), first_and_last).pixels, expected)


def test_of_two_members_of_one_name_the_newer_counts(video: Path) -> None:
    """As for every tool: it was put in to replace the older."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    rezipped("with a frame replaced")
    newer = read_frames(Path("a.zip"), np.array([11])).pixels
    np.testing.assert_array_equal(read_frames(Path("b.zip"), np.array([0])).pixels, newer)


def test_an_archive_of_a_long_video_is_read(video: Path) -> None:
    """A directory longer than what is read of the file's end at first."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    with zipfile.ZipFile("a.zip") as old, zipfile.ZipFile("b.zip", "w") as new:
        new.comment = old.comment
        for number in range(1300):
            new.writestr(f"img_{number + 1:05d}.jpg", old.read(f"img_{number % 12 + 1:05d}.jpg"))
    last = read_frames(Path("b.zip"), np.array([1299])).pixels
    np.testing.assert_array_equal(last, read_frames(Path("a.zip"), np.array([1299 % 12])).pixels)


def test_a_damaged_archive_is_never_read_as_if_it_were_whole(video: Path) -> None:
    """Cut off anywhere, or a byte changed in the frame or the directory: an error, or the very same frame."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    data, wanted, damaged = Path("a.zip").read_bytes(), np.array([5]), Path("b.zip")
    expected, refused = read_frames(Path("a.zip"), wanted).pixels, 0
    rng = np.random.default_rng(0)
    places = [int(place) for place in rng.integers(0, len(data), 150)] + list(range(len(data) - 300, len(data)))
    changes = [data[:place] for place in places[:60]]
    changes += [data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :] for place in places]
    for changed in changes:
        damaged.write_bytes(changed)
        try:
            np.testing.assert_array_equal(read_frames(damaged, wanted).pixels, expected)
        except VideoError:
            refused += 1
    assert refused > 80


@pytest.mark.parametrize("content", [b"", b"no picture", "half"], ids=["empty", "text", "half a JPEG"])
def test_a_member_that_is_no_picture_is_named(video: Path, content: bytes | str) -> None:
    """It was put in by hand, so its checksum is right."""
    write_archive(Path("a.zip"), video, 12, params_with().frames)
    with zipfile.ZipFile("a.zip") as old, zipfile.ZipFile("b.zip", "w") as new:
        new.comment = old.comment
        for name in old.namelist():
            jpeg = old.read(name)
            bad = jpeg[: len(jpeg) // 2] if isinstance(content, str) else content
            new.writestr(name, bad if name == "img_00003.jpg" else jpeg)
    with pytest.raises(VideoError, match=r"b\.zip: img_00003\.jpg is no whole JPEG"):
        read_frames(Path("b.zip"), np.array([0, 2]))
    assert len(read_frames(Path("b.zip"), np.array([0, 1])).pixels) == 2


def test_fewer_frames_than_counted_leaves_no_archive(video: Path) -> None:
    """An archive is whole or absent."""
    with pytest.raises(VideoError, match="12 frames decode, 13 were counted"):
        write_archive(Path("a.zip"), video, 13, params_with().frames)
    assert not list(Path().glob("*a.zip*"))


def test_extraction_goes_on_where_it_was_interrupted(video: Path, tmp_path: Path) -> None:
    """Finished archives are linked in from the store, not extracted again."""
    other = video.with_name("b_1.mp4")
    write_video(other, moving_square(12, seed=9), 10, "mpeg4")
    params = params_with().frames
    extract_all(rows_of(video), tmp_path / "videos", tmp_path / "one", params, 1)
    stored = next((tmp_path / ".pptsm" / "frames").rglob("*.zip"))
    before = stored.stat().st_mtime_ns
    extract_all(rows_of(video, other), tmp_path / "videos", tmp_path / "two", params, 1)
    assert stored.stat().st_mtime_ns == before
    assert stored.samefile(tmp_path / "two" / "run" / "a_1.mp4.zip")
    assert (tmp_path / "two" / "run" / "b_1.mp4.zip").exists()


def test_two_files_of_the_same_content_share_an_archive(video: Path, tmp_path: Path) -> None:
    """A copy is no second job: both ids get the whole archive."""
    copies = [video.with_name(f"copy{number}_1.mp4") for number in range(6)]
    for copy in copies:
        copy.write_bytes(video.read_bytes())
    extract_all(rows_of(video, *copies), tmp_path / "videos", tmp_path / "out", params_with().frames, 2)
    for path in (video, *copies):
        assert len(read_frames(tmp_path / "out" / "run" / f"{path.name}.zip", np.arange(12)).pixels) == 12


def test_a_video_that_changed_since_the_index_is_named(video: Path, tmp_path: Path) -> None:
    """Which file, and what to run."""
    rows = rows_of(video)
    video.write_text("gone bad")
    with pytest.raises(UserError, match=r"a_1.mp4: .* Run the index stage again"):
        extract_all(rows, tmp_path / "videos", tmp_path / "out", params_with().frames, 1)


def test_a_missing_archive_stops_with_the_clip_named(tmp_path: Path) -> None:
    """A bad clip is never replaced by another one."""
    with pytest.raises(UserError, match=r"clip 'run/none\.mp4' cannot be read"):
        FrameSource("archive", tmp_path).read(ClipRef("run/none.mp4", "run/none.mp4", 0), np.array([0]))


def test_training_straight_from_video_sees_nearly_the_same_frames(video: Path, tmp_path: Path) -> None:
    """Same indices, same transforms; only the JPEG step differs."""
    spec, params = spec_with(resize_px=32, crop_px=32, test_crop_px=32, dense_window=8), params_with()
    rows = rows_of(video)
    extract_all(rows, tmp_path / "videos", tmp_path / "frames", params.frames, 1)
    for sampling in ("uniform", "dense"):
        from_archive = EvaluationVideos(rows, FrameSource("archive", tmp_path / "frames"), spec, sampling)
        from_video = EvaluationVideos(rows, FrameSource("video", tmp_path / "videos"), spec, sampling)
        assert np.abs(normalise(from_archive[0][0]) - normalise(from_video[0][0])).mean() < 0.1


def test_a_training_clip_follows_from_seed_epoch_and_number(video: Path, tmp_path: Path) -> None:
    """Reading it again gives the same; another epoch gives another."""
    spec, training = spec_with(resize_px=32, crop_px=16, test_crop_px=16, dense_window=8), params_with().training
    source = FrameSource("video", tmp_path / "videos")

    def clip(epoch: int) -> np.ndarray:
        clips = TrainingClips(rows_of(video), source, ["run"], spec, training, 1, epoch)
        return clips[0][0].values  # type: ignore[no-any-return]

    np.testing.assert_array_equal(clip(0), clip(0))
    assert not np.array_equal(clip(0), clip(1))


def test_a_flip_takes_the_mirrored_label(video: Path, tmp_path: Path) -> None:
    """left <-> right: half of the clips are mirrored, and those carry the other label."""
    params = params_with(
        training={"flip": "horizontal", "flip_labels": {"left": "right", "right": "left"}, "clips_per_video": 60},
    )
    source, spec = (
        FrameSource("video", tmp_path / "videos"),
        spec_with("dense", resize_px=32, crop_px=32, test_crop_px=32, dense_window=8),
    )
    clips = TrainingClips(rows_of(video), source, ["left", "right"], spec, params.training, 1, 0)
    directions: dict[int, list[float]] = {}
    for number in range(len(clips)):
        pixels, label = clips[number]
        centre = (
            (pixels.values[:, 0] > 128).nonzero()[2].mean()
        )  # the square lies left of the middle in the 48 px frame
        directions.setdefault(int(label), []).append(centre)
    assert len(directions[0]) > 15
    assert len(directions[1]) > 15
    assert max(directions[0]) < min(directions[1])


def test_probing_never_raises(tmp_path: Path) -> None:
    """A folder, a missing file, text."""
    (tmp_path / "x.mp4").write_text("text")
    for path in (tmp_path, tmp_path / "none.mp4", tmp_path / "x.mp4"):
        assert probe(path).status == "unreadable"


@pytest.mark.parametrize("damage", ["empty", "cut off", "one byte", "garbage", "folder"])
def test_a_damaged_archive_of_the_store_is_extracted_again(
    video: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says so; what is linked in is whole, and so is the store."""
    params = params_with().frames
    extract_all(rows_of(video), tmp_path / "videos", tmp_path / "one", params, 1)
    stored = next((tmp_path / ".pptsm" / "frames").rglob("*.zip"))
    whole = stored.read_bytes()
    stored.unlink()
    if damage == "folder":
        stored.mkdir()
    else:
        middle = len(whole) // 4
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        kinds = {"empty": b"", "cut off": whole[:-30], "one byte": flipped, "garbage": b"PK\x05\x06" + b"\xff" * 500}
        stored.write_bytes(kinds[damage])
    extract_all(rows_of(video), tmp_path / "videos", tmp_path / "two", params, 1)
    assert "is damaged" in capfd.readouterr().err
    assert stored.read_bytes() == (tmp_path / "two" / "run" / "a_1.mp4.zip").read_bytes() == whole


def test_a_clips_frames_are_decoded_one_after_the_other(video: Path, tmp_path: Path) -> None:
    """So that they stay in a processor's cache: no frame before the one before it is cut and thrown away."""
    write_archive(tmp_path / "a.zip", video, 12, params_with().frames)
    shown = frames_in(tmp_path / "a.zip", np.array([3, 11, 3])).images
    whole = read_frames(tmp_path / "a.zip", np.array([3, 11, 3])).images
    np.testing.assert_array_equal(list(shown), whole)
    np.testing.assert_array_equal(list(shown[1:]), whole[1:])
    assert shown[0] is not shown[0]


def test_a_damaged_frame_of_a_clip_is_named_with_its_clip(video: Path, tmp_path: Path) -> None:
    """By training and by evaluation, though it is decoded long after the archive was opened."""
    write_archive(tmp_path / "good.zip", video, 12, params_with().frames)
    with zipfile.ZipFile(tmp_path / "good.zip") as old, zipfile.ZipFile(tmp_path / "run.mp4.zip", "w") as new:
        new.comment = old.comment
        for name in old.namelist():
            new.writestr(name, old.read(name) if name != "img_00012.jpg" else b"no picture")
    spec, source = spec_with(segments=12), FrameSource("archive", tmp_path)
    rows = pd.DataFrame({"id": ["run.mp4"], "path": "run.mp4", "first_frame": 0, "num_frames": 12, "label_index": 0})
    sentence = (
        r"clip 'run\.mp4' cannot be read: .*img_00012\.jpg is no whole JPEG\. `dvc repro --force --single-item frames`"
    )
    with pytest.raises(UserError, match=sentence):
        EvaluationVideos(rows, source, spec, "uniform")[0]
    with pytest.raises(UserError, match=sentence):
        TrainingClips(rows, source, ["run"], spec, params_with().training, 1, 0)[0]


@pytest.mark.parametrize("size", [(320, 240), (17, 33), (455, 256)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_decoded_as_by_pillow(size: tuple[int, int], subsampling: int, progressive: bool) -> None:
    """Bit for bit, of every kind that a folder of frames may bring into an archive."""
    rng, (width, height) = np.random.default_rng(0), size
    blocks = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    noise = rng.integers(-20, 20, (height, width, 3))
    picture = Image.fromarray((blocks[:height, :width] + noise).clip(0, 255).astype(np.uint8))
    for image in (picture, picture.convert("L")):
        file = io.BytesIO()
        sampling = {"subsampling": subsampling} if image.mode == "RGB" else {}
        image.save(file, "JPEG", quality=95, progressive=progressive, **sampling)
        np.testing.assert_array_equal(decode_jpeg(file.getvalue()), np.asarray(Image.open(file).convert("RGB")))
