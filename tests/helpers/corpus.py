"""Broken and odd files, and what must be found out about each."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from conftest import DECORD
from helpers.videos import AV1, HEVC, MPEG2, MPEG4, VP9, X264, Kind, encode, headers_first

COUNT = 40
H264 = Kind(".mp4", "libx264", DECORD, {**X264, "g": "10"}, 128, 96, count=COUNT)
SCANS = 60_000  # of a progressive JPEG of 8192x8192: 2.3 MB, ten minutes to decode


def whole(path: Path, **changes: object) -> bytes:
    """A video's bytes."""
    scratch = path.with_name(f"scratch{changes.get('suffix', '.mp4')}")
    content = encode(scratch, replace(H264, **changes)).read_bytes()  # type: ignore[arg-type]
    scratch.unlink()
    return content


def cut(share: float, **changes: object) -> Callable[[Path], object]:
    """The first part of a video's bytes."""

    def make(path: Path) -> None:
        content = whole(path, **changes)
        path.write_bytes(content[: int(share * len(content))])

    return make


def video(**changes: object) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(whole(path, **changes))


def octets(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def moov_first(path: Path) -> bytes:
    """With the index before the frames, as for the web."""
    scratch = path.with_name("scratch.mp4")
    encode(scratch, H264)
    target = headers_first(scratch)
    content = target.read_bytes()
    scratch.unlink()
    target.unlink()
    return content


def cut_behind_its_index(share: float) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        content = moov_first(path)
        path.write_bytes(content[: int(share * len(content))])

    return make


def garbage_in_the_middle(path: Path) -> None:
    """Most frames are noise; the index is whole."""
    content = bytearray(moov_first(path))
    start, stop = int(0.2 * len(content)), int(0.7 * len(content))  # the first key frame, too
    content[start:stop] = np.random.default_rng(1).bytes(stop - start)
    path.write_bytes(content)


def header_that_promises(count: int) -> Callable[[Path], object]:
    """An AVI whose headers tell of other frames than it has."""

    def make(path: Path) -> None:
        content = bytearray(whole(path, suffix=".avi", encoder="mpeg4", options=MPEG4))
        for tag, at in ((b"avih", 24), (b"strh", 40)):
            place = content.index(tag) + at
            content[place : place + 4] = count.to_bytes(4, "little")
        path.write_bytes(content)

    return make


def uncompressed(promised: int) -> Callable[[Path], object]:
    """An AVI of uncompressed frames of 64x64 whose header promises larger ones."""

    def make(path: Path) -> None:
        with av.open(str(path), "w", format="avi") as container:
            stream = container.add_stream("rawvideo", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr24"
            for _ in range(COUNT):
                black = np.zeros((64, 64, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(black, format="bgr24")))
        content = bytearray(path.read_bytes())
        place = content.index(b"strf") + 12
        content[place : place + 8] = promised.to_bytes(4, "little") * 2
        path.write_bytes(content)

    return make


def jpeg_of(side: int, scans: int) -> bytes:
    """A progressive JPEG of one grey, its last scan repeated: small, and long to decode."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * (scans - 1) + content[-2:]


def frames_of(picture: bytes, side: int, count: int = 3) -> Callable[[Path], object]:
    """An AVI of JPEGs."""

    def make(path: Path) -> None:
        with av.open(str(path), "w", format="avi") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.width = stream.height = side
            stream.pix_fmt = "yuvj420p"
            stream.time_base = Fraction(1, 25)
            for number in range(count):
                packet = av.Packet(picture)
                packet.stream, packet.is_keyframe = stream, True
                packet.pts = packet.dts = number
                container.mux(packet)

    return make


def with_sound(path: Path, *, frames: int) -> None:
    """A container of a tone, and of so many frames beside it."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        picture = container.add_stream("libx264", rate=25, options=dict(X264)) if frames else None
        if picture:
            picture.width, picture.height, picture.pix_fmt = 128, 96, "yuv420p"
            for _ in range(frames):
                container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((96, 128, 3), np.uint8), "rgb24")))
            container.mux(picture.encode(None))
        for number in range(30):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 16000, 1024 * number
            container.mux(sound.encode(tone))
        container.mux(sound.encode(None))


