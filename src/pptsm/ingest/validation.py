"""Great Expectations over the index: what must hold before anything is trained on it.

Never imported together with Paddle, which turns on INFO logging for everyone.
"""

import html
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.data_context.types.base import ProgressBarsConfig

from pptsm.data.table import COLUMNS, DECODED, OTHER_CLASS, SPLITS, STATUSES
from pptsm.params import Validate

ROWS_SHOWN = 10  # of a fault, to a person
ROWS_KEPT = 50  # of a warning, and of the files that take no part, in the result
Row = Any  # of a table, as pandas gives it


@dataclass(frozen=True)
class Fault:
    """One expectation that does not hold, and what breaks it: files with class, split and reason, a line each."""

    expectation: str
    what: str
    rows: list[str]


@dataclass(frozen=True)
class Suite:
    """A table, and the rules that it is held to, each with a sentence that says it."""

    rows: pd.DataFrame
    rules: list[Any]
    explain: Callable[[Row, str], list[str]]  # a row that breaks a rule, and the rule's column, for a person


@dataclass(frozen=True)
class Result:
    """What validation found; `warnings` do not stop the pipeline."""

    expectations: int
    faults: list[Fault]
    warnings: list[Fault] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        """No expectation was broken."""
        return not self.faults


def validate_index(
    table: pd.DataFrame, labels: list[str], params: Validate, docs: Path, needed: Sequence[str] = ()
) -> Result:
    """Check an index and write the Data Docs page.

    Args:
        table: the index.
        labels: class names.
        params: limits.
        docs: folder for the HTML.
        needed: splits that must have videos.

    Returns:
        What held and what did not.
    """
    usable = table[table["split"] != ""]
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
    expectations, faults = 0, []
    for name, part in _suites(table, usable, labels, params, needed).items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all rows")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=part.rules))
        check = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=name,
                validation_definitions=[check],
                actions=[UpdateDataDocsAction(name="docs", site_names=["index"])],
                result_format={"result_format": "COMPLETE"},
            )
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": _escaped(part.rows)})
        results = next(iter(outcome.run_results.values())).results
        expectations += len(results)
        faults += [_fault(result, part) for result in results if not result.success]
    warnings = [*_duplicates(usable), *_left_out(table), *_beside(usable, needed)]
    return Result(expectations, faults, warnings, _facts(table, usable))


