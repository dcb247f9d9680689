"""Frames of a camera, an address or standard input, as they come. What is named here comes from a user, never a file.

FFmpeg may open nothing but the protocols of the address itself, and only formats that bring their own frames: what a
playlist names, or a redirection to a file, is not followed.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pptsm.runtime.pool import heartbeat
from pptsm.video.orientation import Orientation, orientation_in
from pptsm.video.packets import CONTAINERS, MOST_PIXELS
from pptsm.video.timing import Clock
from pptsm.video.types import Image, Presented, VideoError

SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
# The schemes that may be named, with what FFmpeg may open for them.
PROTOCOLS = {
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tls,tcp",
}
ENDLESS = ("rtsp", "rtsps", "device")  # what ends, of these, has broken
CAMERAS = "mpjpeg,mjpeg,rtsp"  # formats that cameras send, beside those of files
MOST_DAMAGED = 100  # packets in a row that do not decode; then the source has broken
MOST_LEADING = 300  # packets before a key frame that are passed over; what has no key frames is shown from there on


class SourceBroke(VideoError):  # noqa: N818 (what happened, not what somebody did wrong)
    """A source that should go on does not."""


@dataclass(frozen=True)
class Source:
    """Where frames come from."""

    name: str  # an address, a device, or "-"
    kind: str  # a scheme of `PROTOCOLS`, "device" or "stdin"

    @property
    def shown(self) -> str:
        """The name without a password that may stand in it."""
        return re.sub(r"//[^/@]*@", "//...@", self.name)


def source_of(name: str) -> Source | None:
    """What a user's word names; None: a file.

    Raises:
        VideoError: an address of another kind.
    """
    if name == "-":
        return Source(name, "stdin")
    if (scheme := SCHEME.match(name)) is not None:
        if (kind := scheme[1].lower()) not in PROTOCOLS:
            raise VideoError(f"addresses begin with {', '.join(f'{each}://' for each in PROTOCOLS)}, and not {kind}://")
        return Source(name, kind)
    if Path(name).is_char_device():
        return Source(name, "device")
    return None


def live_frames(source: Source, stdin: int | None) -> Iterator[tuple[float, Presented]]:
    """The frames of a source until it ends, each with the time (`time.monotonic`) at which opening it began.

    A camera's first frame comes no sooner than that.

    Args:
        source: where from.
        stdin: the descriptor to read, of standard input.

    Raises:
        SourceBroke: it cannot be opened, or does not go on though it should.
        VideoError: what it sends is no video that can be read.
    """
    import av

    opened_at = time.monotonic()
    try:
        container = av.open(_address(source, stdin), format=_format(source), options=_options(source))
    except av.ArgumentError:
        raise VideoError(
            "it sends no video that can be read (a playlist, an image, or another format without frames of its own)"
        ) from None
    except av.InvalidDataError as error:
        raise _unreadable(source, error) from None
    except (av.FFmpegError, OSError) as error:
        raise SourceBroke(f"it cannot be opened ({error.strerror})") from None
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise VideoError("there is no video in it that can be decoded")
        stream.codec_context.thread_count = 1
        convert, clock = _Converter(), Clock(float(stream.time_base or 0), float(stream.average_rate or 0))
        for frame in _decoded(container, stream, source):
            heartbeat()
            begin_sec = clock.begin_sec(frame.pts)
            yield opened_at, Presented(begin_sec, clock.end_sec(frame.duration or 0), partial(convert, frame))
        if source.kind in ENDLESS or (source.kind in PROTOCOLS and container.size <= 0):
            raise SourceBroke("it ended")  # of an answer that says its length, the end is the end


def _decoded(container: Any, stream: Any, source: Source) -> Iterator[Any]:
    """PyAV's frames from the first key frame on; packets that are damaged on the way are passed over."""
    import av

    begun, leading, damaged = False, 0, 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            if leading == 0 and isinstance(error, av.InvalidDataError):
                raise _unreadable(source, error) from None
            with suppress(av.FFmpegError):
                yield from stream.codec_context.decode(None)  # frames that came before, and waited for later ones
            raise SourceBroke(f"it broke off ({error.strerror})") from None
        if packet is None:
            return
        heartbeat()
        leading += 1
        begun = begun or packet.is_keyframe or leading > MOST_LEADING
        if not begun:
            continue
        try:
            frames = packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            damaged += 1
            if damaged > MOST_DAMAGED:
                raise SourceBroke(f"{damaged} packets in a row do not decode ({error.strerror})") from None
            continue
        damaged = 0
        yield from frames


class _Converter:
    """Pixels of frames, all in the size and the orientation of the first."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._orientation: Orientation | None = None

    def __call__(self, frame: Any) -> Image:
        if self._size is None:
            self._size, self._orientation = (frame.width, frame.height), orientation_in(frame)
            if frame.width * frame.height > MOST_PIXELS:
                raise VideoError(f"its frames have {frame.width}x{frame.height} pixels")
        rgb: Image = np.asarray(
            self._reformatter.reformat(frame, *self._size, "rgb24", threads=1).to_ndarray(), np.uint8
        )
        return self._orientation.applied(rgb) if self._orientation is not None else rgb


def _address(source: Source, stdin: int | None) -> str:
    if source.kind == "stdin":
        return f"pipe:{stdin}"
    return source.name


def _format(source: Source) -> str | None:
    return "v4l2" if source.kind == "device" else None


def _options(source: Source) -> dict[str, str]:
    if source.kind == "device":
        return {}
    options = {"format_whitelist": f"{CONTAINERS},{CAMERAS}"}
    if source.kind == "stdin":
        return options | {"protocol_whitelist": "pipe"}
    options["protocol_whitelist"] = PROTOCOLS[source.kind]
    return options | ({"rtsp_transport": "tcp"} if source.kind.startswith("rtsp") else {})


def _unreadable(source: Source, error: Any) -> VideoError:
    hint = (
        ""
        if source.kind != "stdin"
        else (". Of an .mp4 the header must come first here (FFmpeg: -movflags faststart); .ts and .mkv can be read")
    )
    return VideoError(f"it sends no video that can be read ({error.strerror}){hint}")
