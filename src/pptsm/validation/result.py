"""What a validation found: for a person, and as JSON for the report and the flows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

ROWS_SHOWN = 10  # lines of a fault, to a person
ROWS_KEPT = 50  # lines of a fault, and of the clips that take no part, in the result
Row = Any  # of a table, as pandas gives it


@dataclass(frozen=True)
class Lines:
    """The first lines of a list that may be long, at most `ROWS_KEPT`, and how many more there are."""

    first: list[str]
    more: int = 0

    def shown(self, most: int, index: Path) -> list[str]:
        """At most so many lines, and where the others are."""
        hidden = len(self.first) - most if len(self.first) > most else 0
        rest = [f"... and {hidden + self.more} more, see {index}"] if hidden + self.more else []
        return [*self.first[:most], *rest]


@dataclass(frozen=True)
class Fault:
    """A rule that does not hold, and what breaks it: clips with class, split and reason, a line each."""

    expectation: str
    what: str
    lines: Lines


@dataclass(frozen=True)
class SuiteSummary:
    """A suite in numbers: the rules that were asked, and how many of them do not hold."""

    rules: int
    faults: int
    warnings: int


@dataclass(frozen=True)
class Result:
    """What validation found; `warnings` do not stop the pipeline."""

    suites: dict[str, SuiteSummary]
    faults: list[Fault]
    warnings: list[Fault] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    unused: Lines = field(default_factory=lambda: Lines([]))
    coverage: dict[str, Any] | None = None  # as `coverage.coverage_of`

    @property
    def success(self) -> bool:
        """No rule was broken, but for those that only warn."""
        return not self.faults

    @property
    def expectations(self) -> int:
        """Number of rules."""
        return sum(suite.rules for suite in self.suites.values())


def save_result(result: Result, path: Path, index: Path) -> None:
    """Write the result as JSON, without times, so that an unchanged index gives an unchanged file.

    Args:
        result: what to write; of long lists the beginning.
        path: the file.
        index: where the whole of them is.
    """

    def kept(faults: list[Fault]) -> list[dict[str, Any]]:
        return [
            {"expectation": fault.expectation, "what": fault.what, "rows": fault.lines.shown(ROWS_KEPT, index)}
            for fault in faults
        ]

    values = {
        "success": result.success,
        "expectations": result.expectations,
        "suites": {name: vars(suite) for name, suite in result.suites.items()},
        "faults": kept(result.faults),
        "warnings": kept(result.warnings),
        "facts": result.facts,
        "unused": result.unused.shown(ROWS_KEPT, index),
        "coverage": result.coverage,
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sentences(result: Result, index: Path) -> str:
    """The faults for a person: which rule, what breaks it, at most ten lines each; the others are in `index`."""
    return "\n".join(
        "\n    ".join([f"  expected: {fault.what}; but", *fault.lines.shown(ROWS_SHOWN, index)])
        for fault in result.faults
    )


def clip_line(row: Row) -> str:
    """A row of the index: which clip, of which class, in which split; or why in none."""
    where = row["split"] or f"no split: {row['status']}, {row['reason']}"
    return f"{row['id']} (class {row['label']}, {where})"


def clip_lines(rows: pd.DataFrame, indent: str = "") -> Lines:
    """A line for each of these rows of the index."""
    shown = rows.head(ROWS_KEPT).to_dict("records")
    return Lines([f"{indent}{clip_line(row)}" for row in shown], len(rows) - len(shown))


def joined(parts: Iterator[Lines], others: int) -> Lines:
    """These lists as one; of `others` parts that follow, each counts as a line. Stops asking when it is full."""
    first: list[str] = []
    more = others
    for part in parts:
        room = ROWS_KEPT - len(first)
        first += list(islice(part.first, room))
        more += max(0, len(part.first) - room) + part.more
    return Lines(first, more)
