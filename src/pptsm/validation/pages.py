"""The first page of a validation's Data Docs: of one file, so that it can be read without a network.

The index that Great Expectations writes is a table that scripts from elsewhere fill; its other pages are plain HTML.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from pptsm.validation.result import Fault
from pptsm.validation.rules import Rule

OTHER = "great_expectations.html"  # its own index
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>What was checked</title><style>
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; color: #24292f; font: 15px/1.5 system-ui, sans-serif; }
h2 { font-size: 1.15rem; margin: 1.8rem 0 .4rem; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d0d7de; vertical-align: top; }
.error { color: #b42318; font-weight: 600; } .warning { color: #9a6700; font-weight: 600; } .soft { color: #57606a; }
ul { margin: .2rem 0; } a { color: #1f6feb; }
</style></head><body>
<h1>What was checked</h1>
"""


def write_first_page(docs: Path, asked: Mapping[str, Sequence[tuple[Rule, Fault | None]]]) -> None:
    """Write index.html of the Data Docs in `docs`, and keep Great Expectations' own under another name.

    Args:
        docs: the folder, with the pages of Great Expectations.
        asked: suite and table, in a name -> its rules, each with what breaks it, or None.
    """
    own = docs / "index.html"
    if own.exists():
        own.rename(docs / OTHER)
    parts = [HEAD]
    broken = sum(fault is not None for rules in asked.values() for _, fault in rules)
    total = sum(map(len, asked.values()))
    parts.append(f"<p>{total} rules, {broken or 'none'} of them broken.</p>\n")
    for name, rules in asked.items():
        pages = sorted((docs / "validations" / name).rglob("*.html"))
        links = [f'<a href="{html.escape(quote(page.relative_to(docs).as_posix()))}">page</a>' for page in pages]
        parts.append(f"<h2>{html.escape(name)} <small>{' '.join(links)}</small></h2>\n<table>\n")
        parts += [_row(rule, fault) for rule, fault in rules]
        parts.append("</table>\n")
    parts.append(
        '<p class="soft">The pages are those of Great Expectations: without a network they lack their looks, and its '
        f'<a href="{OTHER}">own index</a> lists nothing.</p>\n</body></html>\n'
    )
    own.write_text("".join(parts), encoding="utf-8")


def _row(rule: Rule, fault: Fault | None) -> str:
    says = html.escape(rule.says)
    if fault is None:
        return f"<tr><td>{says}</td><td>holds</td></tr>\n"
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in fault.lines.first)
    more = f"<li>and {fault.lines.more} more</li>" if fault.lines.more else ""
    verdict = f'<td class="{rule.severity}">broken ({rule.severity})</td>'
    return f"<tr><td>{says}<ul>{lines}{more}</ul></td>{verdict}</tr>\n"
