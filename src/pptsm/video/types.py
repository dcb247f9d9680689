"""Frames as values: their pixels, and the native size from which geometry follows.

A size is (width, height), a box (left, top, right, bottom), both in pixels.

Source of the sizes: PaddleVideo's transforms of PP-TSM, releases 2.1 and 2.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pptsm.params.choices import Aspect

Size = tuple[int, int]
Box = tuple[float, float, float, float]


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