def save_result(result: Result, path: Path, index: Path) -> None:
    """Write the result as JSON, without times, so that an unchanged index gives an unchanged file.

    Args:
        result: what to write; of long lists the beginning.
        path: the file.
        index: where the whole of them is.
    """

    def kept(faults: list[Fault]) -> list[dict[str, Any]]:
        return [vars(fault) | {"rows": shortened(fault.rows, ROWS_KEPT, index)} for fault in faults]

    values = {
        "success": result.success,
        "expectations": result.expectations,
        "faults": kept(result.faults),
        "warnings": kept(result.warnings),
        "facts": result.facts | {"unused": shortened(result.facts["unused"], ROWS_KEPT, index)},
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _suites(
    table: pd.DataFrame, usable: pd.DataFrame, labels: list[str], params: Validate, needed: Sequence[str]
) -> dict[str, Suite]:
    """What is checked, by name."""
    splits = [split for split in needed or SPLITS if (usable["split"] == split).any()]
    # also a class without any usable video; but not one that the lists leave out
    known = table[table["label_index"] >= 0]
    by_class = pd.crosstab(usable["label"], usable["split"]).reindex(
        index=sorted({*known["label"], *usable["label"]}), columns=list(SPLITS), fill_value=0
    )
    classes = pd.DataFrame(
        {"id": by_class.index, "videos": by_class.sum(axis=1), "splits": (by_class[splits] > 0).sum(axis=1)}
    ).reset_index(drop=True)
    groups = usable.groupby("group")["split"].nunique().rename_axis("id").reset_index(name="splits")
    unused = table[(table["split"] == "") & (table["reason"] != OTHER_CLASS)]
    decoded = table[table["status"].isin(DECODED)].reset_index(drop=True)
    unreadable = float((decoded["status"] != "ok").mean()) if len(decoded) else 0.0
    files = pd.DataFrame(
        {"id": ["all files"], "unreadable_share": [unreadable], "classes": [int(usable["label"].nunique())]}
    )

    def of_file(row: Row, column: str) -> list[str]:
        return [f"{_file(row)}: {column} is {row[column]}" if column in row else _file(row)]

    def of_class(row: Row, _: str) -> list[str]:
        counts = ", ".join(f"{split} {count}" for split, count in by_class.loc[row["id"]].items())
        files = unused[unused["label"] == row["id"]]
        return [f"class {row['id']}: {row['videos']} usable videos ({counts})", *_files(files)]

    def of_group(row: Row, _: str) -> list[str]:
        members = usable[usable["group"] == row["id"]]
        in_turn = members.assign(turn=members.groupby("split").cumcount()).sort_values("turn", kind="stable")
        return [f"group {row['id']}: in {' and '.join(sorted(set(members['split'])))}", *_files(in_turn)]

    def of_split(row: Row, _: str) -> list[str]:
        counts = ", ".join(f"{split} {(usable['split'] == split).sum()}" for split in SPLITS)
        return [f"split {row['id']}: no usable video ({counts})", *_files(unused)]

    def of_all(row: Row, column: str) -> list[str]:
        if column == "classes":
            return [f"usable videos are of {row['classes']} classes: {', '.join(sorted(set(usable['label'])))}"]
        broken = decoded[decoded["status"] != "ok"]
        return [f"{len(broken)} of {len(decoded)} files ({unreadable:.1%})", *_files(broken)]

    return {
        "index": Suite(
            table,
            [
                gxe.ExpectTableColumnsToMatchOrderedList(
                    column_list=list(COLUMNS), meta=_says("the columns are those of an index")
                ),
                gxe.ExpectColumnValuesToBeUnique(column="id", meta=_says("every file has one row")),
                gxe.ExpectColumnValuesToBeInSet(
                    column="status", value_set=list(STATUSES), meta=_says(f"a status is one of {', '.join(STATUSES)}")
                ),
                gxe.ExpectColumnValuesToMatchRegex(
                    column="sha256", regex="^(?:[0-9a-f]{64})?$", meta=_says("a hash is one of SHA-256")
                ),
                gxe.ExpectColumnValuesToBeInSet(
                    column="split", value_set=[*SPLITS, ""], meta=_says(f"a split is one of {', '.join(SPLITS)}")
                ),
            ],
            of_file,
        ),
        "labels": Suite(
            usable,
            [
                gxe.ExpectColumnValuesToBeInSet(
                    column="label",
                    value_set=[html.escape(label) for label in labels],
                    meta=_says("every label is a known class"),
                ),
                gxe.ExpectColumnValuesToNotMatchRegex(column="label", regex=r"^\s*$", meta=_says("no label is empty")),
            ],
            of_file,
        ),
        "usable videos": Suite(
            usable,
            [
                _between(
                    "num_frames",
                    params.min_frames,
                    params.max_frames,
                    f"a video has {params.min_frames} to {params.max_frames} frames (validate.min_frames, max_frames)",
                ),
                _between(
                    "duration_sec",
                    0,
                    params.max_duration_sec,
                    f"a video lasts at most {params.max_duration_sec:g} s (validate.max_duration_sec)",
                ),
                *(
                    _between(side, params.min_side_px, None, f"{side} is at least {params.min_side_px} pixels")
                    for side in ("width", "height")
                ),
            ],
            of_file,
        ),
        "classes": Suite(
            classes,
            [
                _between(
                    "videos",
                    params.min_videos_per_class,
                    None,
                    f"a class has at least {params.min_videos_per_class} usable videos (validate.min_videos_per_class)",
                ),
                _between(
                    "splits",
                    len(splits),
                    None,
                    f"every class is in each split ({', '.join(splits)}); another index.split_seed, or "
                    "index.val_groups and test_groups, deal otherwise",
                ),
            ],
            of_class,
        ),
        "splits": Suite(
            pd.DataFrame({"id": list(needed), "videos": [int((usable["split"] == split).sum()) for split in needed]}),
            [_between("videos", 1, None, "every split that training or evaluation needs has videos")],
            of_split,
        ),
        "groups": Suite(groups, [_between("splits", None, 1, "no group is on two sides of the split")], of_group),
        "files": Suite(
            files,
            [
                _between(
                    "unreadable_share",
                    None,
                    params.max_unreadable_share,
                    f"at most {params.max_unreadable_share:.1%} of the files that take part are unreadable or cut off "
                    "(validate.max_unreadable_share)",
                ),
                _between("classes", 2, None, "at least two classes have usable videos"),
            ],
            of_all,
        ),
    }


def _between(column: str, low: float | None, high: float | None, sentence: str) -> Any:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, meta=_says(sentence))


