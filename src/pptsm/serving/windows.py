"""Windows over a video's time, and what their scores become: smoothed scores, and segments by class. Pure functions.

Window n shows `length_sec` seconds from n * `every_sec` on; what is left at a video's end is a shorter one. All of it
goes forward with time, so that a stream is cut and merged as a file is.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pptsm.video.types import FrameRange
from pptsm.video.video import EARLY_SEC

Scores = NDArray[np.floating[Any]]  # [K], the probability of each class

LONGEST_SEC = 3600.0  # of a window, and from one to the next
DIGITS = 6  # of seconds: microseconds


@dataclass(frozen=True)
class Grid:
    """Where windows lie."""

    length_sec: float
    every_sec: float

    def window(self, number: int) -> tuple[float, float]:
        """Start and end of a window, in seconds."""
        start_sec = round(number * self.every_sec, DIGITS)
        return start_sec, round(start_sec + self.length_sec, DIGITS)

    def first_with(self, begin_sec: float) -> int:
        """The number of the first window that a frame of this time can lie in."""
        number = max(0, int((begin_sec - self.length_sec) / self.every_sec) - 1)
        while self.window(number)[1] - EARLY_SEC <= begin_sec:
            number += 1
        return number


class Span(NamedTuple):
    """A window, and its frames by their numbers in the video."""

    start_sec: float
    end_sec: float
    frames: FrameRange


class Cutter:
    """Finds the windows of frames that come one after the other.

    A frame is in a window if it begins at its start or later, and before its end, as in `Video.span`. Windows in which
    no frame begins are passed over.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._next = 0  # the window that is looked for
        self._count = 0  # frames so far
        self._open: deque[tuple[int, float]] = deque()  # number and time of the frames that windows to come may need
        self._covered_sec = 0.0  # up to where windows were found

    @property
    def first(self) -> int:
        """The number of the first frame that a window to come may need."""
        return self._open[0][0] if self._open else self._count

    def add(self, begin_sec: float) -> list[Span]:
        """The windows that are complete because the next frame begins here: those that end before it."""
        found = []
        while self._open and begin_sec >= self._grid.window(self._next)[1] - EARLY_SEC:
            found += self._found(*self._grid.window(self._next))
        if not self._open:
            self._next = max(self._next, self._grid.first_with(begin_sec))
        if begin_sec >= self._grid.window(self._next)[0] - EARLY_SEC:
            self._open.append((self._count, begin_sec))
        self._count += 1
        return found

    def finish(self, end_sec: float) -> list[Span]:
        """The windows that the end of the video, at this time, completes or cuts off."""
        found, end_sec = [], round(end_sec, DIGITS)
        while self._open and self._covered_sec < end_sec - EARLY_SEC:
            start_sec, stop_sec = self._grid.window(self._next)
            found += self._found(start_sec, min(stop_sec, end_sec))
        return found

    def _found(self, start_sec: float, end_sec: float) -> list[Span]:
        """The window that is looked for, as a list of one or none; frames that none after it needs are forgotten.

        The open frames are its own: earlier ones were forgotten, and a later one would have completed it before.
        """
        found = [Span(start_sec, end_sec, FrameRange(self._open[0][0], len(self._open)))] if self._open else []
        self._next += 1
        self._covered_sec = end_sec
        while self._open and self._open[0][1] < self._grid.window(self._next)[0] - EARLY_SEC:
            self._open.popleft()
        return found


def spans_of(begins_sec: Iterable[float], end_sec: float, grid: Grid) -> list[Span]:
    """The windows of frames that begin at these times, the last of which is over at `end_sec`."""
    cutter = Cutter(grid)
    spans = [span for begin_sec in begins_sec for span in cutter.add(begin_sec)]
    return spans + cutter.finish(end_sec)


@dataclass(frozen=True)
class Segment:
    """A time in which a class is shown."""

    label: str
    start_sec: float
    end_sec: float
    score: float  # mean of the smoothed scores of its windows


