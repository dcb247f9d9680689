"""Frames by number: every frame of every test video says which one it is, and the one asked for must come back.

The number stands in eight black or white fields, each above its own negative, in the middle of the frame: large enough
for any codec, and inside the square that the network sees.
"""

import contextlib
import functools
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from conftest import DECORD, ROOT, params_with, pptsm, spec_with, write_params
from helpers.videos import (
    KINDS,
    RATE,
    VP9,
    X264,
    Kind,
    encode,
    headers_first,
    number_in,
    numbered,
    numbers_in,
)
from pptsm.data.clips import EvaluationVideos, FrameSource, evaluation_indices, views_of_file
from pptsm.data.spec import IMAGENET_MEAN, IMAGENET_STD
from pptsm.data.transforms import normalise
from pptsm.frames.archive import read_frames
from pptsm.frames.extract import extract_all
from pptsm.frames.store import FrameRequest, stored_name, write_archive, write_stored
from pptsm.runtime.files import sha256_of
from pptsm.video.packets import keys_divide
from pptsm.video.types import FrameRange, VideoError
from pptsm.video.video import Video, probe

OF_DATASET = functools.partial(Video, decord=True)  # as the index opens a file
WANTED = [5, 17, 29, 41, 53, 65, 77, 89]
MIXED = [89, 5, 5, 41, 40, 42, 41, 99, 0, 98, 24, 23, 25]
CLIP = {"clip": {"resize_px": 224, "crop_px": 224, "test_crop_px": 224, "aspect": "kept", "dense_window": 64}}


ENTRANCES = ["h264 mp4", "h264 mp4 720x1280", "mpeg4 B-frames avi", "h264 avi", "mpeg1 mpg", "av1 webm"]


def numbers_seen(views: np.ndarray) -> list[int]:
    """The numbers in normalised views [V*S, 3, H, W]."""
    return numbers_in(
        (views * np.reshape(IMAGENET_STD, (3, 1, 1)) + np.reshape(IMAGENET_MEAN, (3, 1, 1))).transpose(0, 2, 3, 1)
    )


def replaced(packet: av.Packet, data: bytes) -> av.Packet:
    """Other bytes at the same time."""
    new = av.Packet(data)
    new.stream, new.time_base = packet.stream, packet.time_base
    new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
    return new


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The video of each of KINDS, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("videos") / "numbers"
    folder.mkdir()

    @functools.cache
    def video(name: str) -> Path:
        return encode(folder / (name.replace(" ", "_") + KINDS[name].suffix), KINDS[name])

    return video


@pytest.mark.parametrize("name", KINDS)
def test_the_frames_that_are_asked_for_come_back(library: Callable[[str], Path], name: str) -> None:
    """In order, out of order, repeated, at both ends; from the decoder that can be trusted with the file."""
    kind, video = KINDS[name], Video(library(name))
    there = [number for number in range(kind.count) if number not in kind.dropped]
    assert (video.decoder, OF_DATASET(library(name)).decoder) == ("pyav", kind.decoder)
    assert video.frames(np.array(WANTED)).pixels.shape == (8, kind.height, kind.width, 3)
    for indices in (WANTED, MIXED, WANTED[::-1]):
        assert numbers_in(video.frames(np.array(indices)).pixels) == [there[index] for index in indices]
    for index in (97, 24, 12):
        assert numbers_in(Video(library(name)).frames(np.array([index])).pixels) == [there[index]]


@pytest.mark.parametrize("name", ["h264 mp4", "h264 mkv", "hevc closed groups, mp4", "vp9 webm", "mpeg4 avi"])
def test_what_is_passed_over_changes_no_pixel(library: Callable[[str], Path], name: str) -> None:
    """Bit for bit what decoding every frame gives, though decoding starts at a key frame and leaves frames out."""
    with av.open(str(library(name))) as container:
        everything = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for indices in (WANTED, MIXED, [99], [47], [48]):
        found = Video(library(name)).frames(np.array(indices)).pixels
        np.testing.assert_array_equal(found, [everything[index] for index in indices])


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.width == 320])
@pytest.mark.parametrize("decord", [True, False])
def test_all_frames_are_counted_and_read_in_order(library: Callable[[str], Path], name: str, decord: bool) -> None:
    """The same count for `len`, for reading and for the probe; reading begins with the first, whatever came before."""
    open_video = functools.partial(Video, decord=decord)
    kind, video = KINDS[name], open_video(library(name))
    there = [number for number in range(kind.count) if number not in kind.dropped]
    video.frames(np.array([50]))
    assert numbers_in(list(video)) == there
    found = probe(library(name), open_video)
    assert len(video) == found.num_frames == len(there)
    assert (found.status, found.reason, found.decoder) == ("ok", "", kind.decoder if decord else "pyav")
    assert (found.width, found.height) == (kind.width, kind.height)


