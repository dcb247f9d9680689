"""The report's pages: templates of this folder, filled with what `gather` found."""

import html
import re
from importlib import resources
from typing import Any

import jinja2

from pptsm.runtime.console import printable


def as_markdown(text: str) -> str:
    """A text of a user's as Markdown that shows it as it is, on one line: no markup, no HTML, no link."""
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", html.escape(printable(" ".join(text.split())), quote=False))


def style() -> str:
    """The style sheet of all pages, for their head: a page is one file."""
    return resources.files("pptsm.report").joinpath("style.css").read_text("utf-8")


def render(template: str, values: dict[str, Any]) -> str:
    """Fill one of the package's templates."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.files("pptsm.report").joinpath(name).read_text("utf-8")),
        autoescape=template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_markdown"] = as_markdown
    return environment.get_template(template).render(values)
