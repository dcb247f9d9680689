"""The only place where videos are decoded.

Frames are uint8 RGB arrays, turned and mirrored as the file says a player must; shape legend: T frames, H/W pixels.
A frame's number is its place in the order of presentation, from the first key frame on. Where a file's packets tell
which frame is where, PyAV decodes what is asked for from the key frame before it; everywhere else from the first frame
on, and counts. The same packets say whether decord can be trusted to read a whole file in order. Pixels are the same to
within two levels. decord brings FFmpeg libraries of 2018 along: it reads files of the dataset, and no others.
"""

import os
import re
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.errors import UserError
from pptsm.runtime.paths import StrPath
from pptsm.runtime.pool import sign_of_life
from pptsm.video.orientation import AS_STORED, Orientation, orientation_in, says_orientation
from pptsm.video.timing import Timing, timing_of
from pptsm.video.types import Frames

Image = NDArray[np.uint8]  # [H, W, 3]
Images = NDArray[np.uint8]  # [T, H, W, 3]
Decoder = Literal["decord", "pyav"]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
# Fewer decodable frames than this share of what the container claims: the file was cut off.
COMPLETE_SHARE = 0.95
SLOWEST_READ = 2_000_000  # bytes a second, of a disk that many share

# FFmpeg tells a format by its content. Playlists would open other files, or addresses, or themselves without end.
CONTAINERS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,m4v,h264,hevc,av1,ivf,flv,asf,ogg,mxf,dv,rm,nut"
MOST_PIXELS = 1 << 26  # of a frame (8192x8192); beyond it a header is taken for damaged
AVI, MATROSKA, MOV = "avi", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's names of containers
TRACK_LENGTH = re.compile(r"(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(\.\d+)?)")
MICROSECONDS = 1_000_000  # a second, in which FFmpeg tells a container's length
# Codecs of which every packet shows one frame; VP8, for one, also stores frames that are never shown.
INDEXED_CODECS = ("h264", "hevc", "mjpeg", "mpeg4", "vp9")
REORDERING_CODECS = ("h264", "hevc")  # without a word in the packet; in MPEG-4 its time is then missing
# A smaller picture may stand for a dropped frame and then shows none; VP9 shows a frame it has with two bytes.
SMALLEST_PICTURE_BYTES = {"vp9": 1}
OTHER_SMALLEST_PICTURE_BYTES = 16
SMALL_PACKET_BYTES = 1000  # in larger ones nobody hides so small a picture, and looking takes time


# A part of a file may end this much after it: seconds in annotations are rounded, and frames last.
PAST_END_SEC = 0.5
EARLY_SEC = 0.0005  # times are written with three digits


class Span(NamedTuple):
    """A part of a file by its frames."""

    first: int
    num_frames: int


class Seconds(NamedTuple):
    """A part of a file by time, from its first frame on: the frames that begin at `start` or later, before `end`."""

    start: float
    end: float


Part = Span | Seconds | None  # None: the whole file


class VideoError(UserError):
    """A file cannot be decoded; the message says why."""


def shown(path: Path) -> str:
    r"""A path as text that can be written anywhere; what is no UTF-8 in it stands as \xff."""
    return os.fsencode(path).decode(errors="backslashreplace")


def name_fault(path: Path) -> str:
    """Why no decoder can be given a path and no table can hold it; empty for nearly all."""
    try:
        str(path).encode()  # bytes that are no text are lone surrogates in Python, which UTF-8 does not have
    except UnicodeEncodeError:
        return "its name is no UTF-8 text: rename it"
    return ""