@pytest.mark.parametrize(("source", "sampling", "num_views"), [("file", "uniform", 1), ("archive", "dense", 30)])
@pytest.mark.parametrize("name", ENTRANCES)
def test_the_command_gives_the_network_the_right_frames(
    library: Callable[[str], Path], tmp_path: Path, name: str, source: str, sampling: Any, num_views: int
) -> None:
    """`pptsm views`, straight from the file and through an archive."""
    write_params(tmp_path / "params.yaml", CLIP)
    pptsm("views", library(name), "--source", source, "--sampling", sampling, "--out", "views.npy", cwd=tmp_path)
    views = np.load(tmp_path / "views.npy")
    assert (views.dtype, views.shape) == (np.float32, (8 * num_views, 3, 224, 224))
    wanted = evaluation_indices(100, spec_with(segments=8, **CLIP["clip"]), sampling).tolist()
    assert numbers_seen(views[-len(wanted) :]) == wanted  # the last of the three crops of a dense view is the centre


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_prediction_and_evaluation_see_the_frames_that_sampling_chose(
    library: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: Any
) -> None:
    """Prediction's own path; evaluation from archives that the frames stage wrote, and from video."""
    monkeypatch.chdir(tmp_path)
    params, spec = params_with(**CLIP), spec_with(segments=8, **CLIP["clip"])
    files = [library(name) for name in ENTRANCES]
    names = [file.name for file in files]
    videos = pd.DataFrame({"id": names, "path": names, "first_frame": 0, "num_frames": 100, "label_index": 0})
    videos["sha256"] = [sha256_of(file) for file in files]
    extract_all(videos, files[0].parent, tmp_path / "frames", params.frames, 1)
    archives = EvaluationVideos(videos, FrameSource("archive", tmp_path / "frames"), spec, sampling)
    from_video = EvaluationVideos(videos, FrameSource("video", files[0].parent), spec, sampling)
    wanted = evaluation_indices(100, spec, sampling).tolist()
    for number, file in enumerate(files):
        for views in (
            normalise(archives[number][0]),
            normalise(from_video[number][0]),
            views_of_file(file, spec, sampling),
        ):
            centre = views[-len(wanted) :]  # the last of the three crops of a dense view
            assert numbers_seen(centre) == wanted, file.name


@pytest.mark.parametrize("name", ["h264 mp4", "mpeg4 avi", "vp9 webm"])
def test_what_arrives_is_never_opened_by_decord(
    library: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whole or cut off, predicted, kept or probed: only the index asks for decord, whose libraries are of 2018."""
    whole = library(name)
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes((headers_first(whole) if name == "h264 mp4" else whole).read_bytes()[: whole.stat().st_size // 2])

    def opened(*_: object) -> None:
        raise AssertionError("decord was asked")

    monkeypatch.setattr("pptsm.video.decoders.Decord.open", opened)
    spec = spec_with(segments=8, **CLIP["clip"])
    assert numbers_seen(views_of_file(whole, spec, "uniform")) == evaluation_indices(100, spec, "uniform").tolist()
    with contextlib.suppress(VideoError):
        views_of_file(cut, spec, "uniform")
    assert probe(cut).decoder in ("pyav", "")
    assert len(list(Video(whole))) == 100
    for kind in ("archive", "short_gop"):
        settings = params_with().frames.model_copy(update={"kept": kind, "source": kind})
        write_stored(whole, [FrameRequest(tmp_path / stored_name(kind, "a"), FrameRange(0, 100))], settings)
    with pytest.raises(AssertionError, match="decord was asked"):
        probe(whole, OF_DATASET)


def test_the_index_names_the_decoder(library: Callable[[str], Path], tmp_path: Path) -> None:
    """A column of its own; both decoders' files are usable."""
    for label in ("jump", "run"):
        for group, name in enumerate(["h264 mp4", "mpeg1 mpg", "av1 webm"]):
            target = tmp_path / "videos" / label / f"g{group}_1{library(name).suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(library(name).read_bytes())
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos"}})
    done = pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=tmp_path)
    table = pd.read_csv(tmp_path / "index.csv").set_index("id")
    assert set(table["status"]) == {"ok"}
    assert table["decoder"].filter(like="run/").tolist() == [DECORD, "pyav", "pyav"]
    assert ("decord is not installed here, so PyAV reads every file" in done.stderr) == (DECORD == "pyav")


