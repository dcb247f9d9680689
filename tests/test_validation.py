"""Great Expectations stops a broken index and names the rows."""

import html
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from conftest import good_index, params_with, pptsm, write_params
from pptsm.data.table import OTHER_CLASS, UNLISTED, save_index
from pptsm.validation.index import validate_index
from pptsm.validation.result import save_result, sentences
from pptsm.validation.rules import INDEX as INDEX_RULES
from pptsm.validation.rules import SPLIT as SPLIT_RULES
from pptsm.validation.rules import asked
from pptsm.validation.tables import index_tables


def test_a_good_index_passes_and_its_pages_are_written(tmp_path: Path) -> None:
    """Result as JSON without times, Data Docs as HTML."""
    result = validate_index(good_index(), ["jump", "run"], params_with().validate_, tmp_path / "docs")
    assert result.success, sentences(result, INDEX)
    assert result.facts["splits"] == {"train": 2, "val": 2, "test": 2}
    assert (tmp_path / "docs" / "index.html").stat().st_size > 1000
    save_result(result, tmp_path / "result.json", INDEX)
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["success"] is True
    assert saved["expectations"] == sum(suite["rules"] for suite in saved["suites"].values())
    assert {name: suite["warnings"] for name, suite in saved["suites"].items()} == {"index": 0, "splits": 0}


