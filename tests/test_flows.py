"""The orchestrated entrance: commands under control, overrides checked, the same graph."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from conftest import ROOT, TINY, commit, copy_project, copy_tree, run, write_params

sys.path.insert(0, str(ROOT))

from flows import guard
from flows.experiments import baseline, check_name
from flows.graph import Stages, check_overrides
from flows.predict_folder import Identity, Row, due_videos, locked, read_results
from flows.processes import CommandError, run_streaming
from flows.sweep import experiment_names

from pptsm.errors import ParamsError, UserError
from pptsm.prefect_names import with_flow_name


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    """Both streams, in order, while the command still runs."""
    seen: list[tuple[float, str]] = []
    script = "import sys, time; print('one', flush=True); time.sleep(1); print('two', file=sys.stderr)"
    run_streaming(
        [sys.executable, "-c", script], lambda line: seen.append((time.monotonic(), line)), cwd=tmp_path, timeout_sec=60
    )
    assert [line for _, line in seen] == ["one", "two"]
    assert seen[1][0] - seen[0][0] > 0.5


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


def test_a_failure_carries_exit_code_and_last_lines(tmp_path: Path) -> None:
    """What an operator needs to see."""
    with pytest.raises(CommandError, match="exit code 3") as caught:
        run_streaming(["sh", "-c", "echo before; exit 3"], lambda _: None, cwd=tmp_path, timeout_sec=60)
    assert caught.value.last_lines == ["before"]


def test_a_command_out_of_time_leaves_no_process(tmp_path: Path) -> None:
    """Its children are stopped with it."""
    script = (
        "import subprocess; from pathlib import Path; child = subprocess.Popen(['sleep', '300']);"
        "Path('child').write_text(str(child.pid)); child.wait()"
    )
    with pytest.raises(CommandError, match="took longer than 5 s"):
        run_streaming([sys.executable, "-c", script], lambda _: None, cwd=tmp_path, timeout_sec=5)
    wait_for_end(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize(("deaf_to", "ended_by"), [("", "INT"), ("INT", "TERM"), ("INT TERM", "KILL")])
def test_a_group_is_asked_then_told_then_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deaf_to: str, ended_by: str
) -> None:
    """Each next signal only where the one before did not end it."""
    monkeypatch.setattr(guard, "STEPS", tuple((sent, 1.0) for sent, _ in guard.STEPS))
    script = f"trap '' {deaf_to or 'USR1'}; touch ready; exec sleep 300"
    group = subprocess.Popen(
        ["sh", "-c", script],
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  also where tests run in the background
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    threading.Thread(target=group.wait).start()  # else it stays as a zombie, which counts as a member
    guard.stop_group(group.pid)
    assert group.wait() == -getattr(signal, f"SIG{ended_by}")


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 120
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {process} is still there"
        time.sleep(0.1)


def test_a_command_does_not_outlive_a_killed_starter(tmp_path: Path) -> None:
    """Even kill -9 of the flow's process ends the stage under it."""
    script = (
        "from pathlib import Path; from flows.processes import run_streaming;"
        "run_streaming(['sh', '-c', 'echo $$ > child; exec sleep 300'], print, cwd=Path('.'), timeout_sec=300)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    child = tmp_path / "child"
    while not child.exists() or not child.read_text():
        assert starter.poll() is None
        time.sleep(0.1)
    starter.kill()
    starter.wait()
    wait_for_end(int(child.read_text()))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["train-pptsm"], ["train-pptsm/train-pptsm"]),
        (["sweep/other", "--watch"], ["sweep/other", "--watch"]),
        (["--watch", "sweep"], ["--watch", "sweep/sweep"]),
        (["-p", "overrides=[]", "sweep", "--watch"], ["-p", "overrides=[]", "sweep/sweep", "--watch"]),
        (["--id", "0f3a", "--watch"], ["--id", "0f3a", "--watch"]),
        (["--flow-run-name", "sweep", "train-pptsm"], ["--flow-run-name", "sweep", "train-pptsm/train-pptsm"]),
        (["--params={}", "sweep"], ["--params={}", "sweep/sweep"]),
        ([], []),
    ],
)
def test_a_bare_name_means_flow_and_deployment(typed: list[str], meant: list[str]) -> None:
    """And nothing else on the command line is touched."""
    assert with_flow_name(typed) == meant


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("index.val_groups=[a,b]", "index", "val_groups", ["a", "b"]),
        ("report.title='a, b=c'", "report", "title", "a, b=c"),
        ("student.shift=false", "student", "shift", False),
        ("index.label_file=null", "index", "label_file", None),
    ],
)
def test_overrides_mean_what_dvc_makes_of_them(override: str, section: str, key: str, value: object) -> None:
    """The values that are checked are those of the experiment."""
    assert check_overrides([override])[section][key] == value


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed", "expected section.key=value with a key of params.yaml"),
        ("seed=", "seed is ''"),
        ("~seed", "key seed is missing"),
        ("+seed2=1", "unknown key seed2"),
        ("no.such=1", "override 'no.such=1': expected section.key=value with a key of params.yaml"),
        ("seed=1,2", "stands for several values"),
        ("report.title=A,B", "stands for several values"),
        ("seed=[1", "expected section.key=value"),
        ("training.step_epochs=[1, 2", "override 'training.step_epochs=[1, 2': expected section.key=value"),
        ("training=3", "training is 3"),
        ("seed=@x", "seed is '@x'"),
        ("--help", "expected section.key=value"),
        ("--temp=1", "expected section.key=value"),
    ],
)
def test_an_override_that_dvc_would_refuse_is_refused_before(override: str, sentence: str) -> None:
    """In a sentence; an option is no override."""
    with pytest.raises(ParamsError, match=re.escape(sentence)):
        check_overrides([override])


