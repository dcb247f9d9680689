"""Folders of numbered frames in the place of video files: found, probed, hashed, packed, read and predicted."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import moving_square, params_with, pptsm, spec_with, write_params
from helpers.exported import LABELS, exported
from pptsm.data.clips import EvaluationVideos, FrameSource, views_of_file
from pptsm.data.transforms import normalise
from pptsm.frames.archive import read_frames
from pptsm.frames.extract import extract_all
from pptsm.ingest.index import build_index
from pptsm.runtime.errors import ParamsError, UserError
from pptsm.serving.parity import serve
from pptsm.video.encode import write_video
from pptsm.video.image_sequence import ImageSequence, hash_of, probe_clip
from pptsm.video.pixels import decode_jpeg, encode_jpeg
from pptsm.video.scan import scan_for_videos
from pptsm.video.types import FrameRange, Seconds, VideoError

NAME = "img_%05d.jpg"


def write_frames(folder: Path, count: int = 12, first: int = 1, seed: int = 0, size: int = 32) -> Path:
    """A folder of frames, with another file beside them."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(moving_square(count, size=size, seed=seed), start=first):
        Image.fromarray(frame).save(folder / (NAME % number), quality=90)
    (folder / "flow_x_00001.jpg").write_bytes(b"no picture")
    return folder / NAME


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of three folders."""
    monkeypatch.chdir(tmp_path)
    for label in ("jump", "run"):
        for seed, group in enumerate("abc"):
            write_frames(tmp_path / "videos" / label / f"{group}_1", first=seed, seed=seed)
    return tmp_path


def params_of(root: str = "videos", **changes: object):  # type: ignore[no-untyped-def]
    shares = {"train_share": 0.4, "val_share": 0.3, "test_share": 0.3}
    return params_with(
        index={"root": root, "frame_name": NAME, "pattern": r"(?P<label>\w+)/(?P<group>.)_1", **shares}, **changes
    )


def test_each_folder_is_a_row(place: Path) -> None:
    """Named by its path; only frames of this name count, and files below another."""
    (place / "videos" / "run" / "a_1" / "thumbs").mkdir()
    table, labels = build_index(params_of().index, 8, 1)
    assert labels == ["jump", "run"]
    assert table["id"].tolist() == [f"{label}/{group}_1" for label in labels for group in "abc"]
    assert (table["path"] == table["id"]).all()
    assert set(table["status"]) == {"ok"}
    assert set(table["decoder"]) == {"jpeg"}
    assert set(zip(table["num_frames"], table["width"], table["height"], table["fps"], strict=True)) == {
        (12, 32, 32, 0)
    }
    sizes = [sum(file.stat().st_size for file in (place / "videos" / name).glob("img_*")) for name in table["id"]]
    assert table["size_bytes"].tolist() == sizes


@pytest.mark.parametrize(
    ("fault", "status", "frames", "reason"),
    [
        ("gap", "truncated", 4, r"frame 5 is missing: after img_00004\.jpg comes img_00006\.jpg"),
        ("damaged", "truncated", 4, r"img_00005\.jpg is no whole JPEG"),
        ("other size", "truncated", 4, r"img_00005\.jpg is 40x40, but img_00001\.jpg is 32x32"),
        ("none left", "unreadable", 0, r"no frame named like img_%05d\.jpg among the 1 files"),
        ("all damaged", "unreadable", 0, r"img_00001\.jpg is no whole JPEG"),
    ],
)
def test_a_bad_folder_has_a_reason(tmp_path: Path, fault: str, status: str, frames: int, reason: str) -> None:
    """As a bad file: what there is up to the first fault, and which that is."""
    path = write_frames(tmp_path / "a")
    fifth = tmp_path / "a" / (NAME % 5)
    if fault == "gap":
        fifth.unlink()
    elif fault == "damaged":
        fifth.write_bytes(b"text")
    elif fault == "other size":
        Image.new("RGB", (40, 40)).save(fifth)
    else:
        for file in (tmp_path / "a").glob("img_*"):
            file.unlink() if fault == "none left" else file.write_bytes(b"")
    found = probe_clip(path)
    assert (found.status, found.num_frames) == (status, frames)
    with pytest.raises(VideoError, match=reason):
        list(ImageSequence(path))
    assert found.reason


def textured(number: int, size: int = 160) -> np.ndarray:
    """uint8 [H, W, 3]: much to encode, as in a picture of something."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    return (smooth + rng.integers(-12, 12, (size, size, 1))).clip(0, 255).astype(np.uint8)


