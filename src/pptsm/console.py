"""What a person sees while a stage works: one progress bar at a time, and short notes."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

CURSOR_UP = "\x1b[A"


def progress(
    iterable: Iterable[Any] | None, what: str, unit: str, total: int | None = None, **options: Any
) -> "tqdm[Any]":
    """A progress bar with rate and ETA on stderr; in a log (no terminal) a line every ten seconds or so."""
    in_terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=what,
        unit=f" {unit}",
        total=total,
        file=sys.stderr if in_terminal else _LineWriter(),
        mininterval=0.1 if in_terminal else 10.0,
        maxinterval=10.0 if in_terminal else 60.0,
        delay=0.0 if in_terminal else 2.0,  # what is done at once needs no line in a log
        dynamic_ncols=in_terminal,
        ncols=None if in_terminal else 100,
        ascii=not in_terminal,
        **options,
    )


def note(text: str) -> None:
    """A line for the reader of the log, above any progress bar."""
    tqdm.write(text, file=sys.stderr)


class _LineWriter:
    """Turns tqdm's carriage returns into lines, so that a log stays readable."""

    def write(self, text: str) -> None:
        if text := text.replace(CURSOR_UP, "").strip("\r\n "):
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