def test_a_range_of_stages_ends_after_it_begins() -> None:
    """Both ends are in it; the wrong way round it is refused."""
    assert Stages(first="student", last="evaluate").names() == ["student", "export", "evaluate"]
    with pytest.raises(ParamsError, match="'report' comes after 'index'"):
        Stages(first="report", last="index").names()


def test_the_graph_names_stages_in_the_order_in_which_they_need_each_other() -> None:
    """A flow runs them one by one: none may need what a later one makes."""
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    made = {
        next(iter(out)) if isinstance(out, dict) else out: number
        for number, stage in enumerate(stages.values())
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    }
    for number, (name, stage) in enumerate(stages.items()):
        for dep in stage["deps"]:
            assert made.get(dep, -1) < number, f"{name} needs {dep}, which a later stage makes"


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


def test_results_from_before_tries_were_counted_are_read(tmp_path: Path) -> None:
    """Each row counts as one try."""
    (tmp_path / "old.csv").write_text("time,file,size_bytes,changed_ns,label,top,error,model,score\nt,a,1,2,,,bad,m,\n")
    assert read_results(tmp_path / "old.csv")["a", 1, 2]["tries"] == 1


def test_results_that_are_something_else_are_refused(tmp_path: Path) -> None:
    """A table of other columns, and a place where nothing can be written."""
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lacks the columns changed_ns"):
        read_results(tmp_path / "other.csv")
    with pytest.raises(UserError, match="cannot write"), locked(tmp_path / "other.csv/results.csv"):
        pass


def test_names_of_experiments_are_names_of_references_and_folders() -> None:
    """Whatever the overrides are."""
    runs = [["index.root=../x y"], ["report.title=x.lock"], ["report.title=" + "long" * 100]]
    names = experiment_names("sweep", runs, baseline())
    assert list(names)[:2] == ["sweep-index_root_x_y", "sweep-report_title_x_lock"]
    for name in names:
        check_name(name)
    for name in ("-x", "a/b", "a b", "x" * 101, ""):
        with pytest.raises(UserError, match="cannot name an experiment"):
            check_name(name)


def test_without_a_server_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    """A sentence and an exit code above 0."""
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    command = ["prefect", "deployment", "run", "train-pptsm"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Prefect server answers at http://127.0.0.1:9/api. `make serve`")


def test_a_second_server_in_a_folder_is_refused(tmp_path: Path) -> None:
    """Two on one database would not see each other's runs."""
    project = copy_project(tmp_path / "clone")
    (project / ".prefect").mkdir()
    with (project / ".prefect/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(sys.executable, "flows/watched.py", cwd=project, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a server runs in this folder already")


def test_a_server_of_a_script_may_take_its_time() -> None:
    """Minutes, on a busy machine; by Prefect's own 20 seconds the script would end in a trace."""
    script = "import alone; from prefect.settings import get_current_settings as s; print(s().server.ephemeral)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "flows", env=environment, capture_output=True, text=True, check=True
    )
    assert "startup_timeout_seconds=300" in done.stdout


@pytest.mark.slow
def test_a_script_needs_no_server(tmp_path: Path, tiny_project: Path) -> None:
    """It starts one for the run; the stage that has work to do is done, and DVC finds everything up to date."""
    project = copy_tree(tiny_project, tmp_path / "a clone")
    write_params(project / "params.yaml", TINY, {"report": {"title": "By a script"}})
    done = run(sys.executable, "flows/train_pptsm.py", "--from", "export", cwd=project)
    assert "1 of 2 stages had work to do: report" in done.stdout + done.stderr
    assert "By a script" in (project / "reports/index.html").read_text(encoding="utf-8")
    assert "Data and pipelines are up to date" in run("dvc", "repro", cwd=project).stdout


@pytest.mark.slow
def test_an_ablation_says_which_variant_failed(tmp_path: Path, tiny_project: Path) -> None:
    """Its row has no figures, neither its own nor those of the run before; the exit code is 1."""
    project = copy_tree(tiny_project, tmp_path / "clone")
    commit(project)
    no_epochs = "0"  # is refused
    done = run("bash", "benchmarks/ablation.sh", no_epochs, "base", "relu", cwd=project, check=False)
    assert done.stdout.splitlines() == ["| base | failed | failed |", "| relu | failed | failed |"]
    assert done.returncode == 1
