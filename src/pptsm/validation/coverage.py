"""Of the videos that lists name, how many are there: altogether and by class."""

from typing import Any

import pandas as pd

NAMED_BY_NO_LIST = ("unlisted", "unmatched", "excluded")


def coverage_of(table: pd.DataFrame) -> dict[str, Any] | None:
    """How many clips of each class are named and how many of them found, the class that lacks most first.

    Args:
        table: the index; where nothing is named that is not there, it has no row of status "missing".

    Returns:
        `named` and `found` of all, and `classes`: of each `class`, `named`, `found` and `share`. None if all are there.
    """
    by_class = named_by_class(table)
    if (table["status"] != "missing").all():
        return None
    by_class = by_class.sort_values("share", kind="stable")
    rows = by_class[by_class["id"] != ""].rename(columns={"id": "class"}).to_dict("records")
    return {"named": int(by_class["named"].sum()), "found": int(by_class["found"].sum()), "classes": rows}


def named_by_class(table: pd.DataFrame) -> pd.DataFrame:
    """Columns `id` (a class, "" where a list's path tells none), `named`, `found` and `share`, sorted by class."""
    named = table[~table["status"].isin(NAMED_BY_NO_LIST)]
    there = (named["status"] != "missing").groupby(named["label"])
    counts = pd.DataFrame({"named": there.size(), "found": there.sum()}).rename_axis("id").reset_index()
    return counts.assign(share=(counts["found"] / counts["named"]).round(4))
