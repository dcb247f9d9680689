"""What an operator sees of a run beside its log: artifacts, shown on the run's page in Prefect."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
from flows.graph import ROOT, graph, page_of, said_of
from prefect import get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from pptsm.experiments.revisions import metrics_of, text_of
from pptsm.orchestration.running import CommandError, lines_of
from pptsm.runtime.console import read_epoch

STAGE = re.compile(r"^(?:Running stage|Stage) '(?P<name>.+)'(?::| didn't change| is cached)")
MOST_CERTAIN = 5  # classes; with no more, top-5 is always right


class TrainingProgress:
    """Shows the epochs of a training while it runs: for each network a bar, and under it a table."""

    def __init__(self) -> None:
        self.bars: dict[str, UUID] = {}
        self.epochs: dict[str, list[dict[str, str]]] = {}

    def see(self, line: str) -> None:
        """Take a line of a stage's output; lines that end no epoch are passed over."""
        if (epoch := read_epoch(line)) is None:
            return
        rows = self.epochs.setdefault(epoch.network, [])
        rows.append({"epoch": f"{epoch.done} of {epoch.epochs}"} | epoch.figures)
        percent = 100 * epoch.done / epoch.epochs
        table = f"Training of the {epoch.network}.\n\n{pd.DataFrame(rows).to_markdown(index=False)}"
        try:
            if epoch.network in self.bars:
                update_progress_artifact(self.bars[epoch.network], progress=percent, description=table)
            else:
                bar = create_progress_artifact(percent, key=f"{epoch.network}-progress", description=table)
                assert isinstance(bar, UUID)
                self.bars[epoch.network] = bar
        except httpx.HTTPError as error:  # a server that is away must not end a training
            get_run_logger().warning(f"the progress of the {epoch.network} cannot be shown: {error}")


def run_shown(
    name: str, command: list[str], timeout_sec: float, environment: Mapping[str, str] | None = None
) -> list[str]:
    """Run a command of DVC for a task: its lines in the run's log, epochs as bars, its failure as an artifact.

    Returns:
        The names of the stages that DVC ran for it, or whose outputs it took from its cache.

    Raises:
        CommandError: it failed; why, its last lines and what to do are published first.
    """
    changed: list[str] = []
    with closing(lines_of(command, cwd=ROOT, timeout_sec=timeout_sec, environment=environment)) as lines:
        _show(name, lines, changed=changed)
    return changed


def run_stage_by_stage(
    name: str, command: list[str], timeout_sec: float, environment: Mapping[str, str] | None = None
) -> None:
    """The same of a command that runs the whole graph: each stage in a task of its own, after one for what precedes.

    Raises:
        CommandError: as `run_shown`, out of the task of the stage that failed.
    """

    stage, begin = name, ""

    def follow() -> None:
        nonlocal begin
        begin = _show(stage, lines, begin, until_next=True)

    following = task(follow).with_options(cache_policy=NO_CACHE)
    with closing(lines_of(command, cwd=ROOT, timeout_sec=timeout_sec, environment=environment)) as lines:
        following.with_options(name=stage, task_run_name=stage)()
        while found := STAGE.match(begin):
            stage = found["name"]
            following.with_options(name=stage, task_run_name=stage)()


def _show(
    name: str, lines: Iterator[str], first: str = "", until_next: bool = False, changed: list[str] | None = None
) -> str:
    """Show what a command writes for a stage.

    Args:
        name: of the stage.
        lines: what the command writes from now on.
        first: a line of it that was read before.
        until_next: whether to stop at the line by which DVC begins with another stage.
        changed: gets the names of stages whose outputs DVC made anew.

    Returns:
        That line; "" at the end of the lines.

    Raises:
        CommandError: as `run_shown`.
    """
    shown, logger = TrainingProgress(), get_run_logger()
    if first:
        logger.info(first)
    try:
        for line in lines:
            found = STAGE.match(line)
            if found and until_next:
                return line
            logger.info(line)
            shown.see(line)
            if found and changed is not None and "didn't change" not in line:
                changed.append(found["name"])
    except CommandError as error:
        last = "\n".join(error.last_lines)
        create_markdown_artifact(
            key=f"{name.replace('_', '-')}-failed",
            markdown=f"**{name}** {error.reason}.\n\n```\n{last}\n```\n\nMend the cause and run again: finished "
            "stages are skipped, and a training goes on from its last state.",
            description=f"Why {name} failed, and what to do.",
        )
        raise
    return ""


def publish_results(stages: list[str], experiment: str | None = None, revision: str | None = None) -> None:
    """Artifacts of finished stages: their metrics, and what dvc.yaml's `meta` has them publish.

    Args:
        stages: names.
        experiment: whose they are; None: of this checkout.
        revision: that of the experiment.
    """
    for stage in stages:
        if "metrics" in graph()[stage]:
            rows = accuracy_rows(metrics_of(ROOT, graph()[stage], revision))
            create_table_artifact(key="accuracy", table=rows, description="Accuracy by network and sampling.")
        for key, path in (said_of(stage, "publish") or {}).items():
            text = text_of(ROOT, path, revision)
            if path.endswith(".csv"):
                table = pd.read_csv(io.StringIO(text)).round(4)
                columns = {str(name): table[name].tolist() for name in table}
                create_table_artifact(key=key, table=columns, description=path)
            elif path.endswith(".json"):
                create_markdown_artifact(key=key, markdown=_facts(json.loads(text)), description=path)
            elif path.endswith(".html"):
                page = page_of(path, experiment)
                place = str(page.relative_to(ROOT))
                said = f"The report with its pictures: `{page}` on the machine that ran it."
                create_link_artifact(key=key, link=page.as_uri(), link_text=place, description=said)
            else:
                create_markdown_artifact(key=key, markdown=text, description=path)


def _facts(values: dict[str, Any]) -> str:
    """The plain values of a JSON file, and what is in its maps but lists, as a list in Markdown."""
    pairs = [pair for pair in values.items() if isinstance(pair[1], str | int | float)]
    inner = [pair for value in values.values() if isinstance(value, dict) for pair in value.items()]
    pairs += [pair for pair in inner if not isinstance(pair[1], list)]
    return "\n".join(f"- {name}: {value}" for name, value in pairs)


def accuracy_rows(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """The metrics as a table: a row for each network and each sampling."""
    return [
        {
            "network": role,
            "sampling": sampling,
            "top-1": f"{figures['top1']:.2%}",
            "95 % interval": f"{figures['top1_low']:.1%} to {figures['top1_high']:.1%}",
        }
        | _judged(figures)
        | {"videos": f"{figures['videos']:g}"}
        for role, samplings in metrics.items()
        for sampling, figures in samplings.items()
    ]


def _judged(figures: dict[str, Any]) -> dict[str, str]:
    """What runs before these figures existed have not: interval by group, chance; and top-5 where it says anything."""
    found = {}
    if "groups" in figures:
        low, high = figures["top1_low_by_group"], figures["top1_high_by_group"]
        found["by group"] = "one group only" if low is None else f"{low:.1%} to {high:.1%}"
        answer = {True: "yes", False: "NO", None: "one group cannot tell"}[figures["above_chance"]]
        found["above chance"] = f"{answer} ({figures['chance']:.1%})"
    if figures.get("classes", MOST_CERTAIN + 1) > MOST_CERTAIN:
        found["top-5"] = f"{figures['top5']:.2%}"
    return found
