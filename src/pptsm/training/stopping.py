"""Ctrl-C and SIGTERM in a training: steps that no state holds yet are saved first, then the run leaves."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from pptsm.errors import Stopped

ASKING = (signal.SIGINT, signal.SIGTERM)

Item = TypeVar("Item")


class Stopping:
    """Whether a training was asked to stop, and where it would go on."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._asked = 0  # the signal's number; 0: not asked
        self._has_unsaved = False
        self._saved = "no step yet"

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Obey the signals at once while all is saved, and else at the next save; a second one of a kind at once.

        The second kind (an orchestrator sends SIGTERM when SIGINT was not enough) leaves the save its time.

        Raises:
            Stopped: out of whatever runs when a signal is obeyed at once.
        """
        if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
            yield
            return
        process = os.getpid()

        def handle(number: int, _: FrameType | None) -> None:
            if os.getpid() != process:  # a process forked from this one, which ends it
                return
            if not self._has_unsaved or self._asked == number:
                raise self._stopped(number)
            self._asked = number

        before = {number: signal.signal(number, handle) for number in ASKING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def until_asked(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches of steps, whose results count as unsaved; they end early when the run was asked to stop."""
        ahead = iter(batches)
        self._has_unsaved = True
        while not self._asked:
            try:
                batch = next(ahead)
            except StopIteration:
                return
            except Exception:
                if self._asked:  # the signal went to the processes that prepare batches too
                    return
                raise
            yield batch

    def saved(self, what: str) -> None:
        """Note what a state now holds.

        Raises:
            Stopped: the run was asked to stop meanwhile.
        """
        self._saved, self._has_unsaved = what, False
        if self._asked:
            raise self._stopped(self._asked)

    def _stopped(self, number: int) -> Stopped:
        return Stopped(
            f"{self.role}: stopped by {signal.Signals(number).name}; saved is {self._saved}, and the same command goes "
            "on from there.",
            number,
        )
