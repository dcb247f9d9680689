"""When frames are shown, how long a video lasts, and where it begins: by the frames, whatever a header says."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from conftest import DECORD, pptsm, write_params
from helpers.videos import AV1, HEVC, KINDS, OPEN_GOP, VP9, X264, Kind, encode, numbers_in
from pptsm.video.timing import timing_of
from pptsm.video.types import FrameRange, Seconds, VideoError
from pptsm.video.video import Video, probe

OPEN = {**HEVC, "x265-params": HEVC["x265-params"] + "1"}


def uneven_ms(number: int) -> int:
    """From a frame to the next: 15 to 115 ms, and a second of rest after the tenth."""
    return 1000 if number == 9 else 15 + 37 * number % 101


SMALL = {"width": 96, "height": 96, "count": 40, "every_ms": uneven_ms}
BEGINS_SEC = np.cumsum([0, *map(uneven_ms, range(39))]) / 1000
UNEVEN = {
    "h264 mp4": Kind(".mp4", "libx264", DECORD, X264, **SMALL),
    "h264 mov": Kind(".mov", "libx264", DECORD, X264, **SMALL),
    "h264 mkv": Kind(".mkv", "libx264", DECORD, X264, **SMALL),
    "h264 mpg": Kind(".mpg", "libx264", "pyav", X264, container="mpegts", **SMALL),
    "hevc open groups, mp4": Kind(".mp4", "libx265", "pyav", OPEN, **SMALL),
    "hevc open groups, mkv": Kind(".mkv", "libx265", "pyav", OPEN, **SMALL),
    "vp8 webm": Kind(".webm", "libvpx", "pyav", VP9, **SMALL),
    "vp8 mkv": Kind(".mkv", "libvpx", "pyav", VP9, **SMALL),
    "vp9 webm": Kind(".webm", "libvpx-vp9", DECORD, VP9, **SMALL),
    "av1 mp4": Kind(".mp4", "libsvtav1", "pyav", AV1, **SMALL),
    "av1 webm": Kind(".webm", "libsvtav1", "pyav", AV1, **SMALL),
    "ffv1 mkv": Kind(".mkv", "ffv1", "pyav", **SMALL),
    "mpeg4 B-frames mp4": Kind(".mp4", "mpeg4", "pyav", {"g": "24", "qscale": "4", "bf": "2"}, **SMALL),
}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("uneven")

    @cache
    def video(name: str) -> Path:
        return encode(folder / f"{name.replace(' ', '_')}{UNEVEN[name].suffix}", UNEVEN[name])

    return video


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_times_are_the_frames_own(uneven: Callable[[str], Path], name: str) -> None:
    """In each codec and container; a header's 25 frames a second, or 1000, counts for nothing."""
    video = Video(uneven(name))
    timing = video.timing()
    np.testing.assert_allclose(timing.begins_sec, BEGINS_SEC, atol=0.0011)
    assert BEGINS_SEC[-1] < timing.end_sec < BEGINS_SEC[-1] + 0.12  # the last frame lasts as long as another
    assert timing.fps == pytest.approx(39 / BEGINS_SEC[-1], rel=0.002)
    for decord in (False, True):
        found = probe(uneven(name), lambda path, decord=decord: Video(path, decord=decord))  # type: ignore[misc]
        assert (found.num_frames, found.status) == (40, "ok")
        assert (found.duration_sec, found.fps) == (timing.end_sec, timing.fps)


@pytest.mark.parametrize("name", UNEVEN)
def test_a_part_in_seconds_has_the_frames_shown_then(uneven: Callable[[str], Path], name: str) -> None:
    """Also at a frame's very beginning, a millisecond beside it, and where nothing is shown anew for a second."""
    video = Video(uneven(name))
    at = BEGINS_SEC
    for start, end in ((0, at[10]), (at[10], at[20]), (at[3], at[4]), (at[3] + 0.002, at[12] - 0.002), (0, at[39])):
        inside = np.flatnonzero((at > start - 0.0015) & (at < end - 0.0015))
        span = video.span(Seconds(start, end))
        assert span == FrameRange(int(inside[0]), len(inside)), (start, end)
        lasts = at[inside[-1] + 1] - at[inside[0]]
        assert video.length_sec(span) == pytest.approx(lasts, abs=0.0015)
    with pytest.raises(VideoError, match="no frame begins between"):
        video.span(Seconds(at[9] + 0.1, at[10] - 0.1))


