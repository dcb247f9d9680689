"""Videos whose every frame says its number, of many codecs and containers."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from conftest import DECORD

CODE_SHARE = 0.8  # of the short side
RATE = 25


@dataclass(frozen=True)
class Kind:
    """A way to make a video file, and the decoder that must serve it."""

    suffix: str
    encoder: str
    decoder: str
    options: dict[str, str] = field(default_factory=dict)
    width: int = 320
    height: int = 240
    container: str | None = None  # what the suffix says
    every_ms: Callable[[int], int] | None = None  # milliseconds from frame n to the next; None: 40
    count: int = 100
    dropped: tuple[int, ...] = ()
    rotation: int = 0  # degrees, anticlockwise


X264 = {"preset": "ultrafast", "bf": "3", "g": "24", "b_strategy": "0", "crf": "28"}
MPEG4 = {"g": "24", "qscale": "4"}
OPEN_GOP = {"preset": "ultrafast", "x264-params": "keyint=24:min-keyint=24:bframes=3:b-adapt=0:scenecut=0:open-gop=1"}
REFRESH = {"preset": "ultrafast", "x264-params": "keyint=24:bframes=0:intra-refresh=1"}
HEVC = {"preset": "ultrafast", "x265-params": "keyint=24:bframes=3:log-level=none:open-gop="}
MPEG2 = {"g": "15", "bf": "2", "b": "2000000"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "24"}
AV1 = {"preset": "12", "g": "24", "crf": "20", "svtav1-params": "lp=1:enable-tf=0:pred-struct=1"}
KINDS = {
    "h264 mp4": Kind(".mp4", "libx264", DECORD, X264),
    "h264 mp4 1280x720": Kind(".mp4", "libx264", DECORD, X264, 1280, 720),
    "h264 mp4 720x1280": Kind(".mp4", "libx264", DECORD, X264, 720, 1280),
    "h264 mp4, uneven times": Kind(".mp4", "libx264", DECORD, X264, every_ms=lambda n: 15 + 37 * n % 101),
    "h264 mkv": Kind(".mkv", "libx264", DECORD, X264),
    "h264 mov": Kind(".mov", "libx264", DECORD, X264),
    "h264 m4v": Kind(".m4v", "libx264", DECORD, X264, container="mp4"),
    "h264 avi": Kind(".avi", "libx264", "pyav", X264),
    "h264 avi 720x1280": Kind(".avi", "libx264", "pyav", X264, 720, 1280),
    "h264 open groups, mp4": Kind(".mp4", "libx264", "pyav", OPEN_GOP),
    "h264 refreshed by columns, mkv": Kind(".mkv", "libx264", "pyav", REFRESH),
    "h264 transport stream": Kind(".mpg", "libx264", "pyav", X264, container="mpegts"),
    "hevc closed groups, mp4": Kind(".mp4", "libx265", DECORD, {**HEVC, "x265-params": HEVC["x265-params"] + "0"}),
    "hevc open groups, mkv": Kind(".mkv", "libx265", "pyav", {**HEVC, "x265-params": HEVC["x265-params"] + "1"}),
    "hevc open groups without B-frames, mov": Kind(
        ".mov",
        "libx265",
        DECORD,
        {"preset": "ultrafast", "x265-params": "keyint=24:bframes=0:open-gop=1:log-level=0"},
    ),
    "mpeg4 mp4": Kind(".mp4", "mpeg4", DECORD, MPEG4),
    "mpeg4 avi": Kind(".avi", "mpeg4", DECORD, MPEG4),
    "mpeg4 avi, dropped frames": Kind(".avi", "mpeg4", DECORD, MPEG4, count=112, dropped=tuple(range(7, 112, 9))),
    "mpeg4 B-frames avi": Kind(".avi", "mpeg4", "pyav", {**MPEG4, "bf": "2"}),
    "mpeg4 B-frames mp4": Kind(".mp4", "mpeg4", "pyav", {**MPEG4, "bf": "2"}),
    "mpeg1 mpg": Kind(".mpg", "mpeg1video", "pyav", MPEG2),
    "mpeg2 mpeg": Kind(".mpeg", "mpeg2video", "pyav", MPEG2),
    "mpeg2 mpg 1280x720": Kind(".mpg", "mpeg2video", "pyav", {**MPEG2, "b": "9000000"}, 1280, 720),
    "mpeg2 mkv": Kind(".mkv", "mpeg2video", "pyav", MPEG2),
    "mjpeg avi": Kind(".avi", "mjpeg", DECORD),
    "vp9 webm": Kind(".webm", "libvpx-vp9", DECORD, VP9),
    "vp8 webm": Kind(".webm", "libvpx", "pyav", VP9),
    "ffv1 mkv": Kind(".mkv", "ffv1", "pyav"),
    "av1 webm": Kind(".webm", "libsvtav1", "pyav", AV1),
    "av1 mp4": Kind(".mp4", "libsvtav1", "pyav", AV1),
}


@functools.cache
def numbered(number: int, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3]: the number in binary, before a slanted ground that moves."""
    rows, columns = np.ogrid[:height, :width]
    ground = ((columns + 2 * rows + 3 * number) % 256).astype(np.uint8)
    frame = np.stack([ground, np.full_like(ground, 128), ground[::-1]], axis=-1)
    for bit, place in enumerate(fields(width, height)):
        for box, value in zip(place, (number >> bit & 1, ~number >> bit & 1), strict=True):
            frame[box] = 255 * value
    return frame


