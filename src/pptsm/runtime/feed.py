"""A process that can be killed and hands over one result after another, where a pool's job hands over one.

What decodes a long video or a camera runs in it. Two ways: `feed` waits for who takes the results; `live_feed` never
waits with a source that comes as it happens: of results that nobody has taken only the newest stays.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Generic, Protocol, TypeVar

from pebble.pool.process import WORKERS_NAME

from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import heartbeat, in_a_killable_process, limit_memory, watch_for_stopped, watchdog

LOOK_SEC = 0.05  # between two looks at whether a result that waits was taken
ENDING_SEC = 5.0  # that a process which has said its last word may take to end

Result = TypeVar("Result")


class FeedFailure(UserError):  # noqa: N818 (as JobFailure, whose place it takes here)
    """The process gives no more results; the sentence says why."""

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent  # it gave no sign of life for too long


@dataclass(frozen=True)
class Taken(Generic[Result]):
    """A result of a live source."""

    result: Result
    dropped: int  # results before it, and after the one that was taken before, that came too fast


class Timed(Protocol):
    """A result that says when it would be there, at the soonest, if its source came as it happens."""

    @property
    def due_at(self) -> float:
        """By `time.monotonic`."""


@contextmanager
def feed(work: Callable[..., Iterator[Result]], arguments: tuple[Any, ...], limit_sec: float) -> Iterator[Any]:
    """The results of `work(*arguments)`, a generator that runs in a process of its own, one result ahead.

    Args:
        work: a function of a module; it calls `heartbeat` while it works.
        arguments: of it.
        limit_sec: the process is ended where it gives no sign of life for so long; 0: never.

    Raises (while the results are taken):
        FeedFailure: the process was ended, or crashed.
        Exception: whatever `work` raised.
    """
    with _process(_send_each, work, arguments, limit_sec) as (process, connection):
        yield _received(process, connection, ask=False)


@contextmanager
def live_feed(work: Callable[..., Iterator[Timed]], arguments: tuple[Any, ...], limit_sec: float) -> Iterator[Any]:
    """As `feed`, of a source that goes on whether or not its results are taken: an iterator of `Taken`.

    A source that comes faster than it is shown (a file behind an address) is kept waiting, as long as it is ahead of
    the clock; one that comes as it happens never is, and of its results the newest takes the place of one that waits.
    """
    with _process(_send_newest, work, arguments, limit_sec) as (process, connection):
        yield _received(process, connection, ask=True)


@contextmanager
def _process(
    target: Callable[..., None], work: Callable[..., Any], arguments: tuple[Any, ...], limit_sec: float
) -> Iterator[tuple[Any, Connection]]:
    watch_for_stopped()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, work, arguments, limit_sec), name=WORKERS_NAME, daemon=True)
    process.start()
    there.close()  # so that its end is seen
    try:
        yield process, here
    finally:
        process.kill()
        process.join()
        here.close()


def _received(process: Any, connection: Connection, *, ask: bool) -> Iterator[Any]:
    try:
        while True:
            if ask:
                connection.send(None)
            kind, value = connection.recv()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    except (EOFError, ConnectionError):
        process.join(ENDING_SEC)
        if process.exitcode == -signal.SIGALRM:
            raise FeedFailure("the decoder hung", silent=True) from None
        raise FeedFailure(f"the decoder crashed (exit code {process.exitcode})") from None


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, and ends this one too
    in_a_killable_process()
    limit_memory()


def _send_each(connection: Connection, work: Callable[..., Iterator[Any]], arguments: Any, limit_sec: float) -> None:
    _begin()
    for message in _messages(work, arguments, limit_sec):
        with suppress(ConnectionError):
            connection.send(message)


def _messages(work: Callable[..., Iterator[Any]], arguments: Any, limit_sec: float) -> Iterator[tuple[str, Any]]:
    """What `work` gives, and how it ended; the time that the reader takes is not the decoder's."""
    try:
        results = work(*arguments)
        while True:
            with watchdog(limit_sec):
                try:
                    result = next(results)
                except StopIteration:
                    break
            yield "result", result
        yield "end", None
    except Exception as error:  # it is raised where results are taken
        yield "error", error


def _send_newest(connection: Connection, work: Callable[..., Iterator[Any]], arguments: Any, limit_sec: float) -> None:
    _begin()
    place = _Place()
    sender = threading.Thread(target=_send_on_demand, args=(connection, place), daemon=True)
    sender.start()
    for kind, value in _messages(_waiting_if_ahead, (place, work, arguments), limit_sec):
        if kind != "result":
            place.close((kind, value))
    sender.join()


def _waiting_if_ahead(place: "_Place", work: Callable[..., Iterator[Timed]], arguments: Any) -> Iterator[None]:
    for result in work(*arguments):
        while place.occupied and time.monotonic() < result.due_at:
            heartbeat()
            time.sleep(LOOK_SEC)
        place.put(result)
    while place.occupied:  # the last one is not overtaken by the end
        heartbeat()
        time.sleep(LOOK_SEC)
    yield from ()


class _Place:
    """Room for one result, which a newer one replaces."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._result: Any = None
        self._dropped = 0
        self._last: tuple[str, Any] | None = None
        self.occupied = False

    def put(self, result: Any) -> None:
        with self._changed:
            self._dropped += self.occupied
            self._result, self.occupied = result, True
            self._changed.notify()

    def close(self, last: tuple[str, Any]) -> None:
        with self._changed:
            self._last = last
            self._changed.notify()

    def take(self) -> tuple[str, Any]:
        with self._changed:
            self._changed.wait_for(lambda: self.occupied or self._last is not None)
            if not self.occupied:
                assert self._last is not None
                return self._last
            taken = Taken(self._result, self._dropped)
            self._result, self._dropped, self.occupied = None, 0, False
            return "result", taken


def _send_on_demand(connection: Connection, place: _Place) -> None:
    with suppress(EOFError, ConnectionError):
        while True:
            connection.recv()
            message = place.take()
            connection.send(message)
            if message[0] != "result":
                return
