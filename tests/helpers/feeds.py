"""Work for `feed` and `live_feed`, in a module that is quickly imported by the processes that do it."""

import os
import time
from collections.abc import Iterator

from pptsm.runtime.pool import heartbeat
from pptsm.video.types import VideoError


def hangs() -> object:
    yield 1
    while True:
        pass


def crashes() -> object:
    yield 1
    os.abort()


def fails() -> object:
    heartbeat()
    yield 1
    raise VideoError("no more")


class At:
    """A numbered result that is due at a time."""

    def __init__(self, number: int, due_at: float) -> None:
        self.number, self.due_at = number, due_at


def as_it_happens() -> Iterator[At]:
    """Twenty results a second, for three seconds."""
    began = time.monotonic()
    for number in range(1, 61):
        time.sleep(max(0.0, began + number / 20 - time.monotonic()))
        yield At(number, began + number / 20)


def at_once() -> Iterator[At]:
    """As many, each long before it would be due."""
    began = time.monotonic()
    for number in range(1, 61):
        yield At(number, began + number)