def test_a_frame_in_which_a_byte_changed_is_refused_if_its_decoder_warns(tmp_path: Path) -> None:
    """A third of those that look wrong, at least: libjpeg goes on with a warning, and OpenCV and Pillow pass it by.

    Most changes make other codes that are valid, too, and those nobody can notice.
    """
    (tmp_path / "a").mkdir()
    path, rng = tmp_path / "a" / NAME, np.random.default_rng(3)
    wrong = refused_wrong = 0
    for trial in range(200):
        good = encode_jpeg(textured(trial % 7), 90)
        (tmp_path / "a" / (NAME % 1)).write_bytes(good)
        expected = ImageSequence(path).frames(np.array([0])).images[0]
        np.testing.assert_array_equal(expected, decode_jpeg(good))
        damaged = bytearray(good)
        damaged[rng.integers(len(good))] ^= rng.integers(1, 256)
        (tmp_path / "a" / (NAME % 1)).write_bytes(damaged)
        drawn = decode_jpeg(bytes(damaged))
        if drawn is None or drawn.shape != expected.shape or np.abs(drawn.astype(int) - expected).max() > 30:
            wrong += 1
            found = probe_clip(path)
            refused_wrong += found.status == "unreadable"
            assert found.status == "ok" or "img_00001.jpg is no whole JPEG" in found.reason
    assert wrong > 100
    assert refused_wrong > wrong / 3, (refused_wrong, wrong)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_frame_of_any_kind_has_the_pixels_that_archives_are_read_with(
    tmp_path: Path, mode: str, progressive: bool
) -> None:
    """Grey, printers' inks, progressive."""
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / (NAME % 1)
    Image.fromarray(textured(1)).convert(mode).save(file, progressive=progressive)
    image = ImageSequence(tmp_path / "a" / NAME).frames(np.array([0])).images[0]
    np.testing.assert_array_equal(image, decode_jpeg(file.read_bytes()))


def test_a_folders_hash_is_that_of_its_names_and_files(tmp_path: Path) -> None:
    """The same frames in another folder have it, too; a renamed, a changed or a missing one changes it."""
    path, again = write_frames(tmp_path / "a"), write_frames(tmp_path / "b")
    assert hash_of(path) == hash_of(again)
    hashes = {hash_of(path), hash_of(write_frames(tmp_path / "c", first=0))}
    hashes.add(hash_of(write_frames(tmp_path / "d", count=11)))
    shutil.copy(again.with_name(NAME % 2), again.with_name(NAME % 3))
    assert len(hashes | {hash_of(again)}) == 4


def test_frames_by_number_and_parts(tmp_path: Path) -> None:
    """In any order; there are no times."""
    folder = ImageSequence(write_frames(tmp_path / "a", first=7))
    whole = list(folder)
    found = folder.frames(np.array([11, 0, 5]))
    np.testing.assert_array_equal(found.images, [whole[11], whole[0], whole[5]])
    assert found.native == (32, 32)
    assert folder.span(None) == FrameRange(0, 12)
    for absent in (-1, 12):
        with pytest.raises(VideoError, match="there are 12, and numbers begin at 0"):
            folder.frames(np.array([absent]))
    with pytest.raises(VideoError, match="does not say when they are shown"):
        folder.span(Seconds(0, 1))