def kind_fault(path: Path) -> str:
    """Why nothing may be read from what is there, though it can be opened; empty for files, and for what cannot."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return "a pipe, no video file" if stat.S_ISFIFO(mode) else "no regular file"


def silence_sec(path: Path, limit_sec: float) -> float:
    """How long a decoder may show nothing of a file before it is taken to hang: `limit_sec`, and as long as reading the
    whole file may take, which comes before the first frame; 0, for ever, if that is 0."""
    try:
        return limit_sec and limit_sec + path.stat().st_size / SLOWEST_READ
    except OSError:
        return limit_sec


@dataclass(frozen=True)
class Probe:
    """What decoding a whole file showed."""

    status: str  # "ok", "truncated" or "unreadable"
    reason: str  # empty when ok
    decoder: str  # "decord", "pyav", of a folder of frames "jpeg", or empty when unreadable
    num_frames: int  # frames that really decode
    fps: float  # on average; of a folder of frames 0
    width: int
    height: int
    duration_sec: float  # by the times at which the frames are shown; of a folder of frames 0

    @staticmethod
    def unreadable(reason: str) -> "Probe":
        """Nothing decodes, for this reason."""
        return Probe("unreadable", reason, "", 0, 0.0, 0, 0, 0.0)


class Video:
    """A video file with access to its frames by number.

    Open it in the process that reads it: decord's readers do not survive a fork.

    Args:
        path: the file.
        decord: whether iteration may use decord, whose libraries are old: for files of the dataset.

    Raises:
        VideoError: the file cannot be opened, or has no frames.
    """

    def __init__(self, path: StrPath, *, decord: bool = False) -> None:
        path = Path(path)
        _require_content(path)
        self.path = path
        self._may_use_decord = decord
        self.packets = _read_packets(path)
        if self.packets.count == 0:
            raise VideoError("the file has no frames")
        self._by_number = _Pyav(path, self.packets)

    @cached_property
    def _in_order(self) -> "_Decord | _Pyav":
        own = self._by_number
        # of a display matrix decord knows the angle, and of what the stream says nothing
        turned_only = not self.packets.says_orientation and own.orientation.is_rotation
        if not (self._may_use_decord and self.packets.indexed and turned_only):
            return own
        return _Decord.open(self.path, self.packets.count) or own

    @property
    def decoder(self) -> Decoder:
        """Who reads the whole file, in order."""
        return self._in_order.name

    @property
    def rate(self) -> float:
        """Frames a second by the container's header, which may be made up; 0 where it has none."""
        return self.packets.rate

    @property
    def promised(self) -> int:
        """Frames by the container's header; 0 where it has none."""
        return self.packets.promised

    def timing(self, num_frames: int | None = None) -> Timing:
        """When the frames, or so many of them, are shown.

        Raises:
            VideoError: none decodes.
        """
        return self._by_number.timing(num_frames)

    def __len__(self) -> int:
        """Frames that decode, up to the first that does not; what has no trusted packets is decoded for it, once.

        Raises:
            VideoError: none decodes.
        """
        return len(self._by_number)

    def __iter__(self) -> Iterator[Image]:
        """All frames [H, W, 3] in order.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        return iter(self._in_order)

    def in_order(self) -> Iterator[Image]:
        """All frames [H, W, 3] in order, with the pixels that `frames` gives; quicker than iteration.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        return iter(self._by_number)

    def frames(self, indices: NDArray[np.int64]) -> Frames:
        """The frames at 0-based `indices`, in that order, in their native size.

        Raises:
            VideoError: one of them is not there or cannot be decoded.
        """
        if negative := [int(index) for index in indices if index < 0]:
            raise VideoError(f"there are no frames {negative}: numbers begin at 0")
        images = self._by_number.frames([int(index) for index in indices])
        height, width = images[0].shape[:2]
        return Frames(images, (width, height))

    def span(self, part: Part) -> Span:
        """The frames of a part of the file.

        Raises:
            VideoError: there is no frame in it, or it ends after the file.
        """
        if part is None:
            return Span(0, len(self))
        if isinstance(part, Span):
            return part
        timing = self.timing()
        if timing.fps == 0:
            raise VideoError("the file does not say when its frames are shown")
        if part.end > timing.end_sec + PAST_END_SEC:
            raise VideoError(f"it lasts {timing.end_sec:.2f} s, so nothing is at {part.start:g} to {part.end:g} s")
        first, stop = np.searchsorted(timing.begins_sec, np.array(part) - EARLY_SEC)
        if first == stop:
            raise VideoError(f"no frame begins between {part.start:g} and {part.end:g} s")
        return Span(int(first), int(stop - first))

    def length_sec(self, span: Span) -> float:
        """How long a part of the file is shown."""
        timing = self.timing()
        stop = span.first + span.num_frames
        end_sec = timing.begins_sec[stop] if stop < len(timing.begins_sec) else timing.end_sec
        return float(end_sec - timing.begins_sec[span.first])

    def require_whole(self) -> None:
        """Refuse a file that `probe` calls cut off, for the reason that it gives.

        It costs no decoding where the packets can be trusted: are there as many as the header promises? So a single
        damaged frame between them, which the index finds, is only found here if it is asked for. Of other files every
        frame was decoded to count them, and what stopped that counts.

        Raises:
            VideoError: the file is cut off.
        """
        if self._by_number.problem or _cut_off(len(self), self.packets.promised):
            found = probe(self.path)
            if found.status != "ok":
                raise VideoError(found.reason)


