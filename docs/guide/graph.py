"""A Mermaid flowchart of this project's form (`docs/draw_graph.py` writes it) as an SVG in the colours of the page."""

import re
from html import escape

import networkx

COLUMN, ROW, WIDTH, HEIGHT = 112, 50, 96, 30


def drawing(mermaid: str) -> str:
    """The graph from left to right: each node stands in the column behind the last of those that it depends on."""
    names = dict(re.findall(r'(\w+)\["([^"]+)"\]', mermaid))
    arrows = re.findall(r"^ *(\w+).*? --> (\w+)", mermaid, flags=re.M)
    graph = networkx.DiGraph(arrows)
    column: dict[str, int] = {}
    for node in networkx.topological_sort(graph):
        column[node] = max((column[before] + 1 for before in graph.predecessors(node)), default=0)
    for node in graph:  # what depends on nothing stands just before what needs it first
        if not graph.in_degree(node):
            column[node] = min(column[after] for after in graph.successors(node)) - 1
    row = _rows(graph, column)
    width = (max(column.values()) + 1) * COLUMN - (COLUMN - WIDTH)
    height = (max(row.values()) + 1) * ROW - (ROW - HEIGHT)
    place = {node: (column[node] * COLUMN, row[node] * ROW) for node in graph}
    lines = [_arrow(place[start], place[end]) for start, end in graph.edges]
    boxes = [_box(*place[node], names.get(node, node)) for node in graph]
    said = escape("; ".join(f"{names.get(start, start)} before {names.get(end, end)}" for start, end in graph.edges))
    marker = (
        '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker>'
    )
    return (
        f'<div class="graph"><svg role="img" aria-label="{said}" viewBox="-2 -2 {width + 4} {height + 4}">'
        f"<defs>{marker}</defs>{''.join(lines)}{''.join(boxes)}</svg></div>"
    )


def _rows(graph: networkx.DiGraph, column: dict[str, int]) -> dict[str, float]:
    """Nodes of one column below one another, in the order of what they depend on, around a common middle."""
    row: dict[str, float] = {}
    columns = [sorted(node for node in graph if column[node] == number) for number in range(max(column.values()) + 1)]
    most = max(map(len, columns))
    for nodes in columns:
        before = {node: [row[other] for other in graph.predecessors(node)] for node in nodes}
        nodes.sort(key=lambda node: sum(before[node]) / len(before[node]) if before[node] else -1)
        for number, node in enumerate(nodes):
            row[node] = number + (most - len(nodes)) / 2
    return row


def _box(x: float, y: float, name: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2 + 4.5}">{escape(name)}</text>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x, y = start[0] + WIDTH, start[1] + HEIGHT / 2
    to_x, to_y = end[0] - 1, end[1] + HEIGHT / 2
    bend = min(COLUMN - WIDTH, to_x - x) * 0.6
    return f'<path d="M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}" marker-end="url(#arrow)"/>'
