"""The pages of a comparison and of a search: each one file, with its pictures."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.evaluation.statistics import interval
from pptsm.experiments import table
from pptsm.experiments.compare import Compared, as_values
from pptsm.experiments.space import override
from pptsm.experiments.tuning import History, Search, importances
from pptsm.report import figures
from pptsm.report.page import render, style
from pptsm.runtime.files import atomic_file


def write_page(compared: Compared, title: str, out: Path) -> None:
    """Write the page of a comparison.

    Args:
        compared: what was compared.
        title: of the project.
        out: the HTML file.
    """
    values: dict[str, Any] = as_values(compared)
    points = pd.DataFrame(
        [
            {
                "name": row.experiment.name,
                "ms": row.experiment.cost.ms_per_clip,
                "top1": row.figures["top1"],
                "low": row.figures["top1_low"],
                "high": row.figures["top1_high"],
                "baseline": row.experiment.name == compared.baseline,
            }
            for row in compared.rows
            if row.figures
        ],
        columns=["name", "ms", "top1", "low", "high", "baseline"],
    ).astype({"ms": "float64", "top1": "float64"})
    text = render(
        "compare.html",
        {
            "title": title,
            "style": style(),
            "found": values,
            "notes": table.notes(compared),
            "over_seeds": table.OF_SETTINGS,
            "names_of_settings": [table.setting_name(each) for each in compared.settings],
            "against_latency": figures.accuracy_against_latency(points),
            "bounds": table.bounds,
            "gain": table.gain,
            "p_value": table.p_value,
        },
    )
    with atomic_file(out) as partial:
        partial.write_text(text, encoding="utf-8")


def write_search(search: Search, history: History, title: str, videos: int, out: Path) -> None:
    """Write the page of a search.

    Args:
        search: what is looked for.
        history: the trials so far.
        title: of the project.
        videos: of the validation split; 0: not known.
        out: the HTML file.
    """
    best, reach = history.best, ""
    if best is not None and best.value is not None and videos:
        reach = f"{table.bounds(*interval(round(best.value * videos), videos))} % of {videos} videos"
    values = pd.DataFrame([{"number": t.number, "value": t.value} for t in history.done], columns=["number", "value"])
    text = render(
        "tuning.html",
        {
            "title": title,
            "style": style(),
            "name": search.name,
            "space": search.texts,
            "keys": [each.key for each in search.space],
            "asked": search.trials,
            "done": len(history.done),
            "failed": sum(trial.state == "failed" for trial in history.trials),
            "best": best,
            "reach": reach,
            "command": in_full(search, history),
            "history": figures.tuning_history(values),
            "importances": importances(search, history),
            "trials": history.trials,
        },
    )
    with atomic_file(out) as partial:
        partial.write_text(text, encoding="utf-8")


def in_full(search: Search, history: History) -> str:
    """The command that runs the best settings to the end; empty without any."""
    if history.best is None:
        return ""
    settings = " ".join(f"-S {shlex.quote(override(*each))}" for each in history.best.settings.items())
    return f"dvc exp run --temp -n {search.name}-best {settings}"
