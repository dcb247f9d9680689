"""Great Expectations stops a broken index and names the rows."""

import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import params_with, pptsm, write_params
from pptsm.data.table import COLUMNS, save_index
from pptsm.data.validation import save_result, sentences, validate_index


def good_index() -> pd.DataFrame:
    """Two classes, three groups, every class in every split."""
    rows = []
    for index, label in enumerate(["jump", "run"]):
        for group, split in (("a", "train"), ("b", "val"), ("c", "test")):
            name = f"{label}/{group}.mp4"
            digest = f"{index}{group}" * 32
            rows.append((name, label, index, group, split, "ok", "", 30, 25.0, 64, 48, 1.2, 999, digest))
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