def with_subtitles_alone(path: Path) -> None:
    lines = b"1\n00:00:00,000 --> 00:00:02,000\nwords\n\n2\n00:00:02,000 --> 00:00:04,000\nmore\n"
    with av.open(io.BytesIO(lines), format="srt") as source, av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream_from_template(source.streams[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def two_pictures(path: Path) -> None:
    """The first of 12 frames of 64x48, the second of 40 frames of 128x96; a player shows the larger."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in ((64, 48), (128, 96)):
            stream = container.add_stream("libx264", rate=25, options=dict(X264))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for stream, count in zip(streams, (12, COUNT), strict=True):
            for _ in range(count):
                black = np.zeros((stream.height, stream.width, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            container.mux(stream.encode(None))


def ten_bits(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=dict(X264))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        for number in range(COUNT):
            grey = np.full((96, 128, 3), 5 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p10le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def growing(path: Path) -> None:
    """The frames' size changes in the middle of the stream."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for width, height, first in ((128, 96, 0), (256, 192, 20)):
            encoder = av.CodecContext.create("mpeg2video", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            for number in range(20):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
                frame.pts, frame.time_base = first + number, Fraction(1, 25)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
            for packet in encoder.encode(None):
                packet.stream = stream
                container.mux(packet)


def link_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


@dataclass(frozen=True)
class Made:
    """A file of the corpus, and what must be found out about it."""

    make: Callable[[Path], object]
    status: str
    frames: int
    size: tuple[int, int]
    reason: str


def good(make: Callable[[Path], object], frames: int = COUNT, size: tuple[int, int] = (128, 96)) -> Made:
    return Made(make, "ok", frames, size, "")


def short(make: Callable[[Path], object], frames: int, reason: str = "cut off: the file promises 40 frames") -> Made:
    return Made(make, "truncated", frames, (128, 96), reason)


def bad(make: Callable[[Path], object], reason: str) -> Made:
    return Made(make, "unreadable", 0, (0, 0), reason)


AVI = {"suffix": ".avi", "encoder": "mpeg4", "options": MPEG4}
MKV = {"suffix": ".mkv"}
WEBM = {"suffix": ".webm", "encoder": "libvpx-vp9", "options": VP9}
MPG = {"suffix": ".mpg", "encoder": "mpeg1video", "options": MPEG2}
TS = {"suffix": ".mpg", "container": "mpegts"}
MOV = {"suffix": ".mov", "encoder": "libx265", "options": {**HEVC, "x265-params": HEVC["x265-params"] + "0"}}
INVALID = "not a readable video (Invalid data found"
NO_FRAMES_OF_ITS_OWN = "not a readable video (a playlist, an image"
NOTHING = "nothing to see in it"
CORPUS = {
    "whole.mp4": good(video()),
    "cut 10.mp4": bad(cut(0.1), INVALID),
    "cut 50.mp4": bad(cut(0.5), INVALID),
    "cut 95.mp4": bad(cut(0.95), NOTHING),  # within the list of frames, which comes last
    "web cut 20.mp4": bad(cut_behind_its_index(0.2), "frame 0 does not decode"),
    "web cut 60.mp4": short(cut_behind_its_index(0.6), 18),
    "web cut 97.mp4": short(cut_behind_its_index(0.97), 36),
    "cut 10.avi": bad(cut(0.1, **AVI), INVALID),
    "cut 60.avi": short(cut(0.6, **AVI), 9),
    "cut 10.mkv": bad(cut(0.1, **MKV), "the file has no frames"),
    "cut 60.mkv": short(cut(0.6, **MKV), 21),
    "cut 60.webm": short(cut(0.6, **WEBM), 24),
    "cut 60.mpg": good(cut(0.6, **MPG), 25),  # nothing in it says how much there was
    "transport cut 60.mpg": good(cut(0.6, **TS), 23),
    "empty.mp4": bad(octets(b""), "the file is empty"),
    "one byte.mp4": bad(octets(b"\0"), INVALID),
    "noise.mp4": bad(octets(np.random.default_rng(2).bytes(50_000)), INVALID),
    "noise.mpg": bad(octets(np.random.default_rng(3).bytes(50_000)), INVALID),
    "zeros.mp4": bad(octets(bytes(50_000)), INVALID),
    "text.mp4": bad(octets(b"This is no video.\n" * 100), INVALID),
    "playlist.mp4": bad(octets(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwhole.mp4\n"), INVALID),
    "names itself.mp4": bad(octets(b"ffconcat version 1.0\nfile 'names itself.mp4'\n"), NO_FRAMES_OF_ITS_OWN),
    "names another.mp4": bad(octets(b"ffconcat version 1.0\nfile whole.mp4\n"), NO_FRAMES_OF_ITS_OWN),
    "picture.mp4": bad(octets(jpeg_of(64, 1)), NO_FRAMES_OF_ITS_OWN),
    "matroska.mp4": good(video(**MKV)),
    "mp4.avi": good(video()),
    "sound.mp4": bad(lambda path: with_sound(path, frames=0), NOTHING),
    "sound and picture.mp4": good(lambda path: with_sound(path, frames=12), 12),
    "subtitles.mkv": bad(with_subtitles_alone, NOTHING),
    "two pictures.mp4": good(two_pictures, 12, (64, 48)),
    "one frame.mp4": good(video(count=1), 1),
    "uneven.mp4": good(video(every_ms=lambda n: 15 + 37 * n % 101)),
    "uneven.mkv": good(video(suffix=".mkv", every_ms=lambda n: 15 + 37 * n % 101)),
    "turned.mp4": good(video(rotation=90), size=(96, 128)),
    "ten bits.mp4": good(ten_bits),
    "odd.mkv": good(video(suffix=".mkv", encoder="ffv1", options={}, width=127, height=95), size=(127, 95)),
    "4k.mp4": good(video(width=3840, height=2160, count=8), 8, (3840, 2160)),
    "vp9.webm": good(video(**WEBM)),
    "av1.mp4": good(video(encoder="libsvtav1", options=AV1)),
    "hevc.mov": good(video(**MOV)),
    "mpeg1.mpg": good(video(**MPG)),
    "growing.mpg": good(growing, 39),
    "garbage inside.mp4": bad(garbage_in_the_middle, "frame 0 does not decode"),
    "promises more.avi": short(header_that_promises(1000), COUNT, "cut off: the file promises 1000 frames, 40 decode"),
    "promises fewer.avi": good(header_that_promises(3)),
    "promises giants.avi": bad(uncompressed(9_000), "not a readable video: its header promises frames of 9000x9000"),
    "promises the impossible.avi": bad(uncompressed(100_000), "frame 0 does not decode"),
    "giant.avi": bad(
        frames_of(jpeg_of(64, 1).replace(b"\0\x40\0\x40", b"\xff\xff\xff\xff", 1), 64), "frame 0 does not decode"
    ),
    "larger than it says.avi": bad(frames_of(jpeg_of(12_000, 1), 64), "not a readable video: its header promises"),
    "for ever.avi": bad(frames_of(jpeg_of(8192, SCANS), 8192), "the decoder hung: nothing came of it for "),
    "dangling.mp4": bad(link_to("nowhere.mp4"), "cannot be read: No such file or directory"),
    "loop.mp4": bad(link_to("loop.mp4"), "cannot be read: Too many levels of symbolic links"),
    "link.mp4": good(link_to("whole.mp4")),
    "pipe.mp4": bad(os.mkfifo, "a pipe, no video file"),
    "device.mp4": bad(link_to("/dev/zero"), "no regular file"),
    "with\nnewline.mp4": good(video()),
    "not text \udcff.mp4": bad(video(), "its name is no UTF-8 text"),
}
