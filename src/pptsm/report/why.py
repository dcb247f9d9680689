"""Why the student answers as it does, for the pages: what stage `explanations` found, drawn and in words."""

from typing import Any

Row = dict[str, Any]


def with_reasons(wrong: list[Row], found: dict[str, Any] | None) -> list[Row]:
    """The mistakes of the page, each with its `why` where it was explained.

    Args:
        wrong: rows with `id`.
        found: as `inputs.Explanations`; None: nothing was explained.
    """
    explained = found["mistakes"] if found else []
    reasons = {row["id"]: row | {"words": _words(row), "bars": _bars(row["drops"])} for row in explained}
    return [row | {"why": reasons.get(row["id"])} for row in wrong]


def _words(row: Row) -> str:
    """What decided an answer, in one sentence."""
    at = row["decisive"]
    words = (
        "no frame decides alone"
        if at is None
        else f"frame {at + 1} decides most ({-100 * row['drops'][at]:+.1f} points without it)"
    )
    words += f"; reversed, the answer is {'the same' if row['reversed_answer_kept'] else 'another'}"
    if row["shuffles"]:
        words += f"; shuffled, the same in {row['shuffles_answer_kept']} of {row['shuffles']} orders"
    return words


def _bars(drops: list[float]) -> list[Row]:
    """A bar for each frame of a strip: its place and height, as shares of the picture, and whether it falls."""
    largest = max(map(abs, drops)) or 1.0
    return [
        {"left": place / len(drops), "height": abs(drop) / largest, "falls": drop > 0, "points": -100 * drop}
        for place, drop in enumerate(drops)
    ]


def of_time(found: dict[str, Any]) -> Row | None:
    """What the order of the frames is worth: the classes, and in a sentence how many need it; None: not asked."""
    if found["order"] is None:
        return None
    classes = found["order"]["classes"]
    counted = {known: sum(row["needs_time"] is known for row in classes) for known in (True, False, None)}
    parts = []
    if counted[True]:
        parts.append(f"{counted[True]} {_need(counted[True])} the order of the frames")
    if counted[False]:
        parts.append(f"{counted[False]} {'does' if counted[False] == 1 else 'do'} not")
    if counted[None]:
        parts.append(f"{counted[None]} cannot be told (too few right answers, or the orders disagree)")
    return {
        "videos": found["order"]["videos"],
        "classes": classes,
        "words": f"Of {len(classes)} classes, {'; '.join(parts)}.",
    }


def _need(count: int) -> str:
    return "needs" if count == 1 else "need"