def test_archives_hold_the_files_bytes(place: Path) -> None:
    """Nothing is encoded anew where the size allows; where it does not, frames are scaled."""
    table, _ = build_index(params_of().index, 8, 1)
    root, row = place / "videos", table.iloc[1]
    extract_all(table, root, place / "frames", params_with().frames, 1, frame_name=NAME)
    loose = [(root / row["id"] / (NAME % number)).read_bytes() for number in range(1, 13)]
    with zipfile.ZipFile(place / "frames" / f"{row['id']}.zip") as archive:
        assert [archive.read(name) for name in archive.namelist()] == loose
    smaller = params_with(
        frames={"short_side_px": 16}, clip={"resize_px": 16, "crop_px": 16, "test_crop_px": 16}
    ).frames
    extract_all(table, root, place / "small", smaller, 1, frame_name=NAME)
    found = read_frames(place / "small" / f"{row['id']}.zip", np.array([0]))
    assert (found.images[0].shape, found.native) == ((16, 16, 3), (32, 32))


def test_every_reader_gives_the_same_pixels(place: Path) -> None:
    """Archive, folder, and what is served."""
    table, _ = build_index(params_of().index, 8, 1)
    root, spec = place / "videos", spec_with(resize_px=32, crop_px=32, test_crop_px=32, dense_window=8)
    extract_all(table, root, place / "frames", params_with().frames, 1, frame_name=NAME)
    archived = EvaluationVideos(table, FrameSource("archive", place / "frames"), spec, "dense")
    straight = EvaluationVideos(table, FrameSource("video", root, frame_name=NAME), spec, "dense")
    for number, name in enumerate(table["id"]):
        np.testing.assert_array_equal(archived[number][0].values, straight[number][0].values)
        np.testing.assert_array_equal(views_of_file(root / name / NAME, spec, "dense"), normalise(straight[number][0]))


def test_unpacked_archives_are_such_folders(place: Path) -> None:
    """There and back: the same rows, but for what only a video file has, and the same archives."""
    videos = place / "originals"
    for label in ("jump", "run"):
        for seed, group in enumerate("abc"):
            path = videos / label / f"{group}_1"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path.with_suffix(".mp4"), moving_square(12, seed=seed), 10, "mpeg4")
    pattern = r"(?P<label>\w+)/(?P<group>.)_1.mp4"
    of_files = params_of("originals").index.model_copy(update={"pattern": pattern, "frame_name": None})
    before, _ = build_index(of_files, 8, 1)
    extract_all(before, videos, place / "frames", params_with().frames, 1)
    assert pptsm("unpack", "frames", "--out", "loose", cwd=place).stdout == "loose: 72 frames of 6 archives\n"
    after, _ = build_index(of_files.model_copy(update={"root": "loose", "frame_name": NAME}), 8, 1)
    same = [
        "id",
        "path",
        "label",
        "label_index",
        "group",
        "split",
        "status",
        "first_frame",
        "num_frames",
        "width",
        "height",
    ]
    assert after[same].equals(before[same])
    extract_all(after, place / "loose", place / "again", params_with().frames, 1, frame_name=NAME)
    for name in before["id"]:
        assert (place / "again" / f"{name}.zip").read_bytes() == (place / "frames" / f"{name}.zip").read_bytes()


def test_unpacking_leaves_nothing_half_done(place: Path) -> None:
    """No archives, a damaged one, and a folder of the user's."""
    done = pptsm("unpack", "videos", "--out", "loose", cwd=place, check=False)
    assert done.returncode == 1
    assert "no archive in videos" in done.stderr
    (place / "frames").mkdir()
    (place / "frames" / "a.zip").write_text("text")
    done = pptsm("unpack", "frames", "--out", "loose", cwd=place, check=False)
    assert "cannot unpack frames/a.zip: File is not a zip file" in done.stderr
    assert not (place / "loose").exists()
    done = pptsm("unpack", "frames", "--out", "videos", cwd=place, check=False)
    assert done.returncode != 0
    assert (place / "videos" / "run").is_dir()


