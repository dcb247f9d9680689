"""What documents show of a screen: their blocks, and whether what a command prints is what they show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCTESTED = ("docs/python.md", "README.md")  # their `python` blocks: tests/test_python.py runs them
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)
FIGURE = r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
PROGRESS = re.compile(r"\d+%\|")  # a line of tqdm


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}: {self.text.strip().splitlines()[0]}"


@dataclass(frozen=True)
class Typed:
    """A command of a `console` block, and the lines that the document shows after it."""

    line: str
    shown: str


def blocks(document: Path, *languages: str) -> list[Block]:
    """A document's blocks in order; of these languages, if any are named."""
    found = BLOCK.findall(document.read_text(encoding="utf-8"))
    return [Block(document, language, text) for language, text in found if not languages or language in languages]


def screen(document: Path) -> Iterator[Typed]:
    """The commands of a document's `console` blocks; a block without one shows more of the command before it."""
    line, shown = "", ""
    for block in blocks(document, "console"):
        for part in re.split(r"^(?=\$ )", block.text.replace("\\\n", ""), flags=re.M):
            if part.startswith("$ "):
                if line:
                    yield Typed(line, shown)
                line, _, shown = part[2:].partition("\n")
            else:
                shown += f"...\n{part}" if part.strip() else ""
    if line:
        yield Typed(line, shown)


def missing(shown: str, printed: str, *, figures: bool, names: set[str] = frozenset()) -> list[str]:
    """The passages of what is shown that are not printed, in that order; none if a document is right.

    A passage goes from one line `...` to the next; within it, all lines must follow one another, however they are
    wrapped, and `...` in a line stands for anything. With `figures` numbers may be others: they were measured. Each of
    `names` may be another of them.
    """
    lines = [line for line in printed.replace("\r", "\n").splitlines() if not PROGRESS.search(line)]
    rest, lost = " ".join(" ".join(lines).split()), []
    for passage in re.split(r"^\s*(?:\.\.\.|…)\s*$", shown, flags=re.M):
        words = " ".join(passage.split())
        if not words:
            continue
        if found := re.search(_pattern(words, figures=figures, names=names), rest):
            rest = rest[found.end() :]
        else:
            lost.append(words)
    return lost


def _pattern(words: str, *, figures: bool, names: set[str]) -> str:
    either = rf"(?:{'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})" if names else r"(?!)"
    parts = re.split(rf"(\.\.\.|…|\b{either}\b|{FIGURE})", words)
    pattern = ""
    for number, part in enumerate(parts):
        if number % 2 == 0:
            pattern += re.escape(part)
        elif part in ("...", "…"):
            pattern += ".*?"
        elif re.fullmatch(either, part):
            pattern += either
        else:
            pattern += FIGURE if figures else re.escape(part)
    return pattern
