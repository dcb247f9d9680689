"""What a video file's packets say without decoding: how many frames, when each is shown, where decoding can start."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.pool import heartbeat
from pptsm.video.orientation import says_orientation
from pptsm.video.types import VideoError

# FFmpeg tells a format by its content. Playlists would open other files, or addresses, or themselves without end.
CONTAINERS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,m4v,h264,hevc,av1,ivf,flv,asf,ogg,mxf,dv,rm,nut"
MOST_PIXELS = 1 << 26  # of a frame (8192x8192); beyond it a header is taken for damaged
AVI, MATROSKA, MOV = "avi", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's names of containers
TRACK_LENGTH = re.compile(r"(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(\.\d+)?)")
MICROSECONDS = 1_000_000  # a second, in which FFmpeg gives a container's length
# Codecs of which every packet shows one frame; VP8, for one, also stores frames that are never shown.
INDEXED_CODECS = ("h264", "hevc", "mjpeg", "mpeg4", "vp9")
REORDERING_CODECS = ("h264", "hevc")  # without a word in the packet; in MPEG-4 its time is then missing
# A smaller picture may stand for a dropped frame and then shows none; VP9 shows a frame it has with two bytes.
SMALLEST_PICTURE_BYTES = {"vp9": 1}
OTHER_SMALLEST_PICTURE_BYTES = 16
SMALL_PACKET_BYTES = 1000  # in larger ones nobody hides so small a picture, and looking takes time
# Fewer decodable frames than this share of what the container claims: the file was cut off.
COMPLETE_SHARE = 0.95


@dataclass(frozen=True)
class Packets:
    """What a file's packets tell without decoding."""

    count: int  # packets that are to be shown
    leading: int  # packets before the first that is marked as a key frame
    promised: int  # frames to be shown by the container's header; 0 where it has none
    rate: float  # frames per second by the header; 0 where it does not say
    width: int  # as stored, before turning
    height: int
    says_orientation: bool  # the stream itself, in what comes with the first key frame
    times: NDArray[np.int64]  # when each frame is shown, in the order of numbers; none where packets do not tell that
    lasts: NDArray[np.int64]  # how long, by the packets; 0 where one does not say
    tick_sec: float  # the unit of both
    keys: NDArray[np.int64]  # numbers of the frames from which decoding can start
    in_order: bool  # times come in the order of presentation
    comment: str  # of the container

    @property
    def indexed(self) -> bool:
        """Whether frame numbers follow from the packets."""
        return len(self.times) > 0


def read_packets(path: Path) -> Packets:
    """Read all packets of the video.

    decord numbers frames by the sorted times of the packets, key frames by the order of the packets, seeks to the
    latter and counts on from there (its source: video_reader.cc). So a frame is where decord looks for it if both
    orders agree at each key frame, each packet has a time of its own and shows a frame, and nothing after a key
    frame needs what was before it. Otherwise it returns other frames than asked for, without a word. PyAV, too, can
    start at a key frame and tell frames by their times only there.
    """
    import av
    from av.bitstream import BitStreamFilterContext

    with open_container(path) as (container, stream):
        name, codec = container.format.name, stream.codec_context.name
        # AVI has no times of presentation; those that FFmpeg invents are off where frames are stored in another order
        indexed = codec in INDEXED_CODECS and not (name == AVI and codec in REORDERING_CODECS)
        smallest = SMALLEST_PICTURE_BYTES.get(codec, OTHER_SMALLEST_PICTURE_BYTES)
        decoded_at: list[int] = []
        shown_at: list[int] = []
        lasts: list[int] = []
        keys: list[int] = []
        discarded: list[bool] = []
        first_key: int | None = None
        orientation = False
        try:
            # in H.264 frames may look back beyond a marked key frame; units of type 5 start afresh
            fresh_starts = BitStreamFilterContext("filter_units=pass_types=5", stream) if codec == "h264" else None
            for packet in container.demux(stream):
                heartbeat()
                if packet.size == 0 and packet.dts is None:
                    continue  # PyAV's own, to flush a decoder
                if first_key is None and (packet.is_keyframe or not shown_at):
                    first_key = len(shown_at) if packet.is_keyframe else None
                    orientation = orientation or says_orientation(packet, stream)
                discarded.append(packet.is_discard)
                size = packet.size
                if codec == "mpeg4" and size < SMALL_PACKET_BYTES:
                    size = _mpeg4_picture_bytes(bytes(packet))
                indexed = indexed and packet.pts is not None and size >= smallest
                decoded_at.append(packet.dts or 0)
                shown_at.append(packet.pts)
                lasts.append(packet.duration or 0)
                if packet.is_keyframe and indexed:
                    keys.append(len(shown_at) - 1)
                    indexed = fresh_starts is None or len(fresh_starts.filter(packet)) > 0  # takes the packet
        except av.FFmpegError:
            indexed = False
        count, hidden, leading = len(shown_at), sum(discarded), first_key or 0
        if name != MATROSKA:  # whose index has the key frames only
            indexed = indexed and decoded_at == [entry.timestamp for entry in stream.index_entries]
        promised = int(stream.frames)
        if name == AVI and (ticks := max(decoded_at, default=0) + 1) > count:
            promised = promised * count // ticks  # the header also counts the time of dropped frames
        elif hidden and name == MOV:  # an edit list shows a part; the header counts the whole
            promised = len(stream.index_entries) - hidden
        elif name == MATROSKA:
            promised = _promised_by_length(container, stream, shown_at)
        promised = max(0, promised - _lost_before(leading, shown_at, discarded))
        rate = float(stream.average_rate) if stream.average_rate else 0.0
        width, height = stream.codec_context.width, stream.codec_context.height
        tick_sec, comment = float(stream.time_base or 0), container.metadata.get("comment", "")
    indexed = indexed and not hidden and len(set(shown_at)) == count and keys_divide(np.array(shown_at), np.array(keys))
    order = np.argsort(np.array(shown_at if indexed else [], np.int64))
    return Packets(
        count=count - hidden,
        leading=leading,
        promised=promised,
        rate=rate,
        width=width,
        height=height,
        says_orientation=orientation,
        times=np.array(shown_at, np.int64)[order] if indexed else np.empty(0, np.int64),
        lasts=np.array(lasts, np.int64)[order],
        tick_sec=tick_sec,
        keys=np.array(keys, np.int64),
        in_order=name != AVI,
        comment=comment,
    )