def _says(sentence: str) -> dict[str, str]:
    return {"says": sentence}


def _escaped(rows: pd.DataFrame) -> pd.DataFrame:
    """A copy whose texts are fit for HTML: Great Expectations writes what breaks a rule into its pages as it is."""
    copy = rows.copy()
    for name in [name for name, kind in rows.dtypes.items() if kind == "str"]:
        copy[name] = copy[name].map(html.escape)
    return copy


def _file(row: Row) -> str:
    """A row of the index: which file, of which class, in which split; or why in none."""
    where = row["split"] or f"no split: {row['status']}, {row['reason']}"
    return f"{row['id']} (class {row['label']}, {where})"


def _files(rows: pd.DataFrame) -> list[str]:
    return [f"  {_file(row)}" for row in rows.to_dict("records")]


def shortened(rows: list[str], most: int, index: Path) -> list[str]:
    """The first of these lines, and where the others are."""
    return [*rows[:most], f"... and {len(rows) - most} more, see {index}"] if len(rows) > most else rows


def _fault(result: Any, part: Suite) -> Fault:
    config = result.expectation_config
    column = config.kwargs.get("column", "")
    broken = []
    for position in result.result.get("unexpected_index_list") or []:
        row = part.rows.loc[position if isinstance(position, int) else next(iter(position.values()))]
        broken += part.explain(row, column)
    if not broken and (result.exception_info or {}).get("raised_exception"):
        broken = [str(result.exception_info["exception_message"])]
    return Fault(config.type, config.meta["says"], broken)


def _duplicates(usable: pd.DataFrame) -> list[Fault]:
    """Files of the same content in more than one split: the test would not be fair, but a person decides."""
    sides = usable.groupby("sha256")["split"].nunique()
    rows = []
    for digest in sides[sides > 1].index:
        same = usable[usable["sha256"] == digest]
        rows.append(" = ".join(f"{row.id} ({row.split})" for row in same.itertuples()))
    return [Fault("same_content_in_two_splits", "files with the same bytes", rows)] if rows else []


def _left_out(table: pd.DataFrame) -> list[Fault]:
    """Files that the index set aside, within the shares that params.yaml allows; not those of other classes."""
    left_out = table[table["reason"] != OTHER_CLASS]
    found = []
    for status, what in (
        ("unmatched", "files that index.pattern does not match"),
        ("missing", "videos that the split lists name, but that are not there"),
        ("unlisted", "videos of the lists' classes that no split list names"),
        ("excluded", "videos that index.exclude leaves out"),
        ("short", "videos of too few frames, which index.short_videos leaves out"),
    ):
        if files := [_file(row) for row in left_out[left_out["status"] == status].to_dict("records")]:
            found.append(Fault(f"{status}_files", f"{len(files)} {what}", files))
    return found


def _beside(usable: pd.DataFrame, needed: Sequence[str]) -> list[Fault]:
    """Classes that a split misses which neither training nor evaluation needs: a validation curve, say."""
    rows = []
    for split in [split for split in SPLITS if needed and split not in needed]:
        there = set(usable.loc[usable["split"] == split, "label"])
        rows += [f"{label}: not in {split}" for label in sorted({*usable["label"]} - there) if there]
    return [Fault("class_missing_from_split", "classes that a split misses", rows)] if rows else []


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
        "unused": [
            _file(row) for row in table[(table["split"] == "") & (table["reason"] != OTHER_CLASS)].to_dict("records")
        ],
    }


def sentences(result: Result, index: Path) -> str:
    """The faults for a person: which expectation, what breaks it, at most ten lines each; the others are in `index`."""
    return "\n".join(
        "\n    ".join([f"  expected: {fault.what}; but", *shown_rows(fault, index)]) for fault in result.faults
    )


def shown_rows(fault: Fault, index: Path) -> list[str]:
    """What a person is shown of a fault or a warning."""
    return shortened(fault.rows, ROWS_SHOWN, index)
