"""`make experiments`: what the experiments of the last commit changed, and what came of it, in 120 columns.

    python flows/compare.py

`dvc exp show` has a column for every parameter and every figure, hundreds in all. Here stand the parameters that differ
from the commit, and the accuracy with its interval. An experiment that was left before its end has no figures: DVC
shows those of the commit for it.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from flows.artifacts import accuracy_rows
from flows.revisions import GRAPH, LOCK, PARAMS, shown_experiments, unfinished, unfinished_stages
from ruamel.yaml import YAML

from pptsm.orchestration.command import CommandError

WIDTH = 120
NAME_WIDTH = 22
WORKSPACE = "workspace"
COLUMNS = ("experiment", "differs from the commit in", "network", "sampling", "top-1", "95 % interval", "by group")


def main() -> int:
    """Print the table; 1 where DVC cannot tell."""
    try:
        table = compared(list(rows_of(shown_experiments())))
    except CommandError as error:
        print(f"error: {error}; its last lines: {' | '.join(error.last_lines[-3:])}", file=sys.stderr)
        return 1
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns) if sys.stdout.isatty() else WIDTH
    Console(width=width).print(table)
    print("To take one over: dvc exp apply NAME. To go back to the commit: git restore . && dvc checkout")
    return 0


def rows_of(shown: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """The rows of the table: one per network and sampling; one alone for what did not run.

    Args:
        shown: what `dvc exp show --json` says.
    """
    workspace, *commits = shown
    before = _values(commits[0]["data"]) if commits and commits[0]["data"] else {}
    yield from _rows("(checkout)", workspace["data"], before, _left_in_checkout())
    for commit in commits:
        yield from _rows(f"(commit {commit['rev'][:7]})", commit["data"], before, unfinished_stages(commit["rev"]))
        for experiment in commit["experiments"] or []:
            trial = experiment["revs"][-1]
            name = trial["name"] or trial["rev"][:7]
            if trial["data"] is None or experiment["executor"]:
                state = (experiment["executor"] or {}).get("state", "failed")
                yield {"experiment": name, "network": state}
            else:
                yield from _rows(name, trial["data"], before, unfinished_stages(trial["rev"]))


def _rows(name: str, data: dict[str, Any] | None, before: dict[str, Any], left: list[str]) -> Iterator[dict[str, str]]:
    values = _values(data or {})
    changed = [
        f"{key}={value}" for key, value in values.items() if before.get(key, value) != value or key not in before
    ]
    changed += [f"without {key}" for key in before if key not in values]
    head = {"experiment": name, "differs from the commit in": "\n".join(changed)}
    figures: dict[str, Any] = {}
    for file in ((data or {}).get("metrics") or {}).values():
        figures |= file.get("data") or {}
    if left:
        yield head | {"network": "did not run", "sampling": left[0]}
    elif not figures:
        yield head | {"network": "no figures"}
    else:
        for row in accuracy_rows(figures):
            yield head | row
            head = {}


def _values(data: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a revision, a key with dots for each plain value."""
    found: dict[str, Any] = {}
    for file in (data.get("params") or {}).values():
        found |= _flat(file.get("data") or {}, "")
    return found


def _flat(values: dict[str, Any], above: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
    return found


def _left_in_checkout() -> list[str]:
    texts = [
        (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).exists() else "" for name in (GRAPH, LOCK, PARAMS)
    ]
    graph, lock, values = (YAML(typ="safe").load(text) or {} for text in texts)
    return unfinished(graph["stages"], lock.get("stages", {}), values)


def compared(rows: list[dict[str, str]]) -> Table:
    """The table of rows; what no row has is no column."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        if any(row.get(name) for row in rows):
            wide = name in COLUMNS[:2]
            longest = max(len(line) for row in rows for line in row.get(name, "").split("\n"))
            least = min(longest, NAME_WIDTH) if wide else None  # what is not torn can be copied
            table.add_column(name, overflow="fold", no_wrap=not wide, min_width=least)
    for number, row in enumerate(rows):
        begins = bool(row.get("experiment")) and number > 0
        if begins:
            table.add_section()
        table.add_row(*(escape(row.get(str(column.header), "")) for column in table.columns))
    return table


if __name__ == "__main__":
    sys.exit(main())
