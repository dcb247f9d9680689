"""Nothing stands still for long without a word: what is waited for, and for how many seconds so far."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

SERVER_START_SEC = 300  # Prefect's own 20 are few: on a busy machine a new database alone took a minute
SILENCE_SEC = 5.0  # nobody wonders for so long


@contextlib.contextmanager
def waiting_for(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """While the context lasts, say every few seconds what it waits for; what is done at once needs no line."""
    started, done = time.monotonic(), threading.Event()

    def report() -> None:
        while not done.wait(SILENCE_SEC):
            say(f"waiting for {what} ({time.monotonic() - started:.0f} s)")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
