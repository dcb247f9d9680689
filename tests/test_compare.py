"""Experiments compared: pairs and repeats by hand, and `pptsm compare` on real experiments of DVC."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import run
from helpers.small_project import git, small_project
from pptsm.evaluation.over_seeds import over_seeds
from pptsm.evaluation.statistics import gain_over
from pptsm.experiments.compare import as_values, compare
from pptsm.experiments.gather import Cost, Experiment
from pptsm.experiments.pages import write_page
from pptsm.experiments.table import WIDTH, as_text, notes
from pptsm.runtime.errors import UserError

VIDEOS = 8


def experiment(name: str, right: str, kind: str = "experiment", **parameters: Any) -> Experiment:
    """One whose student recognised the videos with a 1; two videos are of a group."""
    ids = [f"v{number}" for number in range(len(right))]
    labels = ["a", "b"] * (len(right) // 2)
    answers = [label if each == "1" else "c" for label, each in zip(labels, right, strict=True)]
    predictions = pd.DataFrame({"id": ids, "label": labels, "top1": answers}).assign(role="student", sampling="uniform")
    groups = [f"g{number // 2}" for number in range(len(right))]
    videos = pd.DataFrame({"id": ids, "label": labels, "group": groups, "split": "test", "first_frame": 0})
    share = right.count("1") / len(right)
    figures = {"top1": share, "top1_low": share / 2, "top1_high": 1.0, "top1_low_by_group": None, "videos": len(right)}
    return Experiment(
        name=name,
        revision="0" * 40,
        kind=kind,  # type: ignore[arg-type]
        state="done",
        parameters={"seed": 1, "sampling": "uniform", "report.title": "x"} | parameters,
        metrics={"student": {"uniform": figures}},
        predictions=predictions,
        videos=videos.assign(sha256=[f"{number:064}" for number in range(len(right))]),
        cost=Cost(1.5, 0.745, 0.9),
    )


BASE = experiment("(commit 0000000)", "11110000", kind="commit")


def test_a_gain_is_that_of_the_same_videos() -> None:
    """Whatever order the tables have; by hand: 3 videos only here, 1 only there, p of 4 tosses of which 1 is tails."""
    other = experiment("other", "01111110", **{"clip.input": "both"})
    shuffled = replace(other, predictions=other.predictions.sample(frac=1, random_state=1))  # type: ignore[union-attr]
    row = compare([BASE, shuffled]).of("other")
    assert row.differs == {"clip.input": "both"}
    assert row.paired is not None
    assert (row.paired.only_here, row.paired.only_baseline, row.paired.videos, row.paired.groups) == (3, 1, 8, 4)
    assert row.paired.p_value == pytest.approx(2 * (1 + 4) / 2**4)
    assert row.paired.gain.gain == pytest.approx(0.25)
    answers = [[each == "1" for each in right] for right in ("01111110", "11110000")]
    expected = gain_over(*map(pd.Series.to_numpy, map(pd.Series, answers)), ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert row.paired.gain == expected


def test_the_baseline_may_be_another() -> None:
    """The sign turns; one without figures cannot be it, and the commit without figures leaves no test."""
    other = experiment("other", "01111110")
    row = compare([BASE, other], against="other").of(BASE.name)
    assert row.paired is not None
    assert row.paired.gain.gain == pytest.approx(-0.25)
    left = replace(BASE, state="left", left=("student",), metrics={})
    with pytest.raises(UserError, match=r"cannot be the baseline: its dvc.lock has no run of its own parameters"):
        compare([left, other], against=left.name)
    found = compare([left, other])
    assert found.baseline is None
    assert found.of("other").paired is None
    assert "--against" in notes(found)[0]
    nobodys = compare([BASE, other], network="peer")
    assert nobodys.no_baseline == f"{BASE.name}: it has no peer; it has student"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"videos": {"sha256": "1" * 64}}, "the content of 8 of 8 videos is another"),
        ({"videos": {"group": "one"}}, "the group of 8 of 8 videos is another"),
        ({"predictions": {"label": "a"}}, "the label of 4 of 8 videos is another"),
        ({"predictions": None}, "the answers of each video are not kept"),
    ],
)
def test_other_videos_are_not_paired(change: dict[str, Any], said: str) -> None:
    """Same names are not enough: another content, label or group is another video. A sentence says so."""
    other = experiment("other", "01111110")
    for field, columns in change.items():
        table = getattr(other, field)
        other = replace(other, **{field: None if columns is None else table.assign(**columns)})
    row = compare([BASE, other]).of("other")
    assert row.paired is None
    assert row.not_paired is not None
    assert said in row.not_paired


def test_another_split_is_not_paired_and_other_training_videos_are_said() -> None:
    """Fewer or more test videos are others; the same may be asked of networks trained on others."""
    found = compare([BASE, experiment("fewer", "111111")])
    assert found.of("fewer").not_paired == "no paired test: other videos (6 of 6 are also the baseline's 8)"
    other = experiment("trained", "11111111")
    assert other.videos is not None
    more = pd.concat([other.videos, other.videos.tail(1).assign(id="new", split="train")])
    row = compare([BASE, replace(other, videos=more)]).of("trained")
    assert row.paired is not None
    assert row.other_training
    assert not compare([BASE, other]).of("trained").other_training


def test_p_values_allow_for_how_many_are_looked_at() -> None:
    """Holm by hand: the smallest of two counts double, and no later one less than an earlier one."""
    rows = [experiment("one", "11111111", a=1), experiment("two", "11111110", a=2)]
    found = compare([BASE, *rows])
    smaller, larger = (found.of(name).paired for name in ("one", "two"))
    assert smaller is not None
    assert larger is not None
    assert (smaller.p_value, larger.p_value) == (pytest.approx(2 / 2**4), pytest.approx(2 / 2**3))
    assert (smaller.p_adjusted, larger.p_adjusted) == (pytest.approx(0.25), pytest.approx(0.25))


def test_repeats_over_seeds_are_one_setting() -> None:
    """Mean and Student's interval by hand; other parameters, or other data, are another setting; compute is none."""
    repeats = [experiment(f"b{seed}", right, seed=seed) for seed, right in ((2, "11111000"), (3, "11111100"))]
    wider = [experiment(f"w{seed}", "1" * 8, seed=seed, width=2) for seed in (1, 2)]
    twice = experiment("again", "11110000", **{"compute.devices": 4})
    found = compare([BASE, *repeats, *wider, twice])
    base, wide = found.settings
    assert base.is_baseline
    assert base.names == (BASE.name, "b2", "b3")
    assert base.seeds == (1, 2, 3)
    assert base.top1.mean == pytest.approx(0.625)
    assert base.top1.high == pytest.approx(0.625 + 4.302653 * 0.125 / 3**0.5)  # t of two degrees of freedom
    assert wide.differs == {"width": "2"}
    assert (wide.top1.low, wide.top1.high) == (1.0, 1.0)
    assert wide.gain is not None  # of seeds 1 and 2
    assert wide.gain.mean == pytest.approx((0.5 + 0.375) / 2)
    moved = replace(repeats[0], videos=repeats[0].videos.assign(split="train"))  # type: ignore[union-attr]
    assert compare([BASE, moved]).settings == []


