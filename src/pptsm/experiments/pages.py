"""The page of a comparison: one file, with a picture of accuracy against latency."""

from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.experiments import table
from pptsm.experiments.compare import Compared, as_values
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
