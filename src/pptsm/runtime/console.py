"""What a person sees while a stage works: one progress bar at a time, and short notes."""

import json
import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

# What a terminal obeys, or what makes a line look like another: control characters except line feed and tab, those that
# turn the direction of writing, line breaks of Unicode, and halves of characters.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
CURSOR_UP = "\x1b[A"
EPOCH = re.compile(r"(?P<network>\w+): epoch (?P<done>\d+) of (?P<epochs>\d+): (?P<figures>.*)")


def printable(text: str) -> str:
    r"""A text from outside (names, labels, a server's words) that a terminal shows and does not obey: ESC is \x1b.

    All that this project prints comes through it.
    """
    return UNPRINTABLE.sub(lambda found: _escaped(ord(found[0])), text)


def one_line(text: str) -> str:
    """As `printable`, and line feeds and tabs escaped too: of a name, which could else write lines of its own."""
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"))


def as_json(value: Any) -> str:
    """JSON in a line, its texts as they are but for what a terminal obeys."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def progress(
    iterable: Iterable[Any] | None, what: str, unit: str, total: int | None = None, **options: Any
) -> "tqdm[Any]":
    """A progress bar with rate and ETA on stderr; in a log (no terminal) a line every ten seconds or so."""
    from tqdm import tqdm

    in_terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=one_line(what),
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


class _BesideTheBar(logging.Handler):
    """Lines on stderr, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        _write(self.format(record), sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    """A line, beside any progress bar; where none was made, there is nothing to import for it."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=stream)
    else:
        stream.write(f"{text}\n")


def _logger() -> logging.Logger:
    """The package's: its lines go to stderr, unless a program has given it a handler before."""
    logger = logging.getLogger("pptsm")
    if not logger.handlers:
        logger.addHandler(_BesideTheBar())
        logger.propagate = False  # Paddle gives the root a handler, which would show each line twice
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return logger


LOGGER = _logger()


def note(text: str) -> None:
    """A line for the reader of the log, by the logger `pptsm`: a program that uses the package may silence it."""
    LOGGER.info("%s", printable(text))


def say(text: str) -> None:
    """Part of a command's answer, on stdout at once, beside any progress bar."""
    _write(printable(text), sys.stdout)
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
