"""Ctrl-C and SIGTERM in a training: steps that no state holds yet are saved first, then the run leaves."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pptsm.runtime.errors import Stopped

ASKING = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Whether a training was asked to stop, and where it would go on."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.asked = 0  # the signal's number; 0: not asked
        self.has_unsaved = False  # steps that no state holds yet
        self._saved = "no step yet"

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
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
            if not self.has_unsaved or self.asked == number:
                raise self._stopped(number)
            self.asked = number

        before = {number: signal.signal(number, handle) for number in ASKING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def saved(self, what: str, asked: int) -> None:
        """Note what a state now holds.

        Args:
            what: in words.
            asked: the signal by which this process, or another that must leave with it, was asked to stop; 0: none.

        Raises:
            Stopped: there was one.
        """
        self._saved, self.has_unsaved = what, False
        if asked:
            raise self._stopped(asked)

    def _stopped(self, number: int) -> Stopped:
        return Stopped(
            f"{self.role}: stopped by {signal.Signals(number).name}; saved is {self._saved}, and the same command goes "
            "on from there.",
            number,
        )
