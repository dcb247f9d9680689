"""Great Expectations: asks rules of tables, and writes its Data Docs.

Never imported together with Paddle, which turns on INFO logging for everyone.
"""

import html
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.data_context.types.base import ProgressBarsConfig

from pptsm.validation.pages import write_first_page
from pptsm.validation.result import ROWS_KEPT, Fault, Lines, Row, SuiteSummary, joined
from pptsm.validation.rules import Rule, asked

SITE = "docs"


@dataclass(frozen=True)
class Table:
    """Rows that rules speak of, numbered from 0, and who says of a row that breaks one (of a column) what it is."""

    rows: pd.DataFrame
    explain: Callable[[Row, str], Lines]


@dataclass(frozen=True)
class Findings:
    """What the rules of some suites found."""

    suites: dict[str, SuiteSummary]
    faults: list[Fault]
    warnings: list[Fault]


def ask(rules: Sequence[Rule], tables: Mapping[str, Table], limits: Mapping[str, Any], docs: Path) -> Findings:
    """Hold tables to rules.

    Args:
        rules: what to ask.
        tables: by the name that rules give them.
        limits: by name.
        docs: folder for the Data Docs, a page a suite and table.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.add_data_docs_site(
        site_name=SITE,
        site_config={
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    source = context.data_sources.add_pandas("tables")
    batches = {
        name: source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all rows") for name in tables
    }
    left = asked(rules, limits)
    found: dict[str, list[tuple[str, Fault]]] = {"error": [], "warning": []}
    shown: dict[str, list[tuple[Rule, Fault | None]]] = {}
    for suite, name in dict.fromkeys((rule.suite, rule.table) for rule in left):
        own = [rule for rule in left if (rule.suite, rule.table) == (suite, name)]
        title = f"{suite} {name}"
        expectations = context.suites.add(
            gx.ExpectationSuite(name=title, expectations=[*map(_expectation, range(len(own)), own)])
        )
        asking = gx.ValidationDefinition(name=title, data=batches[name], suite=expectations)
        outcome = context.validation_definitions.add(asking).run(
            batch_parameters={"dataframe": _escaped(_spoken_of(tables[name].rows, own))},
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": ROWS_KEPT},
        )
        # it answers in an order of its own
        results = {each.expectation_config.meta["line"]: each for each in outcome.results}
        answers = ((rule, results[line]) for line, rule in enumerate(own))
        judged = [(rule, None if each.success else _fault(each, rule, tables[name])) for rule, each in answers]
        shown[title] = judged
        broken = [(rule, fault) for rule, fault in judged if fault is not None]
        for severity, faults in found.items():
            faults += [(suite, fault) for rule, fault in broken if rule.severity == severity]
    with _logged_errors_raised():
        context.build_data_docs(site_names=[SITE])
    write_first_page(docs, shown)
    summaries = {
        suite: SuiteSummary(
            rules=sum(rule.suite == suite for rule in left),
            faults=sum(of == suite for of, _ in found["error"]),
            warnings=sum(of == suite for of, _ in found["warning"]),
        )
        for suite in dict.fromkeys(rule.suite for rule in rules)
    }
    return Findings(summaries, *([fault for _, fault in found[severity]] for severity in ("error", "warning")))


@contextmanager
def _logged_errors_raised() -> Iterator[None]:
    """Raise what Great Expectations only logs: a page that cannot be written is an error, with one sentence.

    Raises:
        Exception: the first one that was logged.
    """
    found: list[BaseException] = []

    class StoredAs(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = sys.exc_info()[1]  # it logs while it handles one, but as text
            if record.levelno >= logging.ERROR:
                found.append(error or RuntimeError(record.getMessage()))

    logger, handler = logging.getLogger("great_expectations"), StoredAs()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
    if found:
        raise found[0]


def _expectation(line: int, rule: Rule) -> Any:
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "columns": (gxe.ExpectTableColumnsToMatchOrderedList, {"column_list": rule.values}),
        "unique": (gxe.ExpectColumnValuesToBeUnique, {}),
        "among": (gxe.ExpectColumnValuesToBeInSet, {"value_set": list(map(html.escape, rule.values or ()))}),
        "between": (gxe.ExpectColumnValuesToBeBetween, {"min_value": rule.low, "max_value": rule.high}),
        "like": (gxe.ExpectColumnValuesToMatchRegex, {"regex": rule.pattern}),
        "unlike": (gxe.ExpectColumnValuesToNotMatchRegex, {"regex": rule.pattern}),
    }
    kind, of = kinds[rule.kind]
    if rule.column:
        of["column"] = rule.column
    severity = {"error": "critical"}.get(rule.severity, rule.severity)
    return kind(**of, severity=severity, meta={"line": line, "says": rule.says})


def _spoken_of(rows: pd.DataFrame, rules: Sequence[Rule]) -> pd.DataFrame:
    """The columns that rules name: Great Expectations hashes whatever it is given."""
    names = [rule.column for rule in rules if rule.column]
    return rows[list(dict.fromkeys(names))] if names else rows


def _escaped(rows: pd.DataFrame) -> pd.DataFrame:
    """A copy whose texts are fit for HTML: Great Expectations writes what breaks a rule into its pages as it is."""
    copy = rows.copy()
    for name in [str(name) for name, kind in rows.dtypes.items() if kind == "str"]:
        marked = rows[name].str.contains("[&<>\"']")
        if marked.any():
            copy[name] = rows[name].where(~marked, rows.loc[marked, name].map(html.escape))
    return copy


def _fault(result: Any, rule: Rule, table: Table) -> Fault:
    found = result.result
    positions = [
        at if isinstance(at, int) else next(iter(at.values()))
        for at in found.get("partial_unexpected_index_list") or []
    ]
    lines = joined(
        (table.explain(table.rows.loc[at], rule.column) for at in positions),
        found.get("unexpected_count", 0) - len(positions),
    )
    if not positions and (result.exception_info or {}).get("raised_exception"):
        lines = Lines([str(result.exception_info["exception_message"])])
    said = rule.says if rule.severity == "error" else f"expected: {rule.says}"  # beside warnings that are no rules
    return Fault(result.expectation_config.type, said, lines)
