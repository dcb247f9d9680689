"""The report's pages: templates of this folder, filled with what `gather` found."""

from importlib import resources
from typing import Any

import jinja2


def render(template: str, values: dict[str, Any]) -> str:
    """Fill one of the package's templates."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.files("pptsm.report").joinpath(name).read_text("utf-8")),
        autoescape=template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)