def probe(path: StrPath, open_video: Callable[[Path], Any] = Video) -> Probe:
    """Decode a whole file and say what is in it; never raises for a bad file.

    A broken container can keep a decoder busy without end: call this in a process that can be killed, and within
    `ended_if_silent`.
    """
    try:
        video = open_video(Path(path))
        count, height, width, problem = 0, 0, 0, ""
        try:
            for frame in video:
                count += 1
                height, width = frame.shape[:2]
        except VideoError as error:
            problem = str(error)
        if count == 0:
            return Probe.unreadable(problem or "no frame decodes")
        problem = _cut_off(count, video.promised) or problem
        status, timing = "truncated" if problem else "ok", video.timing(count)
        return Probe(status, problem, video.decoder, count, timing.fps, width, height, timing.end_sec)
    except VideoError as error:
        return Probe.unreadable(str(error))
    except MemoryError:
        return Probe.unreadable("a frame does not fit into memory")


def _require_content(path: Path) -> None:
    if fault := name_fault(path):
        raise VideoError(fault)
    if fault := kind_fault(path):  # a pipe would be waited for without end
        raise VideoError(fault)
    try:
        size = path.stat().st_size
        path.open("rb").close()
    except FileNotFoundError:
        raise VideoError(f"no such file: {path}") from None
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from None
    if size == 0:
        raise VideoError("the file is empty")


def _cut_off(count: int, promised: int) -> str:
    """The reason to refuse a file of which `count` frames decode; empty where there is none."""
    if count >= COMPLETE_SHARE * promised:
        return ""
    return f"cut off: the file promises {promised} frames, {count} decode"


@dataclass(frozen=True)
class _Packets:
    """What a file's packets tell without decoding."""

    count: int  # packets that are to be shown
    leading: int  # packets before the first that is marked as a key frame
    promised: int  # frames to be shown by the container's header; 0 where it has none
    rate: float  # frames a second by the header; 0 where it does not say
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