def test_the_walk_takes_one_or_the_other(place: Path) -> None:
    """Without a name of frames there is no video here; with one, video files are none."""
    write_video(place / "videos" / "run" / "a.mp4", moving_square(12), 10, "mpeg4")
    assert [path.name for path in scan_for_videos(place / "videos")] == ["a.mp4"]
    assert {path.name for path in scan_for_videos(place / "videos", NAME)} == {NAME}
    assert len(scan_for_videos(place / "videos", NAME)) == 6
    with pytest.raises(UserError, match=r"looked for folders of frames named like image_%05d\.jpg"):
        build_index(params_of().index.model_copy(update={"frame_name": "image_%05d.jpg"}), 8, 1)


@pytest.mark.parametrize("name", ["img_00001.jpg", "img_%05d.png", "a/img_%05d.jpg", "%d_%d.jpg", "img_%5s.jpg", ""])
def test_a_name_of_frames_is_checked(name: str) -> None:
    """Before anything is looked for."""
    with pytest.raises(ParamsError, match=r"write it as img_%05d\.jpg"):
        params_with(index={"frame_name": name})


def test_folders_are_predicted_and_served(place: Path) -> None:
    """By the option, by the name itself, and as the evaluation asks; a folder with a gap has an error."""
    model = exported(place)
    (place / "videos" / "run" / "c_1" / (NAME % 6)).unlink()
    done = pptsm("predict", "videos", "--frame-name", NAME, "--model", model, "--json", cwd=place, check=False)
    answers = {Path(answer["file"]).parent.as_posix(): answer for answer in json.loads(done.stdout)}
    assert len(answers) == 6
    assert answers["videos/run/c_1"]["error"].startswith("frame 6 is missing")
    assert done.returncode == 1
    one = json.loads(pptsm("predict", f"videos/run/a_1/{NAME}", "--model", model, "--json", cwd=place).stdout)[0]
    assert one["top"] == answers["videos/run/a_1"]["top"]
    videos = pd.DataFrame({"id": ["run/a_1"], "path": "run/a_1", "first_frame": 0, "num_frames": 12})
    rows = pd.DataFrame({"id": ["run/a_1"], "label": LABELS[0], "top1": LABELS[0], "score1": 0.5})
    served = serve(model, place / "videos", videos, rows, one["sampling"], NAME).answers.iloc[0]
    assert (served["served"], served["score"]) == tuple(one["top"][0].values())


def test_a_name_of_frames_on_the_command_line_is_checked(place: Path) -> None:
    """And does not go with --results."""
    for options in (["--frame-name", "img_1.jpg"], ["--frame-name", NAME, "--results", "seen.csv"]):
        done = pptsm("predict", "videos", *options, cwd=place, check=False)
        assert done.returncode == 1
        assert "takes a name as img_%05d.jpg, and no --results" in done.stderr


def test_views_shows_what_short_gop_clips_are_read_as(place: Path) -> None:
    """`--source archive` stands for kept frames, in the form that the parameters name."""
    write_params(place / "params.yaml", {"frames": {"source": "short_gop"}})
    name = f"videos/run/a_1/{NAME}"
    for source in ("file", "archive"):
        pptsm("views", name, "--out", f"{source}.npy", "--source", source, cwd=place)
    difference = np.abs(np.load(place / "file.npy") - np.load(place / "archive.npy")).mean()
    assert 0.02 < difference < 0.3


def test_lists_of_folders_name_them(place: Path) -> None:
    """Lines `folder frames class`, as the toolboxes write them for loose frames."""
    for part, groups in (("train", "ab"), ("test", "c")):
        lines = [f"{label}/{group}_1 12 {n}\n" for n, label in enumerate(("jump", "run")) for group in groups]
        (place / f"{part}.txt").write_text("".join(lines))
    (place / "names.txt").write_text("jump\nrun\n")
    lists = {"annotations": ["train.txt", "test.txt"], "format": "list", "label_file": "names.txt"}
    table, labels = build_index(params_with(index={"root": "videos", "frame_name": NAME, **lists}).index, 8, 1)
    assert labels == ["jump", "run"]
    assert dict(zip(table["id"], table["split"], strict=True)) == {
        f"{label}/{group}_1": "test" if group == "c" else "train" for label in labels for group in "abc"
    }