@pytest.mark.slow
def test_where_decord_is_absent_pyav_reads_every_file() -> None:
    """The tests of frames by number and of times, once more, as on arm64, for which decord has no wheel."""
    without = {"PYTHONPATH": str(ROOT / "tests" / "without_decord")}
    files = ["test_video.py", "test_timing.py", "test_orientation.py"]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *files]
    done = subprocess.run(
        run, cwd=ROOT / "tests", env=os.environ | without, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 150  # type: ignore[index]
    command = [sys.executable, "-c", "import conftest; print(conftest.DECORD)"]
    hidden = subprocess.check_output(command, cwd=ROOT / "tests", env=os.environ | without, text=True)
    assert hidden == "pyav\n"


@pytest.mark.parametrize("around", ["", "000001b2" + "41" * 30], ids=["bare", "with user data"])
def test_a_packet_that_shows_nothing_shifts_no_frame(tmp_path: Path, around: str) -> None:
    """MPEG-4 stores a dropped frame as a few bytes: 100 packets, 99 frames, and none of them is the one before."""
    not_coded = bytes.fromhex("000001b65b4f" + around)  # a P picture 22/25 s after a full second, marked as not coded
    path = encode(
        tmp_path / "a.avi", KINDS["mpeg4 avi"], lambda n, packet: replaced(packet, not_coded) if n == 47 else packet
    )
    there = [number for number in range(100) if number != 47]
    video = Video(path)
    assert numbers_in(video.frames(np.array(WANTED)).pixels) == [there[index] for index in WANTED]
    assert numbers_in(list(video)) == there
    assert len(video) == probe(path).num_frames == 99
    write_archive(tmp_path / "a.zip", path, 99, params_with().frames)
    assert numbers_in(read_frames(tmp_path / "a.zip", np.arange(99)).pixels) == there


@pytest.mark.parametrize(
    ("times", "keys", "divide"),
    [
        ([0, 2, 1, 3, 5, 4], [0, 3], True),
        ([10, 30, 20, 40], [0, 3], True),
        ([0, 1, 4, 2, 3, 5], [0, 2], False),  # two frames lead the second key frame
        ([0, 4, 2, 1, 3, 5], [0, 2], False),  # one stored before it is shown after it, one the other way round
        ([0, 3, 2, 1, 4], [0, 3], False),  # it is shown before others that are stored before it
        ([0, 1, 2], [1], False),
        ([0, 1, 2], [], False),
    ],
)
def test_key_frames_divide_what_is_stored(times: list[int], keys: list[int], divide: bool) -> None:
    """Only then is a key frame's place among the packets its number."""
    assert keys_divide(np.array(times), np.array(keys, dtype=int)) is divide


def test_a_stored_frame_that_is_never_shown_counts_for_none(tmp_path: Path) -> None:
    """VP8 keeps frames that only others look back at: here a copy of the second key frame, half a frame before it."""

    def with_hidden(number: int, packet: av.Packet) -> list[av.Packet]:
        if number != 24:
            return [packet]
        data = bytes(packet)
        hidden = replaced(packet, bytes([data[0] & ~0x10]) + data[1:])  # the bit that says: to be shown
        hidden.pts = hidden.dts = packet.pts - 20
        hidden.is_keyframe = True
        return [hidden, packet]

    kind = Kind(".webm", "libvpx", "pyav", VP9, every_ms=lambda _: 40)
    path = encode(tmp_path / "a.webm", kind, with_hidden)
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 101
    assert numbers_in(Video(path).frames(np.array(MIXED)).pixels) == MIXED
    assert len(Video(path)) == probe(path).num_frames == 100


def test_a_hole_in_an_avi_shifts_no_frame(tmp_path: Path) -> None:
    """A chunk is gone, its entry in the index is not: reading in order and seeking then count differently."""
    path = encode(tmp_path / "a.avi", KINDS["mpeg4 avi"])
    data = bytearray(path.read_bytes())
    chunk = data.index(b"movi")
    for _ in range(24):  # to the frame before the second key frame: no other looks back at it
        chunk = data.index(b"00dc", chunk + 1)
    data[chunk : chunk + 4] = b"JUNK"
    path.write_bytes(data)
    there = [number for number in range(100) if number != 23]
    assert numbers_in(list(Video(path))) == there
    assert numbers_in(Video(path).frames(np.array(MIXED[:7])).pixels) == [there[index] for index in MIXED[:7]]
    for index in (98, 23, 50):
        assert numbers_in(Video(path).frames(np.array([index])).pixels) == [there[index]]


def test_what_an_edit_list_cuts_away_is_no_part_of_the_video(tmp_path: Path) -> None:
    """Frames 30 to 79 of 100 are to be shown; they are all of the video, and it is not cut off."""
    path = encode(tmp_path / "a.mp4", KINDS["h264 mp4"])
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    duration_ms, start, rate = struct.unpack(">IiI", data[at : at + 12])
    assert (duration_ms, rate) == (4000, 0x10000)
    data[at : at + 12] = struct.pack(">IiI", 2000, start + 30 * 512, rate)  # 12800 units a second
    path.write_bytes(data)
    video = Video(path)
    assert numbers_in(video.frames(np.array([0, 49, 25])).pixels) == [30, 79, 55]
    assert numbers_in(list(video)) == list(range(30, 80))
    found = probe(path)
    assert (len(video), found.num_frames, found.status) == (50, 50, "ok")


def test_a_frame_that_does_not_decode_is_not_made_up(tmp_path: Path) -> None:
    """A packet of remarks where a frame is due: decord would repeat the last frame and count a hundred."""
    remarks = bytes.fromhex("00000001" + "4e01" + "0518" + "41" * 24 + "80")  # a unit of supplementary information
    path = encode(
        tmp_path / "a.mp4",
        KINDS["hevc closed groups, mp4"],
        lambda n, packet: replaced(packet, remarks) if n == 95 else packet,
    )
    assert OF_DATASET(path).decoder == DECORD
    video, missing = Video(path), []
    for index in range(90, 100):
        try:
            assert numbers_in(video.frames(np.array([index])).pixels) == [index]
        except VideoError as error:
            missing.append(str(error))
    assert [bool(re.fullmatch(r"frame 9\d does not decode", reason)) for reason in missing] == [True]
    by_pyav = int(missing[0].split()[1])
    # decord misses the frame at the end only; neither gives 100
    for open_video, count in ((OF_DATASET, 99 if DECORD == "decord" else by_pyav), (Video, by_pyav)):
        found = probe(path, open_video)
        assert (found.status, found.num_frames) == ("truncated", count)
        with pytest.raises(VideoError, match=f"frame {count} does not decode"):
            list(open_video(path))


@pytest.mark.parametrize("share", [0.4, 0.9, 0.97])
@pytest.mark.parametrize("name", ["h264 mp4", "h264 mkv", "h264 avi", "mpeg4 avi", "mpeg4 B-frames avi"])
def test_a_file_that_the_index_refuses_is_refused_everywhere_for_the_same_reason(
    library: Callable[[str], Path], tmp_path: Path, name: str, share: float
) -> None:
    """What is cut off by more than a twentieth is neither predicted nor shown; what the index takes, is."""
    whole = headers_first(library(name)) if name == "h264 mp4" else library(name)
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    found, spec = probe(cut), spec_with(segments=8, **CLIP["clip"])
    if found.status == "ok":
        assert views_of_file(cut, spec, "uniform").shape == (8, 3, 224, 224)
        return
    with pytest.raises(VideoError) as refused:
        views_of_file(cut, spec, "uniform")
    assert str(refused.value) == found.reason
    assert "promises 100 frames" in found.reason


@pytest.mark.parametrize("source", ["file", "archive"])
def test_a_file_that_is_cut_off_is_not_shown(library: Callable[[str], Path], tmp_path: Path, source: str) -> None:
    """The command says why, whichever way it would have read the frames."""
    data = library("mpeg4 avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    write_params(tmp_path / "params.yaml", CLIP)
    done = pptsm("views", "cut.avi", "--source", source, "--out", "views.npy", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "cut.avi cannot be read: cut off: the file promises 100 frames" in done.stderr
    assert not (tmp_path / "views.npy").exists()


@pytest.mark.parametrize(("sampling", "step"), [("uniform", None), ("dense", 8)])
def test_training_clips_that_are_shown_follow_the_sampling(tmp_path: Path, sampling: str, step: int | None) -> None:
    """Uniform: one frame of each eighth of 100 frames; dense: every eighth frame of a window."""
    clip = CLIP["clip"] | {"resize_px": 240, "crop_px": 240}  # no room: the numbers stay in the middle
    square = encode(tmp_path / "square.mp4", Kind(".mp4", "libx264", DECORD, X264, 240, 240))
    write_params(tmp_path / "params.yaml", {"clip": clip, "training": {"crop": "random"}})
    options = ["--training", 4, "--sampling", sampling, "--out", "clips.npy"]
    pptsm("views", square, *options, cwd=tmp_path)
    seen = np.reshape(numbers_seen(np.load(tmp_path / "clips.npy")), (4, 8))
    if step is None:
        assert (seen // 12 == np.arange(8)).all()
    else:
        assert (np.diff(seen) == step).all()
    assert len({tuple(row) for row in seen}) > 1


@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.parametrize("name", ["h264 mp4", "h264 open groups, mp4"])
def test_both_decoders_turn_a_frame_as_a_player_does(tmp_path: Path, name: str, rotation: int) -> None:
    """A phone held upright stores lying frames and says how to turn them."""
    kind = KINDS[name]
    small = {"count": 30, "width": 160, "height": 96}
    turned = encode(tmp_path / "a.mp4", Kind(**{**vars(kind), **small, "rotation": rotation}))
    straight = encode(tmp_path / "b.mp4", Kind(**{**vars(kind), **small}))
    assert OF_DATASET(turned).decoder == kind.decoder
    indices = np.array([20, 3])
    expected = np.rot90(Video(straight).frames(indices).pixels, rotation // 90, axes=(1, 2))
    np.testing.assert_array_equal(Video(turned).frames(indices).pixels, expected)
    np.testing.assert_array_equal(list(OF_DATASET(turned))[20], expected[0])
    assert (probe(turned).height, probe(turned).width) == expected.shape[1:3]


@pytest.mark.parametrize(("width", "height"), [(48, 64), (72, 48), (161, 121)])
@pytest.mark.parametrize("name", ["mpeg4 avi", "mpeg4 B-frames avi"])
def test_odd_sizes_keep_their_pixels(tmp_path: Path, name: str, width: int, height: int) -> None:
    """Widths at which decord pads its rows, and sides that are no multiple of two: close to what was drawn."""
    kind = KINDS[name]
    path = encode(tmp_path / "a.avi", Kind(**{**vars(kind), "width": width, "height": height, "count": 30}))
    for frame, number in zip(Video(path).frames(np.array([20, 3])).pixels, (20, 3), strict=True):
        assert np.abs(frame.astype(int) - numbered(number, width, height)).mean() < 25
        assert number_in(frame) == number


@pytest.mark.parametrize("name", ["h264 mp4", "mpeg1 mpg"])
@pytest.mark.parametrize(("index", "says"), [(-1, "numbers begin at 0"), (100, "100 decode")])
def test_frames_beyond_the_ends_are_refused(library: Callable[[str], Path], name: str, index: int, says: str) -> None:
    """No frame stands for one that is not there."""
    with pytest.raises(VideoError, match=rf"there are no frames \[{index}\]: {says}"):
        Video(library(name)).frames(np.array([3, index]))


def test_text_in_another_encoding_does_not_make_a_video_unreadable(tmp_path: Path) -> None:
    """A title in Latin-1, as old cameras write it."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Caf-"
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number, 320, 240), format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"Caf-" in data
    path.write_bytes(data.replace(b"Caf-", b"Caf\xe9"))
    assert numbers_in(list(Video(path))) == [0, 1, 2]


def test_a_file_that_ends_before_its_first_frame_is_refused(tmp_path: Path) -> None:
    """When it is opened, not when it is read."""
    path = encode(tmp_path / "a.avi", KINDS["mpeg4 avi"])
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(VideoError, match="the file has no frames"):
        Video(path)


@pytest.mark.parametrize("name", ["h264 mp4", "mpeg1 mpg"])
def test_no_file_stays_open(library: Callable[[str], Path], name: str) -> None:
    """However reading ended: after the last wanted frame, in the middle, or with an error."""
    path = library(name)

    def read() -> int:
        video = Video(path)
        video.frames(np.array([30]))
        next(iter(video))
        with pytest.raises(VideoError):
            video.frames(np.array([500]))
        del video
        return psutil.Process().num_fds()

    assert read() == read() == read()


def test_real_videos_give_at_random_what_they_give_in_order(shared: Path) -> None:
    """Every frame of the clips in the style of UCF101; one of them holds a frame less than it says."""
    counts = {}
    for path in sorted((shared / "data" / "ucf_style").rglob("*.avi")):
        in_order = list(OF_DATASET(path))
        video = OF_DATASET(path)
        counts[path.stem] = len(video)
        assert len(video) == len(in_order) == probe(path).num_frames
        indices = np.random.default_rng(7).permutation(len(video))
        apart = np.abs(video.frames(indices).pixels.astype(int) - np.stack(in_order)[indices])
        # the two decoders round MPEG-4 in their own ways; the frame before or after is further off by far
        assert apart.max() <= (2 if video.decoder == "decord" else 0), path
    assert counts["v_BaseballPitch_g01_c03"] == 103


def test_the_contact_sheet_shows_the_frames_in_their_colours(library: Callable[[str], Path], tmp_path: Path) -> None:
    """A row a view, a column a frame."""
    write_params(tmp_path / "params.yaml", {"clip": {**CLIP["clip"], "dense_clips": 2}})
    pptsm("views", library("h264 mp4"), "--sampling", "dense", "--out", "sheet.png", cwd=tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (6 * 224, 8 * 224, 3)
    spec = spec_with(segments=8, **CLIP["clip"], dense_clips=2)
    wanted = evaluation_indices(100, spec, "dense").reshape(2, 8)
    for row, expected in ((4, wanted[0]), (5, wanted[1])):  # the centre crops come last
        cells = [sheet[row * 224 : (row + 1) * 224, column * 224 : (column + 1) * 224] for column in range(8)]
        assert numbers_in(cells) == expected.tolist()
    frame = Video(library("h264 mp4")).frames(wanted[0][:1]).pixels[0]
    assert np.abs(sheet[4 * 224 : 5 * 224, :224].mean(axis=(0, 1)) - frame[:, 40:-40].mean(axis=(0, 1))).max() < 4


@pytest.mark.parametrize(
    ("video", "out", "says"),
    [
        ("a.mp4", "views.jpg", "neither .npy .* nor .png"),
        ("none.mp4", "views.npy", "none.mp4 cannot be read: no such file"),
        ("text.mp4", "views.npy", "text.mp4 cannot be read: not a readable video"),
        ("sound.mp4", "views.png", "sound.mp4 cannot be read: nothing to see in it"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(tmp_path: Path, video: str, out: str, says: str) -> None:
    """Exit code 1, no trace, and no file left behind."""
    write_params(tmp_path / "params.yaml", CLIP)
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        silence.sample_rate = 48000
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    before = sorted(tmp_path.iterdir())
    done = pptsm("views", video, "--out", out, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(says, done.stderr), done.stderr
    assert sorted(tmp_path.iterdir()) == before
