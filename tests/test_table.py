"""Rows of the index: which are taken, and that a table keeps them as they are."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from conftest import good_index
from pptsm.data.table import (
    in_split,
    load_index,
    load_labels,
    read_csv,
    save_index,
    save_labels,
    spread_over_classes,
    write_csv,
)
from pptsm.runtime.errors import UserError

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


# --- texts that a table must keep ------------------------------------------------------------------------

SIGNS = [*map(chr, range(0x21)), *map(chr, range(0x7F, 0xA1)), *"\u2028\u2029\ufeff\"',;=+-@\\#"]


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_every_character_of_a_name_comes_back(tmp_path: Path, sign: str) -> None:
    """At the begin, within and at the end, in all text columns; the numbers beside stay numbers."""
    texts = [
        sign,
        f"{sign}x.mp4",
        f"x{sign}.mp4",
        f"x{sign}",
        f"{sign}\r\n{sign}",
        f"'{sign}x",
        f'"{sign}"',
        "plain",
        "nan",
    ]
    table = pd.concat([good_index().iloc[:1]] * len(texts), ignore_index=True).assign(id=texts, path=texts, group=texts)
    save_index(table, tmp_path / "index.csv")
    pd.testing.assert_frame_equal(load_index(tmp_path / "index.csv"), table)


@pytest.mark.parametrize("sign", list("=+-@\t\r\n"), ids=ascii)
def test_no_cell_begins_as_a_formula(tmp_path: Path, sign: str) -> None:
    """A spreadsheet would compute it; numbers below 0 are none."""
    table = pd.DataFrame({"file": [f"{sign}cmd|' /C calc'!A0", "x"], "number": [-1, 2], "score": ["", -0.5]})
    write_csv(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["file"] == f"'{sign}cmd|' /C calc'!A0"
    assert [row["number"] for row in rows] == ["-1", "2"]
    read = read_csv((tmp_path / "t.csv").read_bytes(), {"file": str, "score": str}, keep_default_na=False)
    assert read["file"].tolist() == table["file"].tolist()


def test_a_table_of_plain_names_has_the_bytes_that_it_always_had(tmp_path: Path) -> None:
    """No quotes where none are needed."""
    save_index(good_index(), tmp_path / "index.csv")
    good_index().to_csv(tmp_path / "plain.csv", index=False, lineterminator="\n", float_format="%.6g")
    assert (tmp_path / "index.csv").read_bytes() == (tmp_path / "plain.csv").read_bytes()


@pytest.mark.parametrize("label", [chr(code) for code in range(1, 0x21) if code not in (10, 13)], ids=ascii)
def test_class_names_keep_their_control_characters(tmp_path: Path, label: str) -> None:
    """All but line breaks, and white space around a name."""
    save_labels([f"a{label}b", "c"], tmp_path / "labels.txt")
    assert load_labels(tmp_path / "labels.txt") == [f"a{label}b", "c"]


@pytest.mark.parametrize("label", ["a\nb", "a\rb", "a\0b", "a\ud800b", " a", "a\t"], ids=ascii)
def test_a_class_name_that_no_file_of_names_can_keep_is_refused(tmp_path: Path, label: str) -> None:
    """Before anything is written."""
    with pytest.raises(UserError, match=r"class names .* have a line break, a NUL"):
        save_labels(["c", label], tmp_path / "labels.txt")
    assert not (tmp_path / "labels.txt").exists()


@pytest.mark.parametrize("names", [["jump"], ["run", "jump"], ["jump", "walk"]])
def test_class_names_that_are_not_those_of_the_index_are_refused(tmp_path: Path, names: list[str]) -> None:
    """Too few, in another order, or others: class numbers would mean something else."""
    save_labels(names, tmp_path / "labels.txt")
    with pytest.raises(UserError, match=rf"its {len(names)} names do not fit the index, where class . is "):
        load_labels(tmp_path / "labels.txt", good_index())
    save_labels(["jump", "run", "more"], tmp_path / "labels.txt")
    assert load_labels(tmp_path / "labels.txt", good_index()) == ["jump", "run", "more"]


def test_texts_are_held_by_python_whatever_else_is_installed() -> None:
    """With pyarrow installed pandas would hold them in Arrow, which refuses what JSON can hold."""
    table = pd.DataFrame([("\ud800",)], columns=["id"], dtype="str")
    assert table["id"].dtype.storage == "python"
    assert pd.read_csv(io.StringIO("a\nx\n"), dtype="str")["a"].dtype.storage == "python"
