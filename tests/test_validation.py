"""Great Expectations stops a broken index and names the rows."""

import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import params_with, pptsm, write_params
from pptsm.data.table import COLUMNS, OTHER_CLASS, UNLISTED, save_index
from pptsm.ingest.validation import save_result, sentences, validate_index


def good_index() -> pd.DataFrame:
    """Two classes, three groups, every class in every split."""
    rows = []
    for index, label in enumerate(["jump", "run"]):
        for group, split in (("a", "train"), ("b", "val"), ("c", "test")):
            name = f"{label}/{group}.mp4"
            digest = f"{index}{group}" * 32
            rows.append((name, label, index, group, split, "ok", "", "decord", 30, 25.0, 64, 48, 1.2, 999, digest))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def test_a_good_index_passes_and_its_pages_are_written(tmp_path: Path) -> None:
    """Result as JSON without times, Data Docs as HTML."""
    result = validate_index(good_index(), ["jump", "run"], params_with().validate_, tmp_path / "docs")
    assert result.success, sentences(result)
    assert result.facts["splits"] == {"train": 2, "val": 2, "test": 2}
    assert (tmp_path / "docs" / "index.html").stat().st_size > 1000
    save_result(result, tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["success"] is True


BREAKS = [
    ("num_frames", 0, 3, "a video has 8 to 100000 frames", "jump/a.mp4: num_frames is 3"),
    ("duration_sec", 1, 1e5, "a video lasts at most 3600 s", "jump/b.mp4: duration_sec is 100000.0"),
    ("split", 0, "val", "no group is on two sides", "a: splits is 2"),
    ("split", 2, "", "every class is in each split", "jump: splits is 2"),
    ("label", 5, "swim", "every label is a known class", "run/c.mp4: label is swim"),
    ("id", 1, "jump/a.mp4", "every file has one row", "jump/a.mp4: id is jump/a.mp4"),
    ("status", 0, "unreadable", "at most 2.0% of the files that take part", "unreadable_share is 0.1666"),
    ("status", 1, "truncated", "at most 2.0% of the files that take part", "unreadable_share is 0.1666"),
    ("width", 3, 8, "width is at least 16 pixels", "run/a.mp4: width is 8"),
]


@pytest.mark.parametrize(("column", "row", "value", "rule", "names"), BREAKS, ids=[rule for *_, rule, _ in BREAKS])
def test_a_broken_rule_is_said_in_words_with_its_rows(
    tmp_path: Path, column: str, row: int, value: object, rule: str, names: str
) -> None:
    """One thing wrong, and the sentence that says so."""
    table = good_index()
    table.loc[row, column] = value
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs")
    assert not result.success
    assert rule in sentences(result)
    assert names in sentences(result)


def test_a_split_that_evaluation_needs_must_have_videos(tmp_path: Path) -> None:
    """Found before training, not after."""
    table = good_index()
    table.loc[table["split"] == "test", "split"] = ""
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs", ["test", "train"])
    assert "every split that training or evaluation needs has videos" in sentences(result)
    assert "test: videos is 0" in sentences(result)


def test_files_that_take_no_part_do_not_dilute_the_unreadable_ones(tmp_path: Path) -> None:
    """1 of 6 is 17 %, whatever lies beside them; the missing ones have a limit of their own."""
    table = good_index()
    table.loc[0, ["status", "split"]] = "unreadable", ""
    beside = pd.concat([good_index()] * 5, ignore_index=True)
    beside["id"] = [f"beside/{number}.mp4" for number in range(len(beside))]
    beside["split"] = ""
    beside["status"] = ["missing", "unlisted", "unmatched"] * 10
    beside.loc[beside["status"] == "unmatched", ["label", "label_index"]] = "", -1
    table = pd.concat([table, beside], ignore_index=True)
    limits = {"max_unreadable_share": 0.16, "min_videos_per_class": 2}
    result = validate_index(table, ["jump", "run"], params_with(validate=limits).validate_, tmp_path / "a", ["test"])
    assert [fault.rows for fault in result.faults] == [["all files: unreadable_share is 0.16666666666666666"]]
    limits["max_unreadable_share"] = 0.17
    result = validate_index(table, ["jump", "run"], params_with(validate=limits).validate_, tmp_path / "b", ["test"])
    assert result.success, sentences(result)


def test_one_class_is_refused(tmp_path: Path) -> None:
    """It would be recognised in all cases."""
    result = validate_index(good_index().iloc[:3], ["jump"], params_with().validate_, tmp_path / "docs")
    assert sentences(result) == (
        "  expected: at least two classes have usable videos; but\n    all files: classes is 1"
    )


def test_a_class_whose_videos_are_all_missing_or_broken_is_named(tmp_path: Path) -> None:
    """But not one that the lists leave out."""
    table = pd.concat([good_index(), good_index().iloc[:3]], ignore_index=True)
    table.loc[6:, ["label", "label_index", "split"]] = "swim", 2, ""
    table.loc[6:, "id"] = [f"swim/{number}.mp4" for number in range(3)]
    for status, label_index, named in (("missing", 2, True), ("unreadable", 2, True), ("unlisted", -1, False)):
        table.loc[6:, ["status", "label_index"]] = status, label_index
        params = params_with(validate={"max_unreadable_share": 1.0}).validate_
        result = validate_index(table, ["jump", "run", "swim"], params, tmp_path / status)
        assert ("swim: videos is 0" in sentences(result)) == named, status


def test_files_that_were_set_aside_are_a_warning(tmp_path: Path) -> None:
    """By name, in each kind; those of classes that the lists leave out are meant to be."""
    table = pd.concat([good_index(), good_index().iloc[:4]], ignore_index=True)
    table.loc[6:, "id"] = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    table.loc[6:, "split"] = ""
    table.loc[6:, "status"] = ["unmatched", "missing", "unlisted", "unlisted"]
    table.loc[6:, "reason"] = ["", "", UNLISTED, OTHER_CLASS]
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs")
    assert result.success, sentences(result)
    assert {warning.what: warning.rows for warning in result.warnings} == {
        "1 files that index.pattern does not match": ["a.mp4"],
        "1 videos that the split lists name, but that are not there": ["b.mp4"],
        "1 videos of the lists' classes that no split list names": ["c.mp4"],
    }
    assert [line.split(":")[0] for line in result.facts["unused"]] == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_class_may_miss_a_split_that_nobody_needs(tmp_path: Path) -> None:
    """A gap in the validation curve is a warning, one in training or test a fault."""
    table = good_index()
    table.loc[1, "split"], table.loc[1, "group"] = "train", "d"
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "a", ["test", "train"])
    assert result.success, sentences(result)
    assert [warning.rows for warning in result.warnings] == [["jump: not in val"]]
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "b", ["test", "train", "val"])
    assert "jump: splits is 2" in sentences(result)
    assert "another index.split_seed" in sentences(result)
    assert not result.warnings


def test_the_same_file_on_two_sides_is_a_warning(tmp_path: Path) -> None:
    """It does not stop the pipeline, but it is said."""
    table = good_index()
    table.loc[2, "sha256"] = table.loc[0, "sha256"]
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs")
    assert result.success
    assert result.warnings[0].rows == ["jump/a.mp4 (train) = jump/c.mp4 (test)"]


def test_the_stage_fails_with_a_sentence_and_without_a_result(tmp_path: Path) -> None:
    """A class with one video stops the pipeline; the pages stay for a look."""
    table = good_index().iloc[:4]
    save_index(table, tmp_path / "index.csv")
    (tmp_path / "labels.txt").write_text("jump\nrun\n")
    write_params(tmp_path / "params.yaml")
    done = pptsm(
        "validate", "--index", "index.csv", "--labels", "labels.txt", "--out", "r.json", "--docs", "docs",
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a class has at least 3 usable videos" in done.stderr
    assert "run: videos is 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()
    assert (tmp_path / "docs" / "index.html").exists()
