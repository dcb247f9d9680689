"""How fast a training goes, and which of its two halves is short: the clips or the computing."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Batch = TypeVar("Batch")


class StepTimer:
    """The time that the steps of an epoch take, and how much of it they wait for their batches."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._waited = 0.0

    def waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the time until each is there counts as waiting.

        A GPU may have steps in its queue meanwhile: then it waits less than this says, never more.
        """
        arriving = iter(batches)
        while True:
            asked = time.monotonic()
            try:
                batch = next(arriving)
            except StopIteration:
                return
            finally:
                self._waited += time.monotonic() - asked
            yield batch

    @property
    def wait_share(self) -> float:
        """The share of the time since it was made that was waited."""
        return self._waited / (time.monotonic() - self._started)