def test_the_first_page_needs_no_network(tmp_path: Path) -> None:
    """It names every rule and what breaks it, links pages that are there, and takes nothing from elsewhere."""
    table = good_index()
    table.loc[0, "num_frames"] = 3
    validate_index(table, ["jump", "run"], params_with().validate_, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "http" not in page
    assert "<script" not in page
    assert page.count("<tr>") == len(
        asked((*INDEX_RULES, *SPLIT_RULES), index_tables(table, ["jump", "run"], params_with().validate_, ())[1])
    )
    assert "jump/a.mp4 (class jump, train): num_frames is 3" in page
    assert "broken (error)" in page
    links = [html.unescape(link) for link in re.findall('href="([^"]+)"', page)]
    assert len(links) > 5
    assert all((tmp_path / unquote(link)).is_file() for link in links)


INDEX = Path("data/index.csv")
BREAKS = [
    ("num_frames", 0, 3, "a video has 8 to 100000 frames", "jump/a.mp4 (class jump, train): num_frames is 3"),
    ("duration_sec", 1, 1e5, "a video lasts at most 3600 s", "jump/b.mp4 (class jump, val): duration_sec is 100000.0"),
    (
        "split",
        0,
        "val",
        "no group is on two sides",
        "group a: in train and val\n      jump/a.mp4 (class jump, val)\n      run/a.mp4 (class run, train)",
    ),
    ("split", 2, "", "every class is in each split", "class jump: 2 usable videos (train 1, val 1, test 0)"),
    ("label", 5, "swim", "every label is a known class", "run/c.mp4 (class swim, test): label is swim"),
    ("id", 1, "jump/a.mp4", "every clip has one row", "jump/a.mp4 (class jump, val): id is jump/a.mp4"),
    ("status", 0, "unreadable", "at most 2.0% of the files that take part", "1 of 6 files (16.7%)\n      jump/a.mp4"),
    ("status", 1, "truncated", "at most 2.0% of the files that take part", "1 of 6 files (16.7%)\n      jump/b.mp4"),
    ("first_frame", 4, -1, "no clip begins before its file", "run/b.mp4 (class run, val): first_frame is -1"),
    ("width", 3, 8, "width is at least 16 pixels", "run/a.mp4 (class run, train): width is 8"),
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
    assert rule in sentences(result, INDEX)
    assert names in sentences(result, INDEX)


def test_a_split_that_evaluation_needs_must_have_videos(tmp_path: Path) -> None:
    """Found before training, not after."""
    table = good_index()
    table.loc[table["split"] == "test", "split"] = ""
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs", ["test", "train"])
    assert "every split that training or evaluation needs has videos" in sentences(result, INDEX)
    assert "split test: no usable video (train 2, val 2, test 0)" in sentences(result, INDEX)


def test_files_that_take_no_part_do_not_dilute_the_unreadable_ones(tmp_path: Path) -> None:
    """1 of 6 is 17 %, whatever lies beside them; the missing ones have a limit of their own."""
    table = good_index()
    table.loc[0, ["status", "reason", "split"]] = "unreadable", "the file is empty", ""
    beside = pd.concat([good_index()] * 5, ignore_index=True)
    beside["id"] = [f"beside/{number}.mp4" for number in range(len(beside))]
    beside["split"] = ""
    beside["status"] = ["missing", "unlisted", "unmatched"] * 10
    beside.loc[beside["status"] == "unmatched", ["label", "label_index"]] = "", -1
    table = pd.concat([table, beside], ignore_index=True)
    limits = {"max_unreadable_share": 0.16, "min_videos_per_class": 2}
    result = validate_index(table, ["jump", "run"], params_with(validate=limits).validate_, tmp_path / "a", ["test"])
    assert [fault.lines.first for fault in result.faults] == [
        ["1 of 6 files (16.7%)", "  jump/a.mp4 (class jump, no split: unreadable, the file is empty)"]
    ]
    limits["max_unreadable_share"] = 0.17
    result = validate_index(table, ["jump", "run"], params_with(validate=limits).validate_, tmp_path / "b", ["test"])
    assert result.success, sentences(result, INDEX)


def test_one_class_is_refused(tmp_path: Path) -> None:
    """It would be recognised in all cases."""
    result = validate_index(good_index().iloc[:3], ["jump"], params_with().validate_, tmp_path / "docs")
    assert sentences(result, INDEX) == (
        "  expected: at least two classes have usable videos; but\n    usable videos are of 1 classes: jump"
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
        named_with_file = "class swim: 0 usable videos (train 0, val 0, test 0)\n      swim/0.mp4" in sentences(
            result, INDEX
        )
        assert named_with_file == named, status


def test_files_that_were_set_aside_are_a_warning(tmp_path: Path) -> None:
    """By name, in each kind; those of classes that the lists leave out are meant to be."""
    table = pd.concat([good_index(), good_index().iloc[:4]], ignore_index=True)
    table.loc[6:, "id"] = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    table.loc[6:, "split"] = ""
    table.loc[6:, "status"] = ["unmatched", "missing", "unlisted", "unlisted"]
    table.loc[6:, "reason"] = ["", "", UNLISTED, OTHER_CLASS]
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs")
    assert result.success, sentences(result, INDEX)
    assert {warning.what: warning.lines.first for warning in result.warnings} == {
        "1 files that index.pattern does not match": ["a.mp4 (class jump, no split: unmatched, )"],
        "1 clips that annotations or lists name, but that are not there": ["b.mp4 (class jump, no split: missing, )"],
        "1 videos that no annotation or list names": [f"c.mp4 (class jump, no split: unlisted, {UNLISTED})"],
    }
    assert [line.split()[0] for line in result.unused.first] == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_class_may_miss_a_split_that_nobody_needs(tmp_path: Path) -> None:
    """A gap in the validation curve is a warning, one in training or test a fault."""
    table = good_index()
    table.loc[1, "split"], table.loc[1, "group"] = "train", "d"
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "a", ["test", "train"])
    assert result.success, sentences(result, INDEX)
    assert [warning.lines.first for warning in result.warnings] == [["jump: not in val"]]
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "b", ["test", "train", "val"])
    assert "class jump: 3 usable videos (train 2, val 0, test 1)" in sentences(result, INDEX)
    assert "where shares decide, another index.split_seed" in sentences(result, INDEX)
    assert not result.warnings


def test_a_class_that_dwarfs_another_is_a_warning(tmp_path: Path) -> None:
    """Six videos for one of three; null asks nothing."""
    table = pd.concat([good_index(), good_index().iloc[:3]], ignore_index=True)
    table.loc[6:, "id"] = ["jump/d.mp4", "jump/e.mp4", "jump/f.mp4"]
    table.loc[6:, "sha256"] = ["d" * 64, "e" * 64, "f" * 64]
    for limit, warned in ((1.9, True), (2.0, False), (None, False)):
        params = params_with(validate={"max_imbalance": limit}).validate_
        result = validate_index(table, ["jump", "run"], params, tmp_path / str(limit))
        assert result.success, sentences(result, INDEX)
        said = [warning.lines.first for warning in result.warnings]
        assert said == ([["jump has 6 videos, run 3: 2.0 times as many"]] if warned else [])


def with_missing() -> pd.DataFrame:
    """A good index, and a video of class run and two of a third class that lists name, but that are not there."""
    table = pd.concat([good_index(), good_index().iloc[3:6]], ignore_index=True)
    table.loc[6:, "id"] = ["run/x.mp4", "swim/y.mp4", "swim/z.mp4"]
    table.loc[6:, ["status", "reason", "split"]] = "missing", "named in a list", ""
    table.loc[7:, ["label", "label_index"]] = "swim", 2
    return table


def test_coverage_counts_by_class_what_lists_name_and_what_is_there(tmp_path: Path) -> None:
    """The class that lacks most comes first; where all is there, nothing is said."""
    params = params_with(validate={"min_class_coverage": 0.76, "min_videos_per_class": 0}).validate_
    result = validate_index(with_missing(), ["jump", "run", "swim"], params, tmp_path / "docs", ["val"])
    assert result.coverage == {
        "named": 9,
        "found": 6,
        "classes": [
            {"class": "swim", "named": 2, "found": 0, "share": 0.0},
            {"class": "run", "named": 4, "found": 3, "share": 0.75},
            {"class": "jump", "named": 3, "found": 3, "share": 1.0},
        ],
    }
    covered = next(fault for fault in result.faults if "validate.min_class_coverage" in fault.what)
    assert covered.lines.first == [
        "class run: 75.0% of its videos are there",
        "  run/x.mp4 (class run, no split: missing, named in a list)",
        "class swim: 0.0% of its videos are there",
        "  swim/y.mp4 (class swim, no split: missing, named in a list)",
        "  swim/z.mp4 (class swim, no split: missing, named in a list)",
    ]
    assert validate_index(good_index(), ["jump", "run"], params, tmp_path / "whole").coverage is None


@pytest.mark.parametrize(("least", "stops"), [(1, True), (0, False)])
def test_a_class_of_the_labels_without_any_video_is_said(tmp_path: Path, least: int, stops: bool) -> None:
    """A fault, or where 0 videos are enough a warning; the file may name more classes than a copy has."""
    params = params_with(validate={"min_videos_per_class": least}).validate_
    result = validate_index(good_index(), ["jump", "run", "swim"], params, tmp_path / "docs")
    assert result.success is not stops
    said = result.faults if stops else result.warnings
    assert [fault.lines.first for fault in said] == [["class swim: 0 usable videos (train 0, val 0, test 0)"]] * len(
        said
    )
    assert "every class of the labels" in said[0].what or "at least 1 usable videos" in said[0].what


def test_every_rule_speaks_of_a_column_that_its_table_has() -> None:
    """And of limits that are there: a rule that names others would fail only when it is broken."""
    tables, limits = index_tables(good_index(), ["jump", "run"], params_with().validate_, ["test"])
    for rule in asked((*INDEX_RULES, *SPLIT_RULES), limits):
        assert not rule.column or rule.column in tables[rule.table].rows.columns, rule
        assert "{" not in rule.says


def test_of_many_files_the_first_are_named_and_where_the_others_are(tmp_path: Path) -> None:
    """Ten lines to a person and fifty in the result, which an index of thousands must not swell."""
    table = pd.concat([good_index()] * 20, ignore_index=True)
    table["id"] = [f"{label}/{number:03d}.mp4" for number, label in enumerate(table["label"])]
    table.loc[table.index >= 60, ["status", "reason", "split"]] = "excluded", "index.exclude has 'x'", ""
    table.loc[table.index < 30, "num_frames"] = 3
    result = validate_index(table, ["jump", "run"], params_with().validate_, tmp_path / "docs")
    lines = sentences(result, INDEX).splitlines()
    assert len(lines) == 12
    assert lines[-1].strip() == "... and 20 more, see data/index.csv"
    save_result(result, tmp_path / "result.json", INDEX)
    saved = json.loads((tmp_path / "result.json").read_text())
    for rows in (saved["warnings"][0]["rows"], saved["unused"]):
        assert len(rows) == 51
        assert rows[-1] == "... and 10 more, see data/index.csv"


EVIL = ["<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "<b>$x {{ 7 * 7 }}</b>", "<svg onload=alert(3)>"]


def test_names_are_text_in_the_pages(tmp_path: Path) -> None:
    """Labels, groups, files and a status that are HTML: none runs, and those that break a rule are shown."""
    table = good_index()
    table.loc[:3, "label"] = EVIL
    table.loc[4:5, "id"] = [f"run/{EVIL[3]}.mp4"] * 2
    table["group"] = [EVIL[0], EVIL[0], *EVIL]
    table.loc[5, "status"] = EVIL[1]
    table["num_frames"] = 1
    result = validate_index(table, ["run", *EVIL[1:]], params_with().validate_, tmp_path / "docs")
    assert len(result.faults) >= 6
    pages = "".join(page.read_text() for page in (tmp_path / "docs").rglob("*.html"))
    assert not [text for text in EVIL if text in pages]
    assert [html.escape(text) in pages for text in EVIL] == [True] * 4
    assert EVIL[0] in sentences(result, INDEX)  # a person is told the name as it is


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
    assert "class run: 1 usable videos (train 1, val 0, test 0)" in done.stderr
    assert done.stderr.startswith("validate: loading Great Expectations, to check 4 rows\n")  # which takes seconds
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()
    assert (tmp_path / "docs" / "index.html").exists()
