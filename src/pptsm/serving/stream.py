"""What a camera, an address or standard input shows, while it goes on: answers to windows, then segments.

The frames are read in a process that never waits for the network with a source that comes as it happens; windows that
come while the network works are dropped, but for the newest, and counted. So an answer lags by at most one window and
the time that the network takes. What stalls is ended with its process; what breaks is opened again.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from pptsm.data.spec import ClipSpec
from pptsm.evaluation.metrics import ranking
from pptsm.params.choices import Sampling
from pptsm.runtime.feed import FeedFailure, live_feed
from pptsm.serving.timeline import Window, WindowScorer, windows_of
from pptsm.serving.windows import DIGITS, Grid, Merger, Segment
from pptsm.video.live import Source, SourceBroke, live_frames
from pptsm.video.types import Presented, VideoError

FIRST_PAUSE_SEC, LONGEST_PAUSE_SEC = 1.0, 30.0  # before a source is opened again; doubled with each try

Event = dict[str, Any]  # a line of the answer


@dataclass(frozen=True)
class Patience:
    """How long a source is waited for."""

    stall_sec: float  # one that sends nothing for so long is taken to have broken
    reconnect: int  # how often in a row one that has broken is opened again
    pause_sec: float = FIRST_PAUSE_SEC


class LiveWindow(NamedTuple):
    """A window of a source, and when its connection began."""

    window: Window
    opened_at: float  # by `time.monotonic`

    @property
    def due_at(self) -> float:
        """When a camera has shown all of it, at the soonest."""
        return self.opened_at + self.window.end_sec


def live_windows(
    source: Source, stdin: Connection | None, spec: ClipSpec, sampling: Sampling, grid: Grid
) -> Iterator[LiveWindow]:
    """The windows of a source, for `live_feed`; those that were complete when it broke come before the error."""
    opened_at = 0.0
    broke: list[SourceBroke] = []

    def frames() -> Iterator[Presented]:
        nonlocal opened_at
        try:
            for at, frame in live_frames(source, None if stdin is None else stdin.fileno()):
                opened_at = at
                yield frame
        except SourceBroke as error:
            broke.append(error)

    try:
        for window in windows_of(frames(), spec, sampling, grid):
            yield LiveWindow(window, opened_at)
    except MemoryError:
        raise VideoError(
            f"its frames do not fit into memory, where those of {grid.length_sec:g} s are kept at once (--window)"
        ) from None
    if broke:
        raise broke[0]


class Stream:
    """Asks the network about a source as it goes on, and says what it found as events.

    Times are seconds since the first frame of the first connection: within a connection by its frames' own times, from
    one to the next by the clock.

    Args:
        scorer: the network; or whatever answers a window as `WindowScorer` does.
        grid: of the windows, anew from the first frame of each connection.
        threshold, smooth: as `Merger` takes them.
        top_k: how many classes an answer names.
    """

    def __init__(self, scorer: WindowScorer, grid: Grid, threshold: float, smooth: int, top_k: int) -> None:
        self._scorer, self._grid, self._top_k = scorer, grid, top_k
        self._merger = Merger(scorer.labels, grid, threshold, smooth)
        self._first_at: float | None = None
        self._end_sec = 0.0
        self._counts = {"windows": 0, "dropped": 0, "gaps": 0}

    def events(
        self, source: Source, patience: Patience, pause: Callable[[float], None] = time.sleep
    ) -> Iterator[Event]:
        """What is found, line by line, until the source ends; `closing` gives the rest, whatever ended it.

        Raises:
            VideoError: the source cannot be read, or broke once more than `patience` allows.
        """
        tries, reason = 0, ""
        while True:
            before = self._counts["windows"]
            try:
                yield from self._connection(source, patience, reason)
                return
            except SourceBroke as error:
                reason = str(error)
            except VideoError as error:  # no other try would help
                raise VideoError(f"{source.shown} cannot be read: {error}.") from None
            except FeedFailure as error:
                reason = f"nothing came for {patience.stall_sec:g} s" if error.silent else str(error)
            tries = 1 if self._counts["windows"] > before else tries + 1
            again = source.kind != "stdin" and tries <= patience.reconnect
            if not again:
                raise VideoError(f"{source.shown}: {reason}; {self._said(patience, source)}")
            yield {"event": "broken", "at": round(self._end_sec, DIGITS), "reason": reason, "try": tries}
            pause(min(LONGEST_PAUSE_SEC, patience.pause_sec * 2 ** (tries - 1)))

    def closing(self) -> Iterator[Event]:
        """The segments that are still open, and the counts."""
        yield from self._segments(self._merger.finish()[1])
        yield {"event": "end", **self._counts}

    def _connection(self, source: Source, patience: Patience, broke: str) -> Iterator[Event]:
        stdin = Connection(os.dup(0), writable=False) if source.kind == "stdin" else None
        arguments = (source, stdin, self._scorer.clip, self._scorer.sampling, self._grid)
        offset_sec: float | None = None
        with live_feed(live_windows, arguments, patience.stall_sec) as results:
            for taken in results:
                window, opened_at = taken.result
                if offset_sec is None:
                    self._first_at = opened_at if self._first_at is None else self._first_at
                    offset_sec = max(opened_at - self._first_at, self._end_sec)  # it may have run ahead of the clock
                    if broke:
                        yield from self._gap(offset_sec, broke)
                yield from self._answer(window, offset_sec, taken.dropped, taken.result.due_at)

    def _gap(self, begin_sec: float, reason: str) -> Iterator[Event]:
        self._counts["gaps"] += 1
        yield from self._segments(self._merger.finish()[1])
        gap = {"start": round(self._end_sec, DIGITS), "end": round(begin_sec, DIGITS)}
        yield {"event": "gap", **gap, "reason": reason}

    def _answer(self, window: Window, offset_sec: float, dropped: int, due_at: float) -> Iterator[Event]:
        scores, _ = self._scorer(window)
        start_sec, self._end_sec = window.start_sec + offset_sec, window.end_sec + offset_sec
        self._counts["windows"] += 1
        self._counts["dropped"] += dropped
        labels = self._scorer.labels
        best = ranking(scores[None], self._top_k)[0]
        yield {
            "event": "window",
            "start": round(start_sec, DIGITS),
            "end": round(self._end_sec, DIGITS),
            "top": [{"label": labels[which], "score": round(float(scores[which]), DIGITS)} for which in best],
            "dropped": dropped,
            "lag_sec": round(max(0.0, time.monotonic() - due_at), 3),
        }
        yield from self._segments(self._merger.add(start_sec, self._end_sec, scores)[1])

    @staticmethod
    def _segments(segments: list[Segment]) -> Iterator[Event]:
        for one in segments:
            bounds = [one.start_sec, one.end_sec]
            yield {"event": "segment", "label": one.label, "score": one.score, "segment": bounds}

    @staticmethod
    def _said(patience: Patience, source: Source) -> str:
        if source.kind == "stdin":
            return "what comes by standard input cannot be opened again."
        return f"it is opened again {patience.reconnect} times in a row at most (--reconnect)."