def fields(width: int, height: int) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each of eight bits the boxes of its field and of its negative: four columns in two double rows."""
    cell = int(CODE_SHARE * min(width, height)) // 4
    top, left = (height - 4 * cell) // 2, (width - 4 * cell) // 2

    def box(row: int, column: int) -> tuple[slice, slice]:
        return np.s_[top + row * cell : top + (row + 1) * cell, left + column * cell : left + (column + 1) * cell]

    return [(box(2 * (bit // 4), bit % 4), box(2 * (bit // 4) + 1, bit % 4)) for bit in range(8)]


def number_in(frame: np.ndarray) -> int:
    """The number in a frame [H, W, 3] of any scale; -1 where a field cannot be told from its negative."""
    number = 0
    for bit, (one, zero) in enumerate(fields(frame.shape[1], frame.shape[0])):
        difference = np.median(frame[one]) - np.median(frame[zero])
        if abs(difference) < 0.3 * np.ptp(frame):
            return -1
        number |= int(difference > 0) << bit
    return number


def numbers_in(frames: Sequence[np.ndarray] | np.ndarray) -> list[int]:
    return [number_in(frame) for frame in frames]


@contextmanager
def usual_priority() -> Iterator[None]:
    """SVT-AV1's encoder gives this thread real-time priority, before all other processes, where tests run as root."""
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def encode(path: Path, kind: Kind, change: Callable[[int, av.Packet], Any] | None = None) -> Path:
    """Write a numbered video; `change` may put others in the place of the n-th packet."""
    step = Fraction(1, 1000) if kind.every_ms else Fraction(1, RATE)
    with usual_priority(), av.open(str(path), "w", format=kind.container) as container:
        stream = container.add_stream(kind.encoder, rate=RATE, options=dict(kind.options))
        stream.width, stream.height = kind.width, kind.height
        stream.pix_fmt = "yuvj420p" if kind.encoder == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = step
        if kind.rotation:
            stream.set_display_rotation(kind.rotation)
        packets, time = 0, 0
        for number in [*range(kind.count), None]:
            if number in kind.dropped:
                continue
            frame = None
            if number is not None:
                frame = av.VideoFrame.from_ndarray(numbered(number, kind.width, kind.height), format="rgb24")
                frame.pts, frame.time_base = (time if kind.every_ms else number), step
                time += kind.every_ms(number) if kind.every_ms else 1
            for packet in stream.encode(frame):
                container.mux(change(packets, packet) if change else packet)
                packets += 1
    return path


def headers_first(path: Path) -> Path:
    """The same video with what its header promises at the beginning, where it outlives a cut."""
    target = path.with_name(f"headers_first_{path.name}")
    with av.open(str(path)) as whole, av.open(str(target), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return target
