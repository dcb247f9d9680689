"""Stage `check`: what cannot work is refused before anything is removed, and nothing runs again because of it."""

from pathlib import Path

import pytest
from flows.graph import graph

from conftest import ROOT, TINY, commit, copy_tree, moving_square, pptsm, run, write_params
from pptsm.video.encode import write_video

GRAPH = graph()
ARGUMENTS = ("check", "--drawn", "drawn", "--out", "data/checked")


def test_every_other_stage_comes_after_it() -> None:
    """Otherwise DVC would empty a stage's outputs for a params.yaml that the stage then refuses."""
    before = {name for name, stage in GRAPH.items() if stage.get("meta", {}).get("first")}
    assert before == {"code", "check"}
    after = set(GRAPH["check"]["outs"])
    for name, stage in GRAPH.items():
        if name not in before:
            assert after & set(stage["deps"]), f"nothing leads from check to {name}"
            for kind in ("outs", "metrics", "plots"):
                after |= {next(iter(out)) if isinstance(out, dict) else out for out in stage.get(kind, [])}


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"sampling": "dens"}, ["sampling is 'dens'"]),
        ({"index": {"root": "nowhere"}}, ["index.root is 'nowhere', but there is no such folder"]),
        ({"index": {"root": "drawn", "annotations": ["no.csv"]}}, ["index.annotations is 'no.csv', but there is no"]),
        (
            {"index": {"root": "drawn", "annotations": "params.yaml"}},
            [
                "index.annotations names 'params.yaml', which lies neither in data/annotations nor below",
                "cp -r params.yaml",
            ],
        ),
        (
            {"index": {"root": "drawn", "label_file": "no.txt", "group_file": "no.csv"}},
            ["index.group_file is 'no.csv', but there is no such file", "index.label_file is 'no.txt'"],
        ),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, changes: dict[str, object], sentences: list[str]) -> None:
    """Every fault has its sentence, and there is no output."""
    write_params(tmp_path / "params.yaml", changes)  # type: ignore[arg-type]
    done = pptsm(*ARGUMENTS, cwd=tmp_path, check=False)
    assert done.returncode == 2
    for sentence in sentences:
        assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("~/videos", "Write /home/somebody/videos, because no shell reads ~ here."),
        ("$HOME/videos", "Write /home/somebody/videos, because no shell reads $ here."),
        ("params.yaml", "index.root is 'params.yaml', but that is no folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_root_that_is_none_has_a_sentence(root: str, sentence: str, tmp_path: Path) -> None:
    """With the path to write where a shell would have found one."""
    write_params(tmp_path / "params.yaml", {"index": {"root": root}})
    done = pptsm(*ARGUMENTS, cwd=tmp_path, check=False, HOME="/home/somebody")
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("spelling", ["videos", "videos/", "./videos", "link", "link/"])
def test_a_root_may_be_spelled_in_many_ways(spelling: str, tmp_path: Path) -> None:
    """Relative, with a slash behind it, or through a link."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "link").symlink_to("videos")
    write_params(tmp_path / "params.yaml", {"index": {"root": spelling}})
    pptsm(*ARGUMENTS, cwd=tmp_path)


def test_without_options_it_answers_a_person_and_writes_nothing(tmp_path: Path) -> None:
    """The embedded dataset may still have to be drawn; another root, and every list, must be there."""
    write_params(tmp_path / "params.yaml")
    assert pptsm("check", cwd=tmp_path).stdout == "params.yaml can be used.\n"
    write_params(tmp_path / "params.yaml", {"index": {"root": "nowhere"}, "motion": {"videos_per_class": 0}})
    assert "index.root is 'nowhere'" in pptsm("check", cwd=tmp_path, check=False).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_locale_without_utf8_reads_the_same(tmp_path: Path) -> None:
    """A class named früh is that class in the index, whatever the locale says of file names."""
    for label, seed in (("früh", 0), ("spät", 1)):
        (tmp_path / "videos" / label).mkdir(parents=True)
        write_video(tmp_path / "videos" / label / "g_1.mp4", moving_square(12, seed=seed), 10, "h264")
    alone = {"train_share": 1.0, "val_share": 0.0, "test_share": 0.0}
    write_params(tmp_path / "params.yaml", {"index": {"root": "videos", **alone}})
    pptsm(*ARGUMENTS, cwd=tmp_path, **C_LOCALE)
    pptsm("index", "--out", "index.csv", "--labels", "labels.txt", cwd=tmp_path, **C_LOCALE)
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8") == "früh\nspät\n"


def test_what_a_terminal_cannot_show_does_not_stop_the_command(tmp_path: Path) -> None:
    """A name is shown escaped, and the file is written."""
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    done = pptsm("preset", "small", "--params", "früh.yaml", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.stdout.startswith("fr\\xfch.yaml is now preset small")
    assert (tmp_path / "früh.yaml").exists()


def test_make_checks_before_dvc_reads_params_yaml() -> None:
    """DVC ends with "unexpected error" at a null, and with "[Errno 2]" at a root that is gone, before any stage."""
    # under `make test`, make would say in which folder it is
    listed = run("make", "--no-print-directory", "-n", "repro", cwd=ROOT).stdout.splitlines()
    commands = [line.split("  #")[0] for line in listed]
    assert commands.index("pptsm check") < min(place for place, line in enumerate(commands) if line.startswith("dvc "))
    assert commands[-1] == "dvc repro"


def test_what_is_there_or_will_be_drawn_passes(tmp_path: Path) -> None:
    """Two different files of parameters give the same output, so that no stage sees a change."""
    (tmp_path / "videos").mkdir()
    contents = set()
    for root in ("videos", "drawn", "drawn/part"):
        write_params(tmp_path / "params.yaml", {"index": {"root": root}})
        pptsm(*ARGUMENTS, cwd=tmp_path)
        contents.add((tmp_path / "data/checked").read_bytes())
    assert len(contents) == 1


@pytest.mark.slow
def test_a_mistyped_override_removes_nothing(tmp_path: Path, tiny_project: Path) -> None:
    """`dvc exp run -S sampling=dens` ends in a sentence; teacher, student and their reports stay."""
    project = copy_tree(tiny_project, tmp_path / "clone")
    commit(project)
    outputs = ("data/index.csv", "data/frames", "models/teacher", "models/student", "reports/teacher.csv")
    done = run("dvc", "exp", "run", "-S", "sampling=dens", cwd=project, check=False)
    assert done.returncode != 0
    assert "sampling is 'dens', but should be 'uniform' or 'dense'" in done.stdout + done.stderr
    assert [name for name in outputs if not (project / name).exists()] == []
    run("git", "checkout", "-q", "params.yaml", cwd=project)
    assert "Running stage" not in run("dvc", "repro", cwd=project).stdout  # what check wrote is in DVC's cache
    assert "up to date" in run("dvc", "status", cwd=project).stdout


@pytest.mark.slow
def test_a_missing_root_has_a_sentence(tmp_path: Path, tiny_project: Path) -> None:
    """Ours, and not DVC's of a missing dependency."""
    project = copy_tree(tiny_project, tmp_path / "clone")
    write_params(project / "params.yaml", TINY, {"index": {"root": "nowhere"}})
    done = run("dvc", "repro", cwd=project, check=False)
    assert done.returncode != 0
    assert "index.root is 'nowhere', but there is no such folder" in done.stderr
    assert "Errno 2" not in done.stderr
    assert (project / "models/student").exists()


@pytest.mark.slow
def test_another_title_trains_nothing(tmp_path: Path, tiny_project: Path) -> None:
    """A value that check reads and no training does trains nothing."""
    project = copy_tree(tiny_project, tmp_path / "clone")
    write_params(project / "params.yaml", TINY, {"report": {"title": "Another"}})
    lines = run("dvc", "repro", cwd=project).stdout.splitlines()
    stages = {line.split("'")[1] for line in lines if line.startswith("Running stage")}
    assert stages == {"check", "report", "package"}  # whose card has the title
