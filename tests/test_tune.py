"""A search for settings: what may be asked for, and one that is killed and goes on, on real experiments of DVC."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import default_values, run
from helpers.small_project import small_project
from pptsm.experiments.pages import in_full, write_search
from pptsm.experiments.space import Searched, override, read_space
from pptsm.experiments.tuning import History, Search, Trial, as_study, importances, validation_of
from pptsm.runtime.errors import UserError

VALUES = default_values()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.base_lr=log:0.005..0.1", Searched("training.base_lr", 0.005, 0.1, log=True)),
        ("student.epochs=5..20", Searched("student.epochs", 5, 20, whole=True)),
        ("training.base_lr=0.01..1", Searched("training.base_lr", 0.01, 1)),
        ("training.base_lr=1e-3..1e-1", Searched("training.base_lr", 0.001, 0.1)),
        ("training.batch_size=8|16", Searched("training.batch_size", choices=(8, 16))),
        ("clip.input=rgb|both", Searched("clip.input", choices=("rgb", "both"))),
    ],
)
def test_what_may_be_is_read(text: str, expected: Searched) -> None:
    """Ranges with both ends, on a logarithmic scale or of whole numbers; choices of any kind."""
    assert read_space([text], VALUES) == [expected]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training.base_lr", "names no parameter"),
        ("training.base_lr=0.1", "has no range and no choices"),
        ("training.base_lr=0.1..0.01", "the lower end comes first"),
        ("training.base_lr=log:0..1", "above 0"),
        ("training.base_lr=nan..1", "has no range"),
        ("training.no_such=1..2", r"params.yaml has no training.no_such"),
        ("index.val_share=0.1..0.2", "cannot be tuned: index decides which videos"),
        ("seed=1|2", "cannot be tuned: seed decides"),
        ("student.epochs=-5..20", "student.epochs"),
        ("training.batch_size=8|8", "names a value twice"),
        ("params.yaml:training.base_lr=1..2", "names no parameter"),
    ],
)
def test_what_cannot_be_is_refused(text: str, said: str) -> None:
    """Before anything runs: also a value that params.yaml could not have."""
    with pytest.raises(UserError, match=said):
        read_space([text], VALUES)


def test_a_value_is_written_as_dvc_takes_it() -> None:
    """And a proposal is rounded to what is written, so that an experiment is found again by it."""
    assert override("training.base_lr", 0.01) == "training.base_lr=0.01"
    assert override("index.val_groups", ["a", "b"]) == "index.val_groups=[a, b]"
    assert override("clip.input", "both") == "clip.input=both"
    assert Searched("a", 0.0, 1.0).value(0.123456789) == 0.123457
    searched = Searched("a", choices=([], [2]))
    assert searched.value(searched.proposed([2])) == [2]
    assert searched.proposed([3]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("epoch,val_top1,kept\n1,0.5,0\n2,0.75,1\n3,0.9,0\n", 0.75),  # not the best, the kept one
        ("epoch,kept\n1,1\n", None),
        ("epoch,val_top1,kept\n1,nan,1\n", None),
        ("epoch,val_top1,kept\n1,1.5,1\n", None),
        ("epoch,val_top1,kept\n", None),
        ("", None),
    ],
)
def test_the_value_is_that_of_the_epoch_that_was_kept(text: str, value: float | None) -> None:
    """What is no number, or no share, is none."""
    assert validation_of(text.encode()) == value


def history_of(values: list[float | None]) -> tuple[Search, History]:
    search = Search(Path(), "x", [Searched("a", 0.0, 1.0), Searched("b", choices=("<i>", "z"))], ["a=0.0..1.0"], 20)
    trials = [
        Trial(n, f"t{n}", {"a": n / 20, "b": "<i>"}, "done" if value is not None else "failed", value)
        for n, value in enumerate(values)
    ]
    return search, History(Path("x.json"), search.texts, {}, None, trials)


def test_the_page_has_history_best_and_names_as_text(tmp_path: Path) -> None:
    """A failed trial is no best; the parameter that decides everything has most of the importance."""
    search, history = history_of([0.1, None, *(n / 20 for n in range(2, 16))])
    write_search(search, history, "x", 20, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<i>" not in page
    assert "&lt;i&gt;" in page
    assert "<svg" in page
    assert "failed" in page
    assert "of 20 videos" in page
    assert in_full(search, history) == "dvc exp run --temp -n x-best -S a=0.75 -S 'b=<i>'"
    found = importances(search, history)
    assert found["a"] > 0.9
    assert len(as_study(search, history).trials) == 16
    nothing = history_of([])[1]
    write_search(search, nothing, "x", 0, tmp_path / "empty.html")
    assert "0 of 20 trials" in (tmp_path / "empty.html").read_text()


SEARCH = """
import sys
from pathlib import Path
from pptsm.experiments.space import read_space
from pptsm.experiments.tuning import Search, tune
values = {"training": {"rate": 0.5, "depth": 2}}
texts = ["training.rate=0.01..0.8", "training.depth=1|2|3"]
space = read_space(texts, values, lambda *_: None)
found = tune(Search(Path(), "s", space, texts, int(sys.argv[1])))
print(found.best.value)
"""


def searching(project: Path, trials: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(trials)],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PPTSM_STATE": str(project / ".pptsm")},
    )


def history_in(project: Path) -> Any:
    return json.loads((project / ".pptsm/tuning/s.json").read_text())


@pytest.mark.slow
def test_a_killed_search_goes_on_and_what_was_run_before_counts(tmp_path: Path) -> None:
    """Killed in its second trial: that one is run anew with the same settings; none is lost or done twice.

    The commit itself is the first trial, and an experiment that was made by hand the second.
    """
    project = small_project(tmp_path / "clone")
    run("dvc", "exp", "run", "-q", "--temp", "-n", "by-hand", "-S", "training.rate=0.25", "train", cwd=project)
    killed = searching(project, 4)
    deadline = time.monotonic() + 300
    while not (
        (project / ".pptsm/tuning/s.json").exists()
        and [trial for trial in history_in(project)["trials"] if trial["state"] == "pending"]
    ):
        assert time.monotonic() < deadline
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = history_in(project)["trials"]
    assert [(trial["state"], trial["value"]) for trial in left[:2]] == [("done", 0.6), ("done", 0.85)]
    assert left[1]["name"] == "by-hand"
    done = searching(project, 4)
    said = done.communicate()[0]
    assert done.returncode == 0, said
    trials = history_in(project)["trials"]
    assert [trial["state"] for trial in trials] == ["done"] * 4
    assert [trial["settings"] for trial in trials[:3]] == [trial["settings"] for trial in left[:3]]
    for trial in trials:
        assert trial["value"] == pytest.approx(1 - abs(trial["settings"]["training.rate"] - 0.1))
    names = run("dvc", "exp", "list", "--name-only", cwd=project).stdout.split()
    assert sorted(name for name in names if name.startswith("tune-s-")) == ["tune-s-002", "tune-s-003"]
    assert run("git", "status", "--porcelain", "-uno", cwd=project).stdout == ""
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("bias: 3", "bias: 4"))
    other = searching(project, 5)
    assert "began with other parameters: bias differ" in other.communicate()[0]
    assert other.returncode != 0