def test_the_index_says_how_long_a_video_lasts(uneven: Callable[[str], Path], tmp_path: Path) -> None:
    """And validate.max_duration_sec judges that; parts have their own length."""
    for label in ("run", "walk"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        for name in ("h264 mkv", "vp8 webm", "av1 mp4"):
            target = tmp_path / "videos" / label / uneven(name).name
            target.write_bytes(uneven(name).read_bytes())
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos"}})
    pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=tmp_path)
    table = pd.read_csv(tmp_path / "index.csv")
    assert len(table) == 6
    assert table["duration_sec"].between(BEGINS_SEC[-1], BEGINS_SEC[-1] + 0.12).all()
    assert table["fps"].to_numpy() == pytest.approx(39 / BEGINS_SEC[-1], rel=0.002)
    rows = [f"{name},{name.split('/')[0]},train,0,{BEGINS_SEC[9] + 0.01:.3f}" for name in table["path"]]
    (tmp_path / "mine.csv").write_text("path,label,split,start_sec,end_sec\n" + "\n".join(rows) + "\n")
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos", "annotations": "mine.csv"}})
    pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=tmp_path)
    table = pd.read_csv(tmp_path / "index.csv")
    assert table["num_frames"].tolist() == [10] * 6
    assert table["duration_sec"].to_numpy() == pytest.approx(BEGINS_SEC[10], abs=0.0015)


@pytest.mark.parametrize("name", ["h264 avi", "mpeg4 B-frames avi", "mpeg4 avi", "mjpeg avi"])
def test_an_avi_with_dropped_frames_keeps_its_length(tmp_path: Path, name: str) -> None:
    """Every second frame is dropped: half the frames in the same time, not the same frames in half of it."""
    kind = replace(KINDS[name], dropped=tuple(range(1, 100, 2)), width=96, height=96)
    video = Video(encode(tmp_path / "a.avi", kind))
    np.testing.assert_allclose(video.timing().begins_sec, np.arange(50) * 0.08, atol=0.041)
    for decord in (False, True):
        found = probe(video.path, lambda path, decord=decord: Video(path, decord=decord))  # type: ignore[misc]
        assert (found.num_frames, found.status) == (50, "ok")
        assert found.duration_sec == pytest.approx(4, abs=0.09)
        assert found.fps == pytest.approx(12.5, rel=0.03)
    assert video.span(Seconds(2, 3)).num_frames in (12, 13)
    assert video.span(Seconds(2, 3)).first in (24, 25, 26)


