"""Rows of the index: which are taken."""

import pandas as pd
import pytest

from pptsm.data.table import in_split, spread_over_classes

SORTED = pd.DataFrame({"id": list("abcdefg"), "label_index": [0, 0, 0, 0, 2, 2, 5], "split": "val"})


@pytest.mark.parametrize(
    ("most", "ids"), [(1, "a"), (3, "aeg"), (4, "aegb"), (6, "aegbfc"), (7, "aegbfcd"), (16, "aegbfcd")]
)
def test_clips_are_taken_from_each_class_in_turn(most: int, ids: str) -> None:
    """First of each class, second of each, ...; a class that is used up is passed over."""
    taken = spread_over_classes(SORTED, most)
    assert taken["id"].tolist() == list(ids)
    assert taken.index.tolist() == list(range(len(ids)))
    assert list(taken.columns) == list(SORTED.columns)


def test_a_split_is_its_rows_in_their_order_numbered_from_0() -> None:
    """And no others."""
    taken = in_split(SORTED.assign(split=["val", "train", "", "val", "test", "train", "val"]), "val")
    assert taken["id"].tolist() == ["a", "d", "g"]
    assert taken.index.tolist() == [0, 1, 2]
    assert list(taken.columns) == list(SORTED.columns)