def _lost_before(leading: int, shown_at: list[int], discarded: list[bool]) -> int:
    """Frames that nothing can show: those before the first key frame, and those after it that look back beyond it.

    So a clip that was cut out of a longer video without encoding it anew is as whole as what can be seen of it.
    """
    at = shown_at[leading] if shown_at else None
    lost = 0
    for place, (time, hidden) in enumerate(zip(shown_at, discarded, strict=True)):
        early = place > leading and at is not None and time is not None and time < at
        lost += (place < leading or early) and not hidden
    return lost


def _promised_by_length(container: Any, stream: Any, shown_at: list[int]) -> int:
    """Frames by the length that a Matroska file states for its track, without a count of frames; 0 if it is whole.

    The last frame may be shown as long as any other.
    """
    times = np.sort(np.array([time for time in shown_at if time is not None], dtype=np.int64))
    stated = TRACK_LENGTH.fullmatch(stream.metadata.get("DURATION", ""))
    if stated is None or not container.duration or len(times) < 2:
        return 0
    track_sec = int(stated["hours"]) * 3600 + int(stated["minutes"]) * 60 + float(stated["seconds"])
    stated_sec: float = min(track_sec, container.duration / MICROSECONDS)
    covered_sec = float((times[-1] + np.diff(times).max()) * stream.time_base)
    if covered_sec >= COMPLETE_SHARE * stated_sec:
        return 0
    by_rate, by_mean = stated_sec * float(stream.average_rate or 0), len(times) * stated_sec / covered_sec
    return round(max(by_rate, by_mean))  # frames may come unevenly


def _mpeg4_picture_bytes(packet: bytes) -> int:
    """Length of the picture in an MPEG-4 packet, without the headers and user data that may stand around it."""
    start = packet.find(b"\0\0\1\xb6")
    end = packet.find(b"\0\0\1", start + 4)
    return 0 if start < 0 else (end if end > 0 else len(packet)) - start


def keys_divide(times: NDArray[np.int64], keys: NDArray[np.int64]) -> bool:
    """Whether what is stored before a key frame is shown before it, and what is stored after it later.

    Args:
        times: when each packet is shown, in the order of storage.
        keys: the key frames' places in that order; the first packet must be one.
    """
    if len(keys) == 0 or keys[0] != 0:
        return False
    place = np.argsort(np.argsort(times))  # in the order of presentation
    last_so_far = np.maximum.accumulate(place)
    return bool((place[keys] == keys).all() and (last_so_far[keys] == keys).all())


@contextmanager
def open_container(path: Path) -> Iterator[tuple[Any, Any]]:
    """PyAV's open container and its main video stream."""
    import av

    try:
        container = av.open(str(path), metadata_errors="replace", options={"format_whitelist": CONTAINERS})
    except av.ArgumentError:
        raise VideoError(
            "not a readable video (a playlist, an image, or another format without frames of its own)"
        ) from None
    except av.FFmpegError as error:
        raise VideoError(f"not a readable video ({error.strerror})") from None
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise VideoError(f"nothing to see in it: {container.format.long_name}, without video that can be decoded")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MOST_PIXELS:
            raise VideoError(f"not a readable video: its header promises frames of {width}x{height} pixels")
        yield container, stream