def test_one_seed_has_no_interval_and_no_number_is_no_mean() -> None:
    """And what cannot be a share stays within 0 and 1."""
    assert over_seeds([0.5]).low is None
    with pytest.raises(ValueError, match="finite"):
        over_seeds([0.5, float("nan")])
    with pytest.raises(ValueError, match="at least one"):
        over_seeds([])
    assert over_seeds([0.9, 1.0], 0, 1).high == 1.0


def test_the_table_fits_and_the_page_shows_names_as_text(tmp_path: Path) -> None:
    """However long names, values and lists are; columns that nothing fills are left out. No mark-up of a name's."""
    long = experiment("sweep-" + "x" * 94, "11111111", **{"index.root": "/" + "y" * 150, "a[b]": [1]})
    many = experiment("<b>many</b>", "11111110", **{f"p{number}": number for number in range(20)})
    left = replace(BASE, name="left", kind="experiment", state="left", left=("student",), metrics={})
    repeat = experiment("repeat", "11110001", seed=2**31)
    found = compare([BASE, long, many, left, repeat])
    text = as_text(found)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "did not run" in text
    assert "and 13 more" in text
    assert "a[b]=[1]" in text
    head = next(line for line in text.splitlines() if "by video" in line)
    assert head.split()[-4:] == ["p", "min", "MB", "ms"]  # no column is cut off
    assert "0.745" in text
    assert len(found.settings) == 3
    write_page(found, "Title & co", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>many" not in page
    assert "&lt;b&gt;many" in page
    assert "p19=19" in page
    assert "<svg" in page
    values = json.loads(json.dumps(as_values(found), allow_nan=False))
    assert [each["state"] for each in values["experiments"]] == ["done", "done", "done", "left", "done"]
    assert values["experiments"][3]["figures"] is None


def test_without_any_figures_there_is_a_table_a_page_and_a_sentence(tmp_path: Path) -> None:
    """As before the first run."""
    nothing = replace(BASE, state="left", left=("code",), metrics={}, predictions=None, videos=None, cost=Cost())
    found = compare([nothing])
    assert "No baseline, so no gain and no test" in as_text(found)
    assert "There are no experiments of this commit" in as_text(found).replace("\n", " ")
    write_page(found, "x", tmp_path / "page.html")
    assert "<svg" not in (tmp_path / "page.html").read_text()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of DVC: one run that is committed, and experiments beside it; one was left early, one failed."""
    folder = small_project(tmp_path_factory.mktemp("a project") / "clone")
    for words in (["-n", "more", "-S", "bias=7"], ["-n", "again", "-S", "bias=8", "-S", "seed=2"]):
        run("dvc", "exp", "run", "-q", *words, cwd=folder)
    run("dvc", "exp", "run", "-q", "-n", "shifted", "-S", "index.shift=2", cwd=folder)
    run("dvc", "exp", "run", "-q", "-n", "early", "-S", "bias=5", "index", cwd=folder)
    git(folder, "checkout", "-q", ".")
    run("dvc", "checkout", "-q", cwd=folder)
    return folder


def test_experiments_of_dvc_are_compared(project: Path) -> None:
    """With the commit, each by what it changed; figures of another run are shown for none."""
    done = run("pptsm", "compare", "--json", cwd=project)
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["experiments"]}
    assert found["baseline"].startswith("(commit ")
    assert set(rows) == {found["baseline"], "more", "again", "shifted", "early"}  # the checkout is as the commit
    assert rows["more"]["differs"] == {"bias": "7"}
    paired = rows["more"]["paired"]
    assert (paired["only_here"], paired["only_baseline"], paired["videos"]) == (4, 0, 8)
    assert paired["p_value"] == pytest.approx(2 / 2**4)
    assert rows["shifted"]["not_paired"] == "no paired test: other videos (6 of 8 are also the baseline's 8)"
    assert rows["early"]["figures"] is None
    assert rows["early"]["did_not_run"] == ["evaluate", "package"]


def test_named_experiments_and_commits_are_compared_and_the_table_fits(project: Path) -> None:
    """With the last commit as the baseline, or with another; after an edit and a commit names still mean the same."""
    done = run("pptsm", "compare", "again", "--against", "more", "--out", "page.html", cwd=project)
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    assert "The baseline is more." in done.stdout
    assert "+12.5" in done.stdout
    assert "early" not in done.stdout
    assert (project / "page.html").read_text().startswith("<!doctype html>")
    (project / "page.html").unlink()
    git(project, "commit", "-q", "--allow-empty", "-m", "later")
    try:
        found = json.loads(run("pptsm", "compare", "more", "HEAD~1", "--json", cwd=project).stdout)
        assert [row["name"] for row in found["experiments"]][1:] == ["more", "HEAD~1"]
        assert found["experiments"][1]["paired"]["only_here"] == 4
    finally:
        git(project, "reset", "-q", "--hard", "HEAD~1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "there is no experiment and no commit 'nosuch': the last commit's are "),
        (["--against", "early"], "early cannot be the baseline: it was left before its end (evaluate did not run)"),
    ],
)
def test_what_cannot_be_compared_is_said(project: Path, words: list[str], said: str) -> None:
    """In a sentence, and no page is written."""
    done = run("pptsm", "compare", "--out", "page.html", *words, cwd=project, check=False)
    assert said in (done.stdout + done.stderr).replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert not (project / "page.html").exists()


def test_outside_of_a_project_the_user_is_told(tmp_path: Path) -> None:
    """No trace, and nothing is written."""
    done = run("pptsm", "compare", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "no project is here: cannot read dvc.yaml" in done.stderr
    assert list(tmp_path.iterdir()) == []
