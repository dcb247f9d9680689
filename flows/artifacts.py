"""What an operator sees of a run beside its log: artifacts, shown on the run's page in Prefect."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
from flows.graph import ROOT
from flows.processes import CommandError
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

METRICS = "reports/evaluation/metrics.json"
MOST_CERTAIN = 5  # classes; with no more, top-5 is always right
# the line that training/loop.py writes after each epoch
EPOCH_LINE = re.compile(r"(?P<role>teacher|student): epoch (?P<done>\d+) of (?P<epochs>\d+): (?P<figures>.*)")


class TrainingProgress:
    """Shows the epochs of a training while it runs: for each role a bar, and under it a table."""

    def __init__(self) -> None:
        self.bars: dict[str, UUID] = {}
        self.epochs: dict[str, list[dict[str, str]]] = {}

    def see(self, line: str) -> None:
        """Take a line of a stage's output; lines that end no epoch are passed over."""
        found = EPOCH_LINE.search(line)
        if found is None:
            return
        role, done, epochs, figures = found.groups()
        rows = self.epochs.setdefault(role, [])
        rows.append({"epoch": f"{done} of {epochs}"} | dict(part.rsplit(" ", 1) for part in figures.split(", ")))
        percent = 100 * int(done) / int(epochs)
        table = f"Training of the {role}.\n\n{pd.DataFrame(rows).to_markdown(index=False)}"
        try:
            if role in self.bars:
                update_progress_artifact(self.bars[role], progress=percent, description=table)
            else:
                bar = create_progress_artifact(percent, key=f"{role}-progress", description=table)
                assert isinstance(bar, UUID)
                self.bars[role] = bar
        except httpx.HTTPError as error:  # a server that is away must not end a training
            get_run_logger().warning(f"the progress of the {role} cannot be shown: {error}")


def publish_results(read: Callable[[str], str], page: Path) -> None:
    """Artifacts of a finished run: accuracy, epochs, validation, the report and a link to its page.

    Args:
        read: gives the text of an output, by its path in the project.
        page: the HTML report, as a file.
    """
    rows = accuracy_rows(json.loads(read(METRICS)))
    create_table_artifact(key="accuracy", table=rows, description="Accuracy of teacher and student.")
    for role in ("teacher", "student"):
        epochs = pd.read_csv(io.StringIO(read(f"reports/{role}.csv"))).round(4)
        columns = {str(name): epochs[name].tolist() for name in epochs}
        create_table_artifact(key=f"{role}-epochs", table=columns, description=f"Epochs of the {role}.")
    checked = json.loads(read("reports/validation/result.json"))
    facts = "\n".join(f"- {name}: {value}" for name, value in checked["facts"].items() if name != "unused")
    create_markdown_artifact(
        key="validation", markdown=f"{checked['expectations']} expectations hold.\n\n{facts}", description="The index."
    )
    create_markdown_artifact(key="report", markdown=read("reports/accuracy.md"), description="The accuracy report.")
    create_link_artifact(
        key="report-page",
        link=page.as_uri(),
        link_text=str(page.relative_to(ROOT)),
        description=f"The report with its pictures: `{page}` on the machine that ran it.",
    )


def accuracy_rows(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """metrics.json as a table: a row for each role and each sampling."""
    return [
        {
            "network": role,
            "sampling": sampling,
            "top-1": f"{figures['top1']:.2%}",
            "95 % interval": f"{figures['top1_low']:.1%} to {figures['top1_high']:.1%}",
        }
        | _judged(figures)
        | {"videos": str(figures["videos"])}
        for role, samplings in metrics.items()
        for sampling, figures in samplings.items()
    ]


def _judged(figures: dict[str, Any]) -> dict[str, str]:
    """What runs before these figures existed have not: interval by group, chance; and top-5 where it says anything."""
    found = {}
    if "groups" in figures:
        found["by group"] = f"{figures['top1_low_by_group']:.1%} to {figures['top1_high_by_group']:.1%}"
        found["above chance"] = "yes" if figures["above_chance"] else f"NO ({figures['chance']:.1%})"
    if figures.get("classes", MOST_CERTAIN + 1) > MOST_CERTAIN:
        found["top-5"] = f"{figures['top5']:.2%}"
    return found


def publish_failure(name: str, error: CommandError) -> None:
    """Artifact of a failed stage: why, its last lines, and what to do."""
    lines = "\n".join(error.last_lines)
    create_markdown_artifact(
        key=f"{name}-failed",
        markdown=f"**{name}** {error.reason}.\n\n```\n{lines}\n```\n\nMend the cause and run again: finished "
        "stages are skipped, and a training goes on from its last whole epoch.",
        description=f"Why {name} failed, and what to do.",
    )
