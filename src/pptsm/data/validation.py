"""Great Expectations over the index: what must hold before anything is trained on it.

Never imported together with Paddle, which turns on INFO logging for everyone.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.data_context.types.base import ProgressBarsConfig

from pptsm.data.index import COLUMNS, SPLITS
from pptsm.params import Validate

STATUSES = ["ok", "truncated", "unreadable", "unmatched"]
ROWS_SHOWN = 10


@dataclass(frozen=True)
class Fault:
    """One expectation that does not hold, and the rows that break it."""

    expectation: str
    what: str
    rows: list[str]


@dataclass(frozen=True)
class Result:
    """What validation found; `warnings` do not stop the pipeline."""

    expectations: int
    faults: list[Fault]
    warnings: list[Fault] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        return not self.faults


def validate_index(table: pd.DataFrame, labels: list[str], params: Validate, docs: Path) -> Result:
    """Check an index and write the Data Docs page.

    Args:
        table: the index.
        labels: class names.
        params: limits.
        docs: folder for the HTML.

    Returns:
        What held and what did not; faults name rows by id, at most ten each.
    """
    usable = table[table["split"] != ""]
    suites = {
        "index": (table, _whole_table(labels)),
        "usable": (usable, _usable_videos(params)),
        "summary": (_summary(table, usable), _totals(usable, params)),
    }
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.add_data_docs_site(
        site_name="index",
        site_config={
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    source = context.data_sources.add_pandas("index")
    checks, frames = [], {}
    for name, (frame, expectations) in suites.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all rows")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        check = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checks.append(check)
        frames[name] = frame
    faults, held = [], 0
    for check in checks:
        frame = frames[check.name]
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=check.name,
                validation_definitions=[check],
                actions=[UpdateDataDocsAction(name="docs", site_names=["index"])],
                result_format={"result_format": "COMPLETE"},
            )
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": frame})
        for result in next(iter(outcome.run_results.values())).results:
            held += 1
            if not result.success:
                faults.append(_fault(result, frame))
    return Result(held, faults, _duplicates(usable), _facts(table, usable))


def save_result(result: Result, path: Path) -> None:
    """Write the result as JSON, without times, so that an unchanged index gives an unchanged file."""
    values = {
        "success": result.success,
        "expectations": result.expectations,
        "faults": [vars(fault) for fault in result.faults],
        "warnings": [vars(fault) for fault in result.warnings],
        "facts": result.facts,
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _whole_table(labels: list[str]) -> list[Any]:
    return [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=list(COLUMNS)),
        gxe.ExpectColumnValuesToBeUnique(column="id"),
        gxe.ExpectColumnValuesToBeInSet(column="status", value_set=STATUSES),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=labels, row_condition='status!="unmatched"', condition_parser="pandas"),
        gxe.ExpectColumnValuesToMatchRegex(column="sha256", regex="^[0-9a-f]{64}$"),
        gxe.ExpectColumnValuesToBeInSet(column="split", value_set=[*SPLITS, ""]),
    ]


def _usable_videos(params: Validate) -> list[Any]:
    return [
        gxe.ExpectColumnValuesToNotMatchRegex(column="label", regex=r"^\s*$"),
        gxe.ExpectColumnValuesToBeBetween(column="num_frames", min_value=params.min_frames, max_value=params.max_frames),
        gxe.ExpectColumnValuesToBeBetween(
            column="duration_sec", min_value=0, strict_min=True, max_value=params.max_duration_sec
        ),
        gxe.ExpectColumnValuesToBeBetween(column="width", min_value=params.min_side_px),
        gxe.ExpectColumnValuesToBeBetween(column="height", min_value=params.min_side_px),
    ]


def _summary(table: pd.DataFrame, usable: pd.DataFrame) -> pd.DataFrame:
    """One row a subject (class or group), so that what concerns them together is an expectation too."""
    splits = [split for split in SPLITS if (usable["split"] == split).any()]
    per_class = pd.crosstab(usable["label"], usable["split"]).reindex(
        index=sorted(set(table.loc[table["status"] != "unmatched", "label"])), columns=splits, fill_value=0
    )
    classes = pd.DataFrame(
        {
            "id": per_class.index,
            "kind": "class",
            "videos": per_class.sum(axis=1).to_numpy(),
            "splits": (per_class > 0).sum(axis=1).to_numpy(),
        }
    )
    per_group = usable.groupby("group")["split"].agg(["size", "nunique"])
    groups = pd.DataFrame(
        {"id": per_group.index, "kind": "group", "videos": per_group["size"].to_numpy(), "splits": per_group["nunique"].to_numpy()}
    )
    unreadable = table["status"].isin(["unreadable", "truncated"])
    share = pd.DataFrame({"id": ["unreadable files"], "kind": "share", "videos": [float(unreadable.mean())], "splits": 1})
    return pd.concat([classes, groups, share], ignore_index=True)


def _totals(usable: pd.DataFrame, params: Validate) -> list[Any]:
    splits = usable["split"].nunique()
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="videos", min_value=params.min_videos_per_class, row_condition='kind=="class"', condition_parser="pandas"
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="splits", min_value=max(splits, 1), row_condition='kind=="class"', condition_parser="pandas"
        ),
        gxe.ExpectColumnValuesToBeBetween(column="splits", max_value=1, row_condition='kind=="group"', condition_parser="pandas"),
        gxe.ExpectColumnValuesToBeBetween(
            column="videos", max_value=params.max_unreadable_share, row_condition='kind=="share"', condition_parser="pandas"
        ),
    ]


def _fault(result: Any, frame: pd.DataFrame) -> Fault:
    config = result.expectation_config.to_json_dict()
    limits = {k: v for k, v in config["kwargs"].items() if k not in ("batch_id", "column", "condition_parser") and v is not None}
    column = config["kwargs"].get("column", "columns")
    rows = []
    positions = result.result.get("unexpected_index_list") or result.result.get("partial_unexpected_index_list") or []
    for position in positions:
        row = frame.loc[position if isinstance(position, int) else list(position.values())[0]]
        rows.append(f"{row['id']}: {column} is {row[column]!r}" if column in frame else str(row["id"]))
    if not rows and result.exception_info and result.exception_info.get("raised_exception"):
        rows = [str(result.exception_info["exception_message"])]
    return Fault(config["type"], f"{column} with {limits}", rows)


def _duplicates(usable: pd.DataFrame) -> list[Fault]:
    """Files of the same content in more than one split: the test would not be fair, but a person decides."""
    sides = usable.groupby("sha256")["split"].nunique()
    rows = []
    for digest in sides[sides > 1].index:
        same = usable[usable["sha256"] == digest]
        rows.append(" = ".join(f"{row.id} ({row.split})" for row in same.itertuples()))
    return [Fault("same_content_in_two_splits", "files with the same bytes", rows)] if rows else []


def _facts(table: pd.DataFrame, usable: pd.DataFrame) -> dict[str, Any]:
    return {
        "videos": len(table),
        "usable": len(usable),
        "status": {str(name): int(count) for name, count in table["status"].value_counts().sort_index().items()},
        "splits": {split: int((usable["split"] == split).sum()) for split in SPLITS},
        "groups": int(usable["group"].nunique()),
        "classes": int(usable["label"].nunique()),
        "frames": int(usable["num_frames"].sum()),
        "hours": round(float(usable["duration_sec"].sum()) / 3600, 4),
        "unused": [f"{row.id}: {row.status}, {row.reason}" for row in table[table["split"] == ""].itertuples()][:50],
    }


def sentences(result: Result) -> str:
    """The faults for a person: which expectation, which rows, at most ten each."""
    lines = []
    for fault in result.faults:
        rows = fault.rows[:ROWS_SHOWN]
        more = f"\n    ... and {len(fault.rows) - len(rows)} more" if len(fault.rows) > len(rows) else ""
        lines.append(f"  {fault.expectation}: {fault.what}" + "".join(f"\n    {row}" for row in rows) + more)
    return "\n".join(lines)