def packed(path: Path, target: Path) -> Path:
    """The same AVI as DivX packs it: a frame with the B-frame that follows in one packet, then one that shows none."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = source.streams.video[0]
        packets = [bytes(packet) for packet in source.demux(stream) if packet.size]
        is_b = [packet[packet.index(b"\0\0\1\xb6") + 4] >> 6 == 2 for packet in packets]
        chunks: list[bytes] = []
        for packet, between in zip(packets, is_b, strict=True):
            if between:
                chunks[-1] += packet
                chunks.append(bytes.fromhex("000001b65b4f"))
            else:
                chunks.append(packet)
        at = chunks[0].index(b"\0\0\1\xb6")
        chunks[0] = chunks[0][:at] + b"\0\0\1\xb2DivX503b1393p" + chunks[0][at:]
        copy = container.add_stream_from_template(stream)
        for number, chunk in enumerate(chunks):
            new = av.Packet(chunk)
            new.stream, new.time_base, new.pts, new.dts = copy, Fraction(1, 25), number, number
            new.is_keyframe = chunk[chunk.index(b"\0\0\1\xb6") + 4] >> 6 == 0
            container.mux(new)
    return target


def test_a_packed_avi_has_its_frames_and_its_length(tmp_path: Path) -> None:
    """Two frames in a packet are shown one after the other."""
    plain = encode(
        tmp_path / "b.avi", replace(KINDS["mpeg4 B-frames avi"], options={"g": "24", "qscale": "4", "bf": "1"})
    )
    video = Video(packed(plain, tmp_path / "a.avi"))
    assert numbers_in(list(video)) == list(range(100))
    np.testing.assert_allclose(video.timing().begins_sec, np.arange(100) / 25, atol=1e-9)
    found = probe(video.path)
    assert (found.duration_sec, found.fps) == (4.0, 25.0)
    assert video.span(Seconds(1, 2)) == FrameRange(25, 25)


BEGINS_WITHIN = {
    "h264": ("libx264", X264, (".mp4", ".mkv", ".mov", ".avi", ".mpg")),
    "hevc": ("libx265", {**HEVC, "x265-params": HEVC["x265-params"] + "0"}, (".mp4", ".mkv")),
    "mpeg4": ("mpeg4", {"g": "24", "qscale": "4"}, (".mp4", ".mkv", ".avi")),
    "mpeg4 B-frames": ("mpeg4", {"g": "24", "qscale": "4", "bf": "2"}, (".mp4", ".mkv")),
    "vp8": ("libvpx", VP9, (".webm", ".mkv")),
    "vp9": ("libvpx-vp9", VP9, (".webm", ".mkv", ".mp4")),
    "av1": ("libsvtav1", AV1, (".webm", ".mp4")),
}


BEGUN_WITHIN = [(name, suffix) for name, (*_, suffixes) in BEGINS_WITHIN.items() for suffix in suffixes]


@pytest.mark.parametrize(("name", "suffix"), BEGUN_WITHIN)
def test_a_clip_begins_with_its_first_key_frame(tmp_path: Path, name: str, suffix: str) -> None:
    """One rule in all containers: what comes before it can be shown by nobody, and is not missed."""
    encoder, options, _ = BEGINS_WITHIN[name]
    container = "mpegts" if suffix == ".mpg" else None
    kind = Kind(suffix, encoder, "pyav", options, 96, 96, container, count=60)
    path = encode(tmp_path / f"a{suffix}", kind, lambda number, packet: [] if number < 9 else packet)
    found = probe(path)
    assert (found.status, found.reason) == ("ok", "")
    assert numbers_in(list(Video(path))) == list(range(24, 60))
    assert (found.num_frames, len(Video(path))) == (36, 36)
    Video(path).require_whole()
    assert found.duration_sec == pytest.approx(36 / 25, abs=0.05)
    assert numbers_in(Video(path).frames(np.array([30, 0])).pixels) == [54, 24]
    assert Video(path).span(Seconds(0, 0.4)) == FrameRange(0, 10)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("encoder", "options"), [("libx264", OPEN_GOP), ("libx265", OPEN)])
def test_frames_that_look_back_beyond_the_beginning_are_not_missed(
    tmp_path: Path, encoder: str, options: dict[str, str], suffix: str
) -> None:
    """A clip that begins with the second key frame of open groups: the frames that lead it look back at the first."""
    keys: list[int] = []

    def from_the_second_key(number: int, packet: av.Packet) -> av.Packet | list[av.Packet]:
        keys.extend([number] * packet.is_keyframe)
        return packet if len(keys) > 1 else []

    path = encode(
        tmp_path / f"a{suffix}", Kind(suffix, encoder, "pyav", options, 96, 96, count=60), from_the_second_key
    )
    found = probe(path)
    assert (found.status, found.reason) == ("ok", "")
    numbers = numbers_in(list(Video(path)))
    assert len(numbers) in range(60 - 24, 60 - 24 + 4)
    assert numbers == list(range(60 - len(numbers), 60))
    Video(path).require_whole()


@pytest.mark.parametrize("name", ["h264 mp4", "h264 mkv", "h264 avi", "vp8 webm", "av1 mp4", "mjpeg avi", "mpeg1 mpg"])
def test_a_video_of_one_frame_has_a_length(tmp_path: Path, name: str) -> None:
    """That of a frame at its rate; a part of it is found."""
    path = encode(tmp_path / f"a{KINDS[name].suffix}", replace(KINDS[name], count=1, width=96, height=96))
    found = probe(path)
    assert (found.num_frames, found.status) == (1, "ok")
    assert found.duration_sec == pytest.approx(0.04, abs=0.001)
    assert found.fps == pytest.approx(25, rel=0.03)
    assert Video(path).span(Seconds(0, 0.04)) == FrameRange(0, 1)


def test_times_that_a_rate_explains_are_exact() -> None:
    """Thirty thousand thousand-and-firsts, in milliseconds, for an hour; one frame that is missing undoes it."""
    rate = 30000 / 1001
    ticks = np.round(np.arange(108_000) * 1000 / rate).astype(np.int64)
    timing = timing_of(ticks, np.full(108_000, 33), 0.001, rate)
    assert (timing.fps, timing.end_sec) == (rate, 108_000 / rate)
    timing = timing_of(np.delete(ticks, 50), np.full(107_999, 33), 0.001, rate)
    assert timing.end_sec == pytest.approx(108_000 / rate, abs=0.002)
    assert timing.fps < rate


def test_the_last_frame_lasts_as_its_packet_says_if_the_others_are_right() -> None:
    """Else as long as usual."""
    ticks = np.array([0, 10, 30, 35])
    assert timing_of(ticks, np.array([10, 20, 5, 25]), 0.01, 25.0).end_sec == pytest.approx(0.6)
    assert timing_of(ticks, np.array([40, 40, 40, 40]), 0.01, 25.0).end_sec == pytest.approx(0.45)


def test_a_clock_that_starts_anew_goes_on() -> None:
    """As where recordings are joined; frames without a time lie between their neighbours."""
    joined = timing_of(np.array([0, 4, 8, 0, 4, 8]), np.full(6, 4), 0.01, 0.0)
    assert joined.begins_sec.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2])
    some = timing_of([None, 4, None, 12, None], [0] * 5, 0.01, 0.0)
    assert some.begins_sec.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    none = timing_of([None, None], [0, 0], 0.01, 0.0)
    assert (none.fps, none.end_sec) == (0.0, 0.0)
    permuted = timing_of(np.array([1, 4, 3, 2, 5]), np.full(5, 1), 0.04, 12.0, in_order=False)
    assert permuted.begins_sec.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
