"""Which classes the headline's videos were taken for: counts, the table of them, and each class with its interval."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pptsm.evaluation.statistics import interval

MOST_NAMES = 30  # classes of a whole table; beyond it, only the largest confusions are shown


@dataclass(frozen=True)
class Cell:
    """Videos of one class that were taken for one class, itself or another."""

    actual: str
    predicted: str
    videos: int
    of: int  # videos of `actual`
    anchor: str  # of the place on the page where its clips are

    @property
    def right(self) -> bool:
        """Whether they were recognised."""
        return self.actual == self.predicted

    @property
    def share(self) -> float:
        """Of the videos of its class, 0 to 1."""
        return self.videos / self.of


def counts(headline: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of classes that occurs: `actual`, `predicted`, `videos`; mistakes first, then the largest.

    Args:
        headline: one row per video, with `label` and `top1`.
    """
    table = headline.groupby(["label", "top1"], sort=True).size().reset_index()
    table.columns = pd.Index(["actual", "predicted", "videos"])
    right = table["actual"] == table["predicted"]
    order = table.assign(right=right).sort_values(["right", "videos"], ascending=[True, False], kind="stable").index
    return table.loc[order].reset_index(drop=True)


def cells(table: pd.DataFrame) -> list[Cell]:
    """The rows of `counts`, each with the number of its class's videos and an anchor."""
    totals = table.groupby("actual")["videos"].sum().to_dict()
    rows = zip(table["actual"].tolist(), table["predicted"].tolist(), table["videos"].tolist(), strict=True)
    return [Cell(*row, totals[row[0]], f"cell-{place}") for place, row in enumerate(rows, 1)]


def matrix(found: list[Cell]) -> list[tuple[str, list[Cell | None]]] | None:
    """Class -> its cells in the order of the classes, None where there is no video; None with very many classes."""
    names = sorted({name for cell in found for name in (cell.actual, cell.predicted)})
    if len(names) > MOST_NAMES:
        return None
    places = {(cell.actual, cell.predicted): cell for cell in found}
    return [(row, [places.get((row, column)) for column in names]) for row in names]


def by_class(per_class: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The accuracy of each class, worst first, with its 95 % interval by video and what it was most often taken for.

    Args:
        per_class: `class`, `videos`, `accuracy`.
        table: `counts`.

    Returns:
        Also `right` (videos), `low`, `high`, and `taken_for`: empty where none was missed.
    """
    right = np.rint(per_class["accuracy"] * per_class["videos"]).astype(int)
    ends = [interval(got, of) for got, of in zip(right.tolist(), per_class["videos"].tolist(), strict=True)]
    missed = table[table["actual"] != table["predicted"]].drop_duplicates("actual")  # the largest comes first
    other = dict(zip(missed["actual"].tolist(), missed["predicted"].tolist(), strict=True))
    taken_for = [other.get(name, "") for name in per_class["class"].tolist()]
    low, high = ([end[side] for end in ends] for side in (0, 1))
    found = per_class.assign(right=right, low=low, high=high, taken_for=taken_for)
    return found.sort_values(["accuracy", "class"]).reset_index(drop=True)
