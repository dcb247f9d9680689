"""Videos that arrive in a folder: each is predicted once, and tried again where that may help."""

import os
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from conftest import pptsm
from pptsm.data.table import write_csv
from pptsm.runtime.errors import UserError
from pptsm.serving.inbox import Identity, Row, _row_of, due_videos, locked, read_results
from pptsm.serving.predictor import Answer, Guess


def test_hidden_files_are_no_new_videos_and_a_link_to_nothing_waits(tmp_path: Path) -> None:
    """The folder is walked as the index walks its root."""
    (tmp_path / "in").mkdir()
    for name in ("in/a.mp4", "in/.b.mp4"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "in" / "c.mp4").symlink_to(tmp_path / "nowhere.mp4")
    new, unsettled = due_videos(tmp_path / "in", read_results(tmp_path / "none.csv"))
    assert [path.name for path in new] == ["a.mp4"]
    assert unsettled == 1


def known_video(folder: Path, error: str, tries: int) -> dict[Identity, Row]:
    """A folder with one video, settled for long, and the row that an earlier run left of it."""
    video = folder / "one.mp4"
    video.touch()
    os.utime(video, (0, 0))
    return {("one.mp4", 0, 0): {"error": error, "tries": tries}}


@pytest.mark.parametrize(
    ("error", "tries", "due"), [("", 1, False), ("busy", 1, True), ("busy", 2, True), ("x", 3, False)]
)
def test_a_video_that_failed_is_due_in_three_runs(tmp_path: Path, error: str, tries: int, due: bool) -> None:
    """No error is for ever, and no broken file is decoded every ten minutes; what was predicted is done with."""
    assert bool(due_videos(tmp_path, known_video(tmp_path, error, tries))[0]) == due


def test_a_video_that_changed_is_due_again(tmp_path: Path) -> None:
    """Even one that failed three times."""
    known = known_video(tmp_path, "busy", 3)
    os.utime(tmp_path / "one.mp4", (1, 1))
    assert due_videos(tmp_path, known) == ({tmp_path / "one.mp4": ("one.mp4", 0, 10**9)}, 0)


@pytest.mark.parametrize("ahead_sec", [5, 86_400, 20_000 * 86_400])
def test_a_time_in_the_future_keeps_no_video_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ahead_sec: int
) -> None:
    """It is taken in the run that finds it still, and left to the next where it grows meanwhile."""
    monkeypatch.setattr("pptsm.serving.inbox.SETTLED_SEC", 2)
    future = time.time() + ahead_sec
    for name in ("grows.mp4", "still.mp4", "old.mp4"):
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (future, future) if name != "old.mp4" else (0, 0))

    def grow() -> None:
        (tmp_path / "grows.mp4").write_bytes(b"12")
        os.utime(tmp_path / "grows.mp4", (future, future))

    writer = threading.Timer(0.7, grow)
    writer.start()
    due, unsettled = due_videos(tmp_path, {})
    writer.join()
    assert ([path.name for path in due], unsettled) == (["old.mp4", "still.mp4"], 1)
    assert all(abs(changed_ns) < 1 << 63 for *_, changed_ns in due.values())
    assert "the time of 2 videos lies in the future" in capsys.readouterr().err
    known = {identity: {"error": "", "tries": 1} for identity in due.values()}
    assert list(due_videos(tmp_path, known)[0]) == [tmp_path / "grows.mp4"]


def test_every_name_that_a_disk_takes_survives_the_results(tmp_path: Path) -> None:
    """All control characters, quotes and separators, alone and at both ends."""
    names = [f"{sign}x{sign}y.mp4{sign}" for sign in [*map(chr, range(1, 33)), "\x7f", "\x85", "\u2028", '"', ",", "'"]]
    row = {"time": "t", "label": "a", "top": "", "error": "", "tries": 1, "model": "m", "score": 0.5}
    rows = {(name, 1, 2): row | {"file": name, "size_bytes": 1, "changed_ns": 2} for name in [*names, "", "nan"]}
    write_csv(pd.DataFrame(rows.values()), tmp_path / "results.csv")
    found = read_results(tmp_path / "results.csv")
    assert [(identity, found[identity]["label"]) for identity in found] == [(identity, "a") for identity in rows]


@pytest.mark.parametrize(
    "name", [*(f"x{sign}.mp4" for sign in '\r\n\t\x1b\x85\u2028",;'), "=cmd.mp4", "-b.mp4", "'=c.mp4"], ids=ascii
)
def test_a_name_of_any_characters_is_found_again_in_the_results(tmp_path: Path, name: str) -> None:
    """Else its video would be predicted for ever, or the results could not be read any more."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).touch()
    os.utime(tmp_path / "in" / name, (0, 0))
    due, _ = due_videos(tmp_path / "in", {})
    (identity,) = due.values()
    guesses = [Guess("=other", 0.5), Guess("a\rb", 0.25)]
    for answer in (Answer(tmp_path / "in" / name, guesses), Answer(tmp_path / "in" / name, [], "-bad\r\nfile")):
        row = _row_of(answer, identity, "revision", 3)
        write_csv(pd.DataFrame([row, row | {"file": "other"}]), tmp_path / "results.csv")
        known = read_results(tmp_path / "results.csv")
        assert known[identity] | {"score": str(row["score"])} == row | {"score": str(row["score"])}
        assert due_videos(tmp_path / "in", known) == ({}, 0)
        assert not [line for line in (tmp_path / "results.csv").read_text().split(",") if line.startswith(("=", "-b"))]


def test_results_that_are_something_else_are_refused(tmp_path: Path) -> None:
    """A table of other columns, and a place where nothing can be written."""
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lacks the columns changed_ns"):
        read_results(tmp_path / "other.csv")
    with pytest.raises(UserError, match="cannot write"), locked(tmp_path / "other.csv/results.csv"):
        pass


@pytest.mark.parametrize("words", [["one", "other"], ["one", "--json"]])
def test_a_table_of_results_is_that_of_one_folder(tmp_path: Path, words: list[str]) -> None:
    """Rows are known by their path below it; and the table takes the place of JSON."""
    done = pptsm("predict", *words, "--results", "results.csv", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --results takes one folder and no --json")
    assert list(tmp_path.iterdir()) == []
