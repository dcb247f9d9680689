"""A video file, opened: the only place where videos are decoded.

Frames are uint8 RGB arrays, turned and mirrored as the file says a player must; shape legend: T frames, H/W pixels.
A frame's number is its place in the order of presentation, from the first key frame on.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.paths import StrPath
from pptsm.video.decoders import Decord, Pyav
from pptsm.video.packets import COMPLETE_SHARE, read_packets
from pptsm.video.timing import Timing
from pptsm.video.types import (
    Decoder,
    FrameRange,
    Frames,
    Image,
    Part,
    Presented,
    Probe,
    VideoError,
    kind_fault,
    name_fault,
)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
SLOWEST_READ = 2_000_000  # bytes a second, of a disk that many share
# A part of a file may end this much after it: seconds in annotations are rounded, and frames last.
PAST_END_SEC = 0.5
EARLY_SEC = 0.0005  # times are written with three digits


def silence_sec(path: Path, limit_sec: float) -> float:
    """How long a decoder may show nothing of a file before it is taken to hang: `limit_sec`, and as long as reading the
    whole file may take, which comes before the first frame; 0, for ever, if that is 0."""
    try:
        return limit_sec and limit_sec + path.stat().st_size / SLOWEST_READ
    except OSError:
        return limit_sec


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
        self.packets = read_packets(path)
        if self.packets.count == 0:
            raise VideoError("the file has no frames")
        self._by_number = Pyav(path, self.packets)

    @cached_property
    def _in_order(self) -> "Decord | Pyav":
        own = self._by_number
        # of a display matrix decord knows the angle, and of what the stream says nothing
        turned_only = not self.packets.says_orientation and own.orientation.is_rotation
        if not (self._may_use_decord and self.packets.indexed and turned_only):
            return own
        return Decord.open(self.path, self.packets.count) or own

    @property
    def decoder(self) -> Decoder:
        """Who reads the whole file, in order."""
        return self._in_order.name

    @property
    def rate(self) -> float:
        """Frames per second by the container's header, which may be made up; 0 where it has none."""
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

    def presented(self) -> Iterator[Presented]:
        """All frames in order, with when they are shown; those of which nobody asks the pixels are only decoded.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        return self._by_number.presented()

    @property
    def times_are_known(self) -> bool:
        """Whether the packets tell all frames' times, so that nothing need be decoded for `timing`."""
        return self.packets.indexed

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

    def span(self, part: Part) -> FrameRange:
        """The frames of a part of the file.

        Raises:
            VideoError: there is no frame in it, or it ends after the file.
        """
        if part is None:
            return FrameRange(0, len(self))
        if isinstance(part, FrameRange):
            return part
        timing = self.timing()
        if timing.fps == 0:
            raise VideoError("the file does not say when its frames are shown")
        if part.end > timing.end_sec + PAST_END_SEC:
            raise VideoError(f"it lasts {timing.end_sec:.2f} s, so nothing is at {part.start:g} to {part.end:g} s")
        first, stop = np.searchsorted(timing.begins_sec, np.array(part) - EARLY_SEC)
        if first == stop:
            raise VideoError(f"no frame begins between {part.start:g} and {part.end:g} s")
        return FrameRange(int(first), int(stop - first))

    def length_sec(self, span: FrameRange) -> float:
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
    `watchdog`.
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