class Cell(NamedTuple):
    """The time that a window speaks for: up to halfway to its neighbours, where it has any."""

    start_sec: float
    end_sec: float
    scores: Scores  # smoothed


class _Open(NamedTuple):
    start_sec: float
    end_sec: float
    total: float
    cells: int


class Merger:
    """Smooths the scores of windows as they come, and merges neighbours that show the same class.

    A window's smoothed scores are the mean over the `smooth` windows around it, or over those of them that there are.
    For each class, neighbours whose smoothed score is at least `threshold` make a segment, so segments of different
    classes may overlap where the threshold is below a half. Where more than one step between windows was not seen, as
    where a camera was away, both begin anew.

    Args:
        labels: the classes.
        grid: of the windows.
        threshold: 0 to 1.
        smooth: an odd number of windows; 1: no smoothing.
    """

    def __init__(self, labels: list[str], grid: Grid, threshold: float, smooth: int) -> None:
        if smooth < 1 or smooth % 2 == 0:
            raise ValueError(f"smooth is {smooth}, and should be odd")
        self._labels = labels
        self._every_sec = grid.every_sec
        self._threshold = threshold
        self._half = smooth // 2
        self._run: list[tuple[float, float, Scores]] = []  # windows that smoothing or a neighbour's cell still needs
        self._due = 0  # place in the run of the first window without a cell
        self._open: dict[int, _Open] = {}  # class -> its segment so far

    def add(self, start_sec: float, end_sec: float, scores: Scores) -> tuple[list[Cell], list[Segment]]:
        """The cells that are known and the segments that are over, now that this window is there."""
        cells, segments = self.finish() if self._is_apart(start_sec) else ([], [])
        self._run.append((start_sec, end_sec, scores))
        while self._due + max(self._half, 1) < len(self._run):
            cells.append(self._cell())
            segments += self._merged(cells[-1])
        return cells, segments

    def finish(self) -> tuple[list[Cell], list[Segment]]:
        """The rest: no window comes that is a neighbour of the last one."""
        cells: list[Cell] = []
        segments: list[Segment] = []
        while self._due < len(self._run):
            cells.append(self._cell())
            segments += self._merged(cells[-1])
        segments += [self._closed(which) for which in list(self._open)]
        self._run, self._due = [], 0
        return cells, segments

    def _is_apart(self, start_sec: float) -> bool:
        return bool(self._run) and start_sec > self._run[-1][1] + self._every_sec + EARLY_SEC

    def _cell(self) -> Cell:
        """Of the first window without one."""
        run, place = self._run, self._due
        first, last = max(0, place - self._half), min(len(run), place + self._half + 1)
        scores = np.stack([scores for *_, scores in run[first:last]]).mean(axis=0, dtype=np.float64)
        start_sec = run[0][0] if place == 0 else _halfway(run[place - 1], run[place])
        end_sec = run[place][1] if place == len(run) - 1 else _halfway(run[place], run[place + 1])
        self._due += 1
        if (spare := self._due - max(self._half, 1)) > 0:  # the window before the due one stays: its cell ends there
            del run[:spare]
            self._due -= spare
        return Cell(start_sec, end_sec, scores)

    def _merged(self, cell: Cell) -> list[Segment]:
        above = set(np.flatnonzero(cell.scores >= self._threshold).tolist())
        over = [self._closed(which) for which in [*self._open] if which not in above]
        for which in sorted(above):
            before = self._open.get(which, _Open(cell.start_sec, cell.end_sec, 0.0, 0))
            total, cells = before.total + float(cell.scores[which]), before.cells + 1
            self._open[which] = _Open(before.start_sec, cell.end_sec, total, cells)
        return over

    def _closed(self, which: int) -> Segment:
        found = self._open.pop(which)
        score = round(found.total / found.cells, DIGITS)
        return Segment(self._labels[which], round(found.start_sec, DIGITS), round(found.end_sec, DIGITS), score)


def _halfway(window: tuple[float, float, Scores], other: tuple[float, float, Scores]) -> float:
    """Between the middles of two windows."""
    return (window[0] + window[1] + other[0] + other[1]) / 4
