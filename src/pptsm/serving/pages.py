"""The pages of a service: one to drop a video on, one that documents what can be asked.

Each is one text without anything from elsewhere, so that it works in a closed network, and its policy names the hashes
of its own script and style: a browser runs and loads nothing else.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Page:
    """A page, and its Content-Security-Policy."""

    html: str
    policy: str


def main_page(model: str, classes: int, warning: str | None, *, has_token: bool) -> Page:
    """The page on which a person drops a video.

    Args:
        model: its name.
        classes: how many it knows.
        warning: what everyone who asks it must read.
        has_token: whether requests need one, which the page then asks for.
    """
    said = {
        "MODEL": html.escape(model),
        "CLASSES": str(classes),
        "WARNING": html.escape(warning or ""),
        "TOKEN": "" if has_token else "hidden",
    }
    return _page(_filled(_text("page.html"), said), _text("page.js"))


def documentation(openapi: dict[str, Any]) -> Page:
    """What can be asked, from the service's own description in OpenAPI."""
    body = "".join(_operation(path, *each) for path, methods in openapi["paths"].items() for each in methods.items())
    return _page(_filled(_text("docs.html"), {"OPERATIONS": body}), "")


def _operation(path: str, method: str, said: dict[str, Any]) -> str:
    rows = "".join(_cells(*row) for row in _parameters(said))
    answers = "".join(_cells(status, each.get("description", "")) for status, each in said["responses"].items())
    table = f"<table><tr><th>in the address</th><th>kind</th><th></th></tr>{rows}</table>" if rows else ""
    bodies = ", ".join(said.get("requestBody", {}).get("content", {}))
    sent = f"<p>Body: <code>{html.escape(bodies)}</code></p>" if bodies else ""
    return (
        f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(said.get('description', ''))}</p>{sent}{table}"
        f"<table><tr><th>status</th><th></th></tr>{answers}</table></section>"
    )


def _parameters(said: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for each in said.get("parameters", []):
        kinds = [each["schema"], *each["schema"].get("anyOf", [])]
        kind = next(
            (json.dumps(k["enum"]) if "enum" in k else k["type"] for k in kinds if {"type", "enum"} & set(k)), ""
        )
        default = each["schema"].get("default")
        shown = kind if default is None else f"{kind}, else {json.dumps(default)}"
        yield each["name"], shown, each.get("description", each["schema"].get("description", ""))


def _cells(*texts: str) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in texts) + "</tr>"


def _page(text: str, script: str) -> Page:
    style = _text("page.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(_filled(text, {"STYLE": style, "SCRIPT": script}), policy)


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"[[{name}]]", value)
    return text


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _text(name: str) -> str:
    return (files("pptsm.serving") / name).read_text(encoding="utf-8")
