"""Draw the graph of dvc.yaml into docs/tour.md and docs/how_it_works.md: `python docs/draw_graph.py`, in a few seconds.

Stages `code` and `check`, on which all others depend, are left out, and so is an arrow that others imply. With --check
nothing is written: the exit code is 1 where a picture is out of date.
"""

import re
import sys
from pathlib import Path

import networkx
from dvc.repo import Repo

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "docs/tour.md", ROOT / "docs/how_it_works.md")
PICTURE = re.compile(r"```mermaid\n.*?```", flags=re.S)
COMMON = ("code", "check")  # what every stage depends on


def mermaid(project: Path) -> str:
    """The stages of a project and what depends on what, as a Mermaid flowchart."""
    graph = networkx.DiGraph()
    with Repo(str(project)) as repo:
        for stage, needed in repo.index.graph.edges:
            if needed.addressing not in COMMON and stage.addressing not in COMMON:
                graph.add_edge(needed.addressing, stage.addressing)
    arrows = sorted(networkx.transitive_reduction(graph).edges)
    place = {stage: number for number, stage in enumerate(networkx.lexicographical_topological_sort(graph))}
    arrows.sort(key=lambda arrow: (place[arrow[0]], place[arrow[1]]))
    lines = (f"    {_node(needed)} --> {_node(stage)}" for needed, stage in arrows)
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def _node(stage: str) -> str:
    name = stage.replace("@", "_")  # a character that Mermaid's names do not have
    return name if name == stage else f'{name}["{stage}"]'


def main() -> None:
    """Write the pages, or say which are out of date."""
    picture = mermaid(ROOT)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        drawn = PICTURE.sub(lambda _: picture, text)
        if drawn == text:
            continue
        if "--check" in sys.argv:
            sys.exit(f"{page.relative_to(ROOT)} shows another graph than dvc.yaml: run `python docs/draw_graph.py`.")
        page.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
