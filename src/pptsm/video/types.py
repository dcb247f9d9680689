"""Videos and their frames as values: parts of a file, what probing found, pixels and the native size.

A size is (width, height), a box (left, top, right, bottom), both in pixels.

Source of the sizes: PaddleVideo's transforms of PP-TSM, releases 2.1 and 2.2.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from pptsm.params.choices import Aspect
from pptsm.runtime.errors import UserError

Size = tuple[int, int]
Box = tuple[float, float, float, float]


Image = NDArray[np.uint8]  # [H, W, 3]
Images = NDArray[np.uint8]  # [T, H, W, 3]
Decoder = Literal["decord", "pyav"]


class DecodedWhenAsked(Sequence[NDArray[np.uint8]]):
    """Frames that are decoded each time they are asked for: one after the other, they fit into a processor's cache.

    Args:
        count: how many they are.
        image: decodes the frame [H, W, 3] at a place; what it raises is raised where the frame is asked for.
    """

    def __init__(self, count: int, image: Callable[[int], NDArray[np.uint8]]) -> None:
        self._places = range(count)
        self._image = image

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, place: slice) -> "DecodedWhenAsked": ...
    def __getitem__(self, place: int | slice) -> "NDArray[np.uint8] | DecodedWhenAsked":
        if isinstance(place, slice):
            places = self._places[place]
            return DecodedWhenAsked(len(places), lambda number: self._image(places[number]))
        return self._image(self._places[place])


@dataclass(frozen=True)
class Frames:
    """Frames of one video, and the size that decides their geometry."""

    images: (
        Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    )  # RGB [H, W, 3], as stored: perhaps smaller than the video's
    native: Size  # of the video's frames, turned as a player turns them

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The frames in one array [T, H, W, 3]."""
        return np.stack(list(self.images))


class Presented(NamedTuple):
    """A frame in its turn, not yet converted to pixels."""

    begin_sec: float  # from the first frame on
    end_sec: float  # when it is over if no other comes
    image: Callable[[], Image]  # its pixels; to be asked for before the next frame is


def resized_size(native: Size, short_side_px: int, aspect: Aspect) -> Size:
    """The size after scaling the short side to `short_side_px`.

    Distorted, the long side becomes 4/3 of the short one. A square then lies in release 2.1 and stands from 2.2 on.
    A frame whose short side already fits stays as it is, in all cases.
    """
    width, height = native
    if min(native) == short_side_px:
        return native
    long_side_px = int(short_side_px * (max(native) / min(native) if aspect == "kept" else 4 / 3))
    stands = width < height or (width == height and aspect == "distorted_2_2")
    return (short_side_px, long_side_px) if stands else (long_side_px, short_side_px)


class FrameRange(NamedTuple):
    """A part of a file by its frames."""

    first: int
    num_frames: int


class Seconds(NamedTuple):
    """A part of a file by time, from its first frame on: the frames that begin at `start` or later, before `end`."""

    start: float
    end: float


Part = FrameRange | Seconds | None  # None: the whole file


class VideoError(UserError):
    """A file cannot be decoded; the message says why."""


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
