"""The orchestrated entrance: commands under control, overrides checked, the same graph."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import ROOT, TINY, copy_project, run, write_params

sys.path.insert(0, str(ROOT))

from flows.experiments import baseline, check_name
from flows.graph import check_overrides
from flows.predict_folder import new_videos, read_results
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
    new, unsettled = new_videos(tmp_path / "in", read_results(tmp_path / "none.csv"))
    assert [path.name for path in new] == ["a.mp4"]
    assert unsettled == 1


def test_a_failure_carries_exit_code_and_last_lines(tmp_path: Path) -> None:
    """What an operator needs to see."""
    with pytest.raises(CommandError, match="exit code 3") as caught:
        run_streaming(["sh", "-c", "echo before; exit 3"], lambda _: None, cwd=tmp_path, timeout_sec=60)
    assert caught.value.last_lines == ["before"]


def test_a_command_out_of_time_leaves_no_process(tmp_path: Path) -> None:
    """Its children are stopped with it."""
    script = "sleep 300 & echo $! > child; wait"
    with pytest.raises(CommandError, match="took longer than 1 s"):
        run_streaming(["sh", "-c", script], lambda _: None, cwd=tmp_path, timeout_sec=1)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the child is still there"
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
    deadline = time.monotonic() + 60
    while not child.exists() or not child.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    starter.kill()
    starter.wait()
    while psutil.pid_exists(int(child.read_text())):
        assert time.monotonic() < deadline, "the command is still there"
        time.sleep(0.1)


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
        ("model.shift=false", "model", "shift", False),
        ("index.label_file=null", "index", "label_file", None),
    ],
)
def test_overrides_mean_what_dvc_makes_of_them(override: str, section: str, key: str, value: object) -> None:
    """The values that are checked are those of the experiment."""
    assert check_overrides([override])[section][key] == value


@pytest.mark.parametrize(
    "override", ["seed", "seed=", "~seed", "+seed2=1", "seed=1,2", "seed=[1", "training=3", "seed=@x"]
)
def test_an_override_that_dvc_would_refuse_is_refused_before(override: str) -> None:
    """In a sentence."""
    with pytest.raises(ParamsError):
        check_overrides([override])


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


@pytest.mark.slow
def test_a_flow_run_does_the_stages_and_a_second_one_nothing(tmp_path: Path) -> None:
    """Without a server; afterwards DVC finds everything up to date, and a wrong override starts nothing."""
    project = copy_project(tmp_path / "a clone")
    write_params(project / "params.yaml", TINY)
    first = run(sys.executable, "flows/train_pptsm.py", cwd=project)
    assert "10 of 10 stages had work to do" in first.stdout + first.stderr
    assert "Data and pipelines are up to date" in run("dvc", "repro", cwd=project).stdout
    second = run(sys.executable, "flows/train_pptsm.py", "--from", "evaluate", cwd=project)
    assert "0 of 3 stages had work to do: none" in second.stdout + second.stderr
    wrong = run(sys.executable, "flows/train_pptsm.py", "-S", "sampling=dens", cwd=project, check=False)
    assert wrong.returncode == 1
    assert "sampling is 'dens', but should be 'uniform' or 'dense'" in wrong.stderr
    assert "Running stage" not in wrong.stdout + wrong.stderr


@pytest.mark.slow
def test_a_run_with_overrides_is_an_experiment_and_the_checkout_stays(tmp_path: Path, tiny_project: Path) -> None:
    """Named in `dvc exp show`, `git status` unchanged."""
    clone = tmp_path / "clone"
    subprocess.run(["cp", "-a", tiny_project, clone], check=True)
    run("git", "add", "-A", cwd=clone)
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--allow-empty", "-qm", "r", cwd=clone)
    before = run("git", "status", "--porcelain", cwd=clone).stdout
    run(sys.executable, "flows/train_pptsm.py", "-S", "sampling=dense", "--experiment", "flow-trial", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone).stdout == before
    assert "flow-trial" in run("dvc", "exp", "show", "--csv", "--no-pager", cwd=clone).stdout
