"""When a video's frames are shown: from the times that come with them. What a header says of a rate may be made up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = Sequence[int | None] | NDArray[np.int64]
SAME_STEP = 0.1  # a time that is off by less than this share of a step, and by a tick at most, is as the rate has it
USUAL_RATE = 25.0  # frames per second, where nothing says any


class Timing(NamedTuple):
    """The times of a file's frames."""

    begins_sec: NDArray[np.float64]  # of each frame, from the first one on
    end_sec: float  # how long all of them are shown
    fps: float  # frames per second, on average; 0 where it is unknown


class Clock:
    """When frames are shown that come one by one, in seconds from the first on: what `timing_of` says of all together.

    It differs where that must know the frames to come: a frame without a time, and one whose clock starts anew, come
    here by the step before them. (There by the usual step.)

    Args:
        tick_sec: the unit of times.
        rate: frames per second by the container's header; 0: it does not say.
    """

    def __init__(self, tick_sec: float, rate: float) -> None:
        self._tick_sec = tick_sec if tick_sec > 0 else 1 / (rate or USUAL_RATE)
        self._step = max(1, round(1 / (rate or USUAL_RATE) / self._tick_sec))  # ticks
        self._before: int | None = None  # time of the frame before
        self._ticks = -1  # since the first

    def begin_sec(self, time: int | None) -> float:
        """Of the next frame, whose time in ticks may be unknown."""
        if self._ticks < 0:
            self._ticks = 0
        elif time is None or self._before is None or time < self._before:
            self._ticks += self._step
        else:
            self._step = time - self._before or self._step
            self._ticks += time - self._before
        self._before = time if time is not None or self._before is None else self._before + self._step
        return float(self._ticks * self._tick_sec)

    def end_sec(self, last: int) -> float:
        """When the last frame's time is over, which lasts so many ticks; 0: it does not say, and has the usual step."""
        return float((self._ticks + (last if last > 0 else self._step)) * self._tick_sec)


def timing_of(
    times: Times,
    lasts: Sequence[int] | NDArray[np.int64],
    tick_sec: float,
    rate: float,
    in_order: bool = True,
) -> Timing:
    """When frames are shown, by their own times.

    Where the header's rate explains them, count and rate are more exact than times that are rounded to milliseconds.
    The last frame has the time that its packet gives it if those of the others are right, else the usual step.

    Args:
        times: of each frame in the order of presentation, in ticks; None: it has none.
        lasts: how long each is shown, in ticks; 0: it does not say.
        tick_sec: the unit of both.
        rate: frames per second by the container's header; 0: it does not say.
        in_order: False: the times belong to the frames, but not each to its own (AVI stores none).
    """
    known = [time for time in times if time is not None]
    if len(known) < len(times) or tick_sec <= 0:
        begins_sec = _regular(times, tick_sec, rate)
    else:
        ticks = np.array(known, dtype=np.int64)
        continued = _continued(ticks if in_order else np.sort(ticks))
        begins_sec = np.asarray(continued * tick_sec, dtype=np.float64)
    count = len(begins_sec)
    if count == 0:
        return Timing(begins_sec, 0.0, 0.0)
    if rate > 0 and _explains(rate, begins_sec, tick_sec):
        return Timing(begins_sec, count / rate, rate)
    steps_sec, lasts_sec = np.diff(begins_sec), np.array(lasts, dtype=np.float64) * tick_sec
    last_sec = float(np.median(steps_sec)) if count > 1 else 0.0
    if lasts_sec[-1] > 0 and (np.abs(lasts_sec[:-1] - steps_sec) <= 1.01 * tick_sec).all():
        last_sec = float(lasts_sec[-1])
    elif count == 1 and rate > 0:
        last_sec = 1 / rate
    end_sec = float(begins_sec[-1]) + last_sec
    fps = (count - 1) / float(begins_sec[-1]) if begins_sec[-1] > 0 else 1 / last_sec if last_sec > 0 else 0.0
    return Timing(begins_sec, end_sec, fps)


def _explains(rate: float, begins_sec: NDArray[np.float64], tick_sec: float) -> bool:
    """Whether frames are shown at this rate, as exactly as ticks can say it."""
    off_sec = np.abs(begins_sec - np.arange(len(begins_sec)) / rate)
    return len(begins_sec) > 1 and bool(off_sec.max() <= min(1.01 * tick_sec, SAME_STEP / rate))


def _continued(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times from the first on; where a clock starts anew, as in joined recordings, they go on by the usual step."""
    steps = np.diff(ticks)
    forward = steps[steps >= 0]
    usual = int(np.median(forward)) if len(forward) else 1
    return np.concatenate([[0], np.cumsum(np.where(steps < 0, usual, steps))]).astype(np.int64)


def _regular(times: Times, tick_sec: float, rate: float) -> NDArray[np.float64]:
    """Times of frames some of which have none: between those that have one, at equal steps."""
    places = [place for place, time in enumerate(times) if time is not None]
    count = len(times)
    if len(places) < 2 or tick_sec <= 0:
        return np.arange(count) / rate if rate > 0 else np.zeros(count)
    ticks = _continued(np.array([times[place] for place in places], dtype=np.int64))
    step = ticks[-1] / (places[-1] - places[0])
    ends = ticks[0] - places[0] * step, ticks[-1] + (count - 1 - places[-1]) * step
    filled = np.interp(np.arange(count), [0, *places, count - 1], [ends[0], *ticks, ends[1]])
    return np.asarray((filled - filled[0]) * tick_sec, dtype=np.float64)
