"""What MkDocs does to the documents on their way to the guide: see https://www.mkdocs.org/user-guide/plugins/#events.

- Where a document says `<!-- made from code: NAME -->`, the text of made.py stands.
- A Mermaid graph becomes a drawing, because Mermaid itself would be fetched from a network.
- Links that leave docs/ lead to the page that the guide has of that file.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

sys.path.insert(0, str(Path(__file__).parent))
import made

import graph

ROOT = Path(__file__).parents[2]
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}  # a file of the project: its page
PLACE = re.compile(r"<!-- made from code: (\w+) -->")
MERMAID = re.compile(r"```mermaid\n(.*?)```", flags=re.S)
LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings get the anchors that GitHub gives them, so that a link holds in both places."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no document of docs/."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    files.append(File.generated(config, "decisions/index.md", content=made.decisions(ROOT / "docs/decisions")))
    files.append(File.generated(config, "sentences.md", content=made.sentences()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Put in what is made, and lead the links of other places to where the guide has them."""
    name = page.file.src_uri
    if name.startswith("log/"):
        page.meta["search"] = {"boost": 0.2}  # the diary has every word
    markdown = PLACE.sub(lambda found: made.MADE[found[1]](), markdown)
    markdown = MERMAID.sub(lambda found: graph.drawing(found[1]), markdown)
    origin = {page_name: file for file, page_name in OUTSIDE.items()}.get(name, f"docs/{name}")

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), found[2]))
        return found[1] + posixpath.relpath(page_of(target), posixpath.dirname(name) or ".")

    return LINK.sub(lead, markdown)


def page_of(target: str) -> str:
    """Where the guide has a file or folder of the project, named from its top."""
    if target in OUTSIDE:
        return OUTSIDE[target]
    if target == "docs/decisions":
        return "decisions/index.md"
    if target == "docs/log":
        return f"log/{max(path.name for path in (ROOT / target).glob('*.md'))}"
    return target.removeprefix("docs/")
