"""The comparison in a terminal: at most 120 columns."""

from collections.abc import Sequence
from io import StringIO
from typing import Any

from pptsm.evaluation.over_seeds import OverSeeds
from pptsm.experiments.compare import Compared, Row, Setting

WIDTH = 120
NAME_WIDTH, DIFFERS_WIDTH = 17, 19
MOST_CHANGES = 8  # lines of a row; the page and --json have all
NONE = "–"
HEAD = ("experiment", "differs in", "top-1", "by video", "by group", "gain, points", "p", "min", "MB", "ms")
SETTINGS = ("setting", "seeds", "mean top-1", "95 % over seeds", "each seed", "gain, points, over seeds")
OF_ROWS = (
    "top-1 in %, with 95 % intervals by video and by group; gain over the baseline on the same videos with its 95 % "
    "interval by group; p: exact test of McNemar, each alone; min: minutes of training; MB and ms of a clip: the "
    "exported file."
)
OF_SETTINGS = (
    "Over seeds: Student's t interval of the mean. It covers initial weights, order and crops, not the choice of the "
    "videos; one seed has none. Gain: seed by seed against the baseline's setting."
)


def as_text(compared: Compared, width: int = WIDTH) -> str:
    """The tables, and below them what could not be compared and why."""
    lines = [_drawn(HEAD, [_cells(row) for row in compared.rows], wide=2, width=width)]
    lines.append(_folded(OF_ROWS, width))
    if compared.settings:
        lines += ["", _drawn(SETTINGS, [_setting_cells(each) for each in compared.settings], wide=1, width=width)]
        lines.append(_folded(OF_SETTINGS, width))
    lines += ["", *(_folded(line, width) for line in notes(compared))]
    return "\n".join(lines)


def notes(compared: Compared) -> list[str]:
    """Sentences on what the table cannot show."""
    found = []
    if compared.baseline is None:
        found.append(f"No baseline, so no gain and no test: {compared.no_baseline}. --against EXP names another one.")
    else:
        found.append(f"The baseline is {compared.baseline}.")
    if len(compared.rows) == 1 and compared.rows[0].experiment.kind == "commit":
        found.append("There are no experiments of this commit: `dvc exp run -S sampling=dense` makes one.")
    found += [f"{row.experiment.name}: {row.not_paired}." for row in compared.rows if row.not_paired]
    for row in compared.rows:
        if row.other_training:
            found.append(f"{row.experiment.name}: the same test videos, but trained on others: its gain is of both.")
        if row.figures and row.experiment.left:
            found.append(f"{row.experiment.name}: {', '.join(row.experiment.left)} did not run; costs may be missing.")
    tested = sum(row.paired is not None for row in compared.rows)
    if tested > 1:
        found.append(
            f"{tested} tests: among equals the smallest p of {tested} is small by chance; --json and the page have p "
            "values that allow for it (Holm)."
        )
    return found


def _cells(row: Row) -> list[str]:
    each, figures, paired = row.experiment, row.figures, row.paired
    changed = [f"{key}={value}" for key, value in row.differs.items()]
    if len(changed) > MOST_CHANGES:
        changed = [*changed[: MOST_CHANGES - 1], f"and {len(changed) - MOST_CHANGES + 1} more"]
    differs = "\n".join(changed)
    if figures is None:
        state = {"left": "did not run", "failed": "failed", "queued": "queued", "running": "running"}
        return [each.name, differs, state.get(each.state, "no figures"), *[""] * 7]
    cost = each.cost
    return [
        each.name,
        differs,
        f"{figures['top1'] * 100:.1f}",
        bounds(figures.get("top1_low"), figures.get("top1_high")),
        bounds(figures.get("top1_low_by_group"), figures.get("top1_high_by_group")),
        gain(paired.gain.gain, paired.gain.gain_low, paired.gain.gain_high) if paired else "",
        p_value(paired.p_value) if paired else "",
        NONE if cost.training_minutes is None else f"{cost.training_minutes:.1f}",
        NONE if cost.model_mb is None else f"{cost.model_mb:.3g}",
        NONE if cost.ms_per_clip is None else f"{cost.ms_per_clip:.3g}",
    ]


def _setting_cells(setting: Setting) -> list[str]:
    return [
        setting_name(setting),
        ", ".join(map(str, setting.seeds)),
        f"{setting.top1.mean * 100:.1f}",
        bounds(setting.top1.low, setting.top1.high),
        " ".join(f"{value * 100:.1f}" for value in setting.by_seed),
        gain_over_seeds(setting.gain),
    ]


def setting_name(setting: Setting) -> str:
    """What a setting changes; the baseline's by its name."""
    changes = "\n".join(f"{key}={value}" for key, value in setting.differs.items())
    return "(baseline)" if setting.is_baseline else changes or setting.names[0]


def gain_over_seeds(found: OverSeeds | None) -> str:
    """A mean gain in points with its interval; nothing where there is none."""
    return "" if found is None else gain(found.mean, found.low, found.high)


def bounds(low: float | None, high: float | None) -> str:
    """An interval in percent."""
    return NONE if low is None or high is None else f"{low * 100:.1f}–{high * 100:.1f}"


def gain(value: float, low: float | None, high: float | None) -> str:
    """A gain in points, with its interval."""
    if low is None or high is None:
        return f"{value * 100:+.1f}"
    return f"{value * 100:+.1f} ({low * 100:+.0f} to {high * 100:+.0f})"


def p_value(value: float) -> str:
    """A p value of three figures at most."""
    return "<0.001" if value < 0.001 else f"{value:.2g}" if value < 0.995 else "1"


def _drawn(head: Sequence[str], rows: list[list[str]], wide: int, width: int) -> str:
    """A table as text; the first `wide` columns fold, the others stay whole."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from pptsm.runtime.console import printable

    shown = [place for place in range(len(head)) if place == 0 or any(row[place] for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place in shown:
        longest = max(len(line) for row in rows for line in row[place].split("\n"))
        folds = place < wide
        least = min(longest, (NAME_WIDTH, DIFFERS_WIDTH)[place]) if folds else None
        justify: Any = "left" if folds or head[place] in ("seeds", "each seed") else "right"
        table.add_column(head[place], overflow="fold", no_wrap=not folds, min_width=least, justify=justify)
    for number, row in enumerate(rows):
        if number and any("\n" in cell for cell in (*rows[number - 1], *row)):
            table.add_section()
        table.add_row(*(escape(printable(row[place])) for place in shown))
    with StringIO() as file:
        Console(width=width, file=file).print(table)
        return file.getvalue().strip("\n")


def _folded(text: str, width: int) -> str:
    from textwrap import fill

    return fill(text, width, break_long_words=False, break_on_hyphens=False)