def _read_packets(path: Path) -> _Packets:
    """Read all packets of the video.

    decord numbers frames by the sorted times of the packets, key frames by the order of the packets, seeks to the
    latter and counts on from there (its source: video_reader.cc). So a frame is where decord looks for it if both
    orders agree at each key frame, each packet has a time of its own and shows a frame, and nothing after a key
    frame needs what was before it. Otherwise it returns other frames than asked for, without a word. PyAV, too, can
    start at a key frame and tell frames by their times only there.
    """
    import av
    from av.bitstream import BitStreamFilterContext

    with _container(path) as (container, stream):
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
                sign_of_life()
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
    indexed = (
        indexed and not hidden and len(set(shown_at)) == count and _keys_divide(np.array(shown_at), np.array(keys))
    )
    order = np.argsort(np.array(shown_at if indexed else [], np.int64))
    return _Packets(
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
    """Frames by the length that a Matroska file tells of its track, which it counts no frames of; 0 where it is whole.

    The last frame may be shown as long as any other.
    """
    times = np.sort(np.array([time for time in shown_at if time is not None], dtype=np.int64))
    told = TRACK_LENGTH.fullmatch(stream.metadata.get("DURATION", ""))
    if told is None or not container.duration or len(times) < 2:
        return 0
    track_sec = int(told["hours"]) * 3600 + int(told["minutes"]) * 60 + float(told["seconds"])
    told_sec: float = min(track_sec, container.duration / MICROSECONDS)
    covered_sec = float((times[-1] + np.diff(times).max()) * stream.time_base)
    if covered_sec >= COMPLETE_SHARE * told_sec:
        return 0
    by_rate, by_mean = told_sec * float(stream.average_rate or 0), len(times) * told_sec / covered_sec
    return round(max(by_rate, by_mean))  # frames may come unevenly


def _mpeg4_picture_bytes(packet: bytes) -> int:
    """Length of the picture in an MPEG-4 packet, without the headers and user data that may stand around it."""
    start = packet.find(b"\0\0\1\xb6")
    end = packet.find(b"\0\0\1", start + 4)
    return 0 if start < 0 else (end if end > 0 else len(packet)) - start


def _keys_divide(times: NDArray[np.int64], keys: NDArray[np.int64]) -> bool:
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


class _Decord:
    """A whole file in order, by decord; for files whose packets divide at the key frames."""

    name: Decoder = "decord"

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    @staticmethod
    def open(path: Path, num_packets: int) -> "_Decord | None":
        """None where decord is absent or refuses the file, or where its own list has other packets than are shown."""
        if not has_decord():
            return None
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        try:
            # one thread: several readers work side by side in processes, and memory stays small; no tolerance:
            # decord would return the frame before in place of one that does not decode
            reader = decord.VideoReader(str(path), num_threads=1, fault_tol=1e-9)
            if len(reader) != num_packets:
                return None
            starts_sec = reader.get_frame_timestamp(np.arange(num_packets))[:, 0]
        except _decord_errors():
            return None
        return _Decord(reader) if (np.diff(starts_sec) > 0).all() else None

    def __len__(self) -> int:
        return len(self._reader)

    def __iter__(self) -> Iterator[Image]:
        self._reader.seek_accurate(0)
        for index in range(len(self)):
            sign_of_life()
            try:
                yield _rgb(self._reader.next().asnumpy())
            except _decord_errors() as error:
                raise VideoError(f"frame {index} does not decode ({_first_line(error)})") from None


class _Pyav:
    """Frames by number or in order, by PyAV; the file is open only while that goes on."""

    name: Decoder = "pyav"

    def __init__(self, path: Path, packets: _Packets) -> None:
        self.path = path
        self.packets = packets
        self._found: _Decodable | None = None

    def __len__(self) -> int:
        return self.packets.count if self.packets.indexed else len(self._decodable.times)

    def timing(self, num_frames: int | None = None) -> Timing:
        """When the frames are shown: by the packets where they can be trusted, else by the decoded frames."""
        packets = self.packets
        shown = packets if packets.indexed else self._decodable
        times, lasts = shown.times[:num_frames], shown.lasts[:num_frames]
        return timing_of(times, lasts, packets.tick_sec, packets.rate, packets.in_order)

    @property
    def problem(self) -> str:
        """What ended the decoding before the file's end; empty where nothing did, or nothing was decoded."""
        return "" if self.packets.indexed else self._decodable.problem

    @property
    def _decodable(self) -> "_Decodable":
        """What decoding the whole file showed; it is done once."""
        if self._found is None:
            try:
                for _ in self._decoded():
                    pass
            except VideoError:
                pass  # `_found` says it
        assert self._found is not None
        if not len(self._found.times):
            raise VideoError(self._found.problem or "no frame decodes")
        return self._found

    @cached_property
    def orientation(self) -> Orientation:
        """How all frames are turned: as the first one says it, for itself or by the container."""
        return next((orientation_in(frame) for frame in self._decoded()), None) or AS_STORED

    def __iter__(self) -> Iterator[Image]:
        return map(self._converter(), self._decoded())

    def frames(self, indices: list[int]) -> list[Image]:
        images = self._from_key_frames(indices) if self.packets.indexed else self._from_the_first(indices)
        return [images[index] for index in indices]

    def _from_the_first(self, indices: list[int]) -> dict[int, Image]:
        convert, images, wanted, count = self._converter(), {}, set(indices), 0
        for count, frame in enumerate(self._decoded(), start=1):
            if count - 1 in wanted:
                images[count - 1] = convert(frame)
            if count > max(indices):
                break
        _check(indices, count)
        return images

    def _from_key_frames(self, indices: list[int]) -> dict[int, Image]:
        """Images by number, told by their times, so that none stands for one that does not decode."""
        import av

        times, keys, convert, images = self.packets.times, self.packets.keys, self._converter(), {}
        _check(indices, len(times))
        with _container(self.path) as (container, stream):
            stream.codec_context.thread_count = 1
            for place, numbers in groupby(sorted(set(indices)), lambda number: bisect_right(keys, number)):
                wanted = {int(times[number]): number for number in numbers}
                for start in (times[keys[place - 1]], times[0]):  # the second where a seek leads beyond the key frame
                    try:
                        for frame in _shown_at(container, stream, int(start), wanted):
                            images[wanted.pop(frame.pts)] = convert(frame)
                    except av.FFmpegError as error:
                        raise VideoError(f"frame {min(wanted.values())} does not decode ({error.strerror})") from None
                    if not wanted:
                        break
                else:
                    raise VideoError(f"frame {min(wanted.values())} does not decode")
        return images

    def _decoded(self) -> Iterator[Any]:
        """PyAV's frames, not yet converted."""
        import av

        times: list[int | None] = []
        lasts: list[int] = []
        problem, due = "", self.packets.times
        with _container(self.path) as (container, stream):
            stream.codec_context.thread_count = 1
            try:
                for frame in _shown_frames(container, stream, self.packets.leading):
                    if len(due) and (len(times) == len(due) or frame.pts != due[len(times)]):
                        break  # one before it is missing: the next would take its number
                    yield frame
                    times.append(frame.pts)
                    lasts.append(frame.duration or 0)
            except av.FFmpegError as error:
                problem = f"frame {len(times)} does not decode ({error.strerror})"
        if len(times) < len(due) and not problem:
            problem = f"frame {len(times)} does not decode"
        self._found = _Decodable(times, lasts, problem)
        if problem:
            raise VideoError(problem)

    def _converter(self) -> Callable[[Any], Image]:
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()  # one for all frames: making it costs more than its work on a small frame
        turned: bool | None = None

        def convert(frame: Any) -> Image:
            nonlocal turned
            # all frames get the size that the container gives, as with decord, even if the stream changes it
            shape = self.packets.width, self.packets.height
            rgb: Image = np.asarray(reformatter.reformat(frame, *shape, "rgb24", threads=1).to_ndarray(), np.uint8)
            # One orientation for all: in a stream that says it, perhaps only some frames do. And one frame is asked,
            # because whoever looks at what comes with it binds it into a cycle that the garbage collector has to find.
            if turned is None:
                turned = self.packets.says_orientation or orientation_in(frame) is not None
            return self.orientation.applied(rgb) if turned else rgb

        return convert


class _Decodable(NamedTuple):
    """What decoding a file from its first key frame on showed."""

    times: list[int | None]  # of the frames, in ticks, as they came
    lasts: list[int]  # how long each is shown; 0 where it does not say
    problem: str  # what ended it before the file's end; empty where nothing did


def _shown_frames(container: Any, stream: Any, leading: int) -> Iterator[Any]:
    """PyAV's frames from the first key frame on, whatever decoders make of those before it: grey, errors or nothing.

    A decoder knows a key frame, too, that its packet is not marked as.
    """
    import av

    begun, key_at = leading == 0, None
    for number, packet in enumerate(container.demux(stream)):
        sign_of_life()
        key_at = packet.pts if number == leading else key_at
        try:
            frames = packet.decode()
        except av.FFmpegError:
            if begun or number >= leading:
                raise
            continue
        for frame in frames:
            begun = begun or frame.key_frame or (None not in (key_at, frame.pts) and frame.pts >= key_at)
            if begun:
                yield frame


def _shown_at(container: Any, stream: Any, start: int, wanted: dict[int, int]) -> Iterator[Any]:
    """PyAV's frames that are shown at the `wanted` times, decoded from the key frame of time `start` on.

    Who reads them takes their times out of `wanted`; when none is left, reading ends. There are none if the container
    leads elsewhere than to a key frame not later than `start`.
    """
    container.seek(start, stream=stream)
    context, first = stream.codec_context, True
    for packet in container.demux(stream):
        if first and not (packet.is_keyframe and packet.pts is not None and packet.pts <= start):
            return
        first = False
        sign_of_life()
        if context.name == "h264":
            # Nothing looks back at a frame that says so: it need not be decoded. HEVC says it of a layer only.
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        for frame in packet.decode():
            if frame.pts in wanted:
                yield frame
        if not wanted:
            return


@contextmanager
def _container(path: Path) -> Iterator[tuple[Any, Any]]:
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


def has_decord() -> bool:
    """Whether decord is installed. It has no wheel for arm64; where it is absent, PyAV reads every file."""
    try:
        import decord  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def _decord_errors() -> tuple[type[Exception], ...]:
    from decord._ffi.base import DECORDError, DECORDLimitReachedError

    return DECORDError, DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration


def _check(indices: list[int], count: int) -> None:
    if absent := sorted(index for index in indices if index >= count):
        raise VideoError(f"there are no frames {absent}: {count} decode")


def _rgb(frame: Image) -> Image:
    """At some widths (48, 72) decord takes the padding at each row's end for a fourth channel."""
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)


def write_video(path: StrPath, frames: Images, fps: int, codec: str) -> None:
    """Encode frames [T, H, W, 3] (H and W even) into an .mp4 file; the same frames give the same bytes.

    Args:
        path: the file to write; its name ends in .mp4.
        frames: uint8 RGB.
        fps: frames a second.
        codec: "h264" or "mpeg4".
    """
    import av

    encoder, options = {
        # without macroblock tree and adaptive quantisation: with them, the same frames gave now and then other bytes
        "h264": ("libx264", {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0:aq-mode=0"}),
        "mpeg4": ("mpeg4", {"qscale": "3"}),
    }[codec]
    with av.open(os.fspath(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoder, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split("] ", 2)[-1][:160]
