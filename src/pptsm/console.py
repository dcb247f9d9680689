"""What a person sees while a stage works: one progress bar at a time, and short notes."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

CURSOR_UP = "\x1b[A"
EPOCH = re.compile(r"(?P<network>\w+): epoch (?P<done>\d+) of (?P<epochs>\d+): (?P<figures>.*)")


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


def say(text: str) -> None:
    """Part of a command's answer, on stdout at once, beside any progress bar."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


@dataclass(frozen=True)
class Epoch:
    """What the line of a finished epoch says."""

    network: str
    done: int
    epochs: int
    figures: dict[str, str]


def note_epoch(network: str, done: int, epochs: int, figures: dict[str, float]) -> None:
    """The line of a finished epoch, which `read_epoch` reads again."""
    note(f"{network}: epoch {done} of {epochs}: {', '.join(f'{name} {value:.4g}' for name, value in figures.items())}")


def read_epoch(line: str) -> Epoch | None:
    """What `note_epoch` wrote; None for any other line."""
    found = EPOCH.search(line)
    if found is None:
        return None
    figures = dict(part.rsplit(" ", 1) for part in found["figures"].split(", "))
    return Epoch(found["network"], int(found["done"]), int(found["epochs"]), figures)


class _LineWriter:
    """Turns tqdm's carriage returns into lines, so that a log stays readable."""

    def write(self, text: str) -> None:
        if text := text.replace(CURSOR_UP, "").strip("\r\n "):
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
