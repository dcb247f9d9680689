"""The orchestrated entrance: commands under control, overrides checked, the same graph."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, TINY, copy_project, run, write_params

sys.path.insert(0, str(ROOT))

from flows.processes import CommandError, run_streaming


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    """Both streams, in order, while the command still runs."""
    seen: list[tuple[float, str]] = []
    script = "import sys, time; print('one', flush=True); time.sleep(1); print('two', file=sys.stderr)"
    run_streaming(
        [sys.executable, "-c", script], lambda line: seen.append((time.monotonic(), line)), cwd=tmp_path, timeout_sec=60
    )
    assert [line for _, line in seen] == ["one", "two"]
    assert seen[1][0] - seen[0][0] > 0.5


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


@pytest.mark.slow
def test_a_flow_run_does_the_stages_and_a_second_one_nothing(tmp_path: Path) -> None:
    """Without a server; afterwards DVC finds everything up to date, and a wrong override starts nothing."""
    project = copy_project(tmp_path / "a clone")
    write_params(project / "params.yaml", TINY)
    first = run(sys.executable, "flows/train_pptsm.py", cwd=project)
    assert "10 of 10 stages had work to do" in first.stdout + first.stderr
    assert "Data and pipelines are up to date" in run("dvc", "repro", cwd=project).stdout
    second = run(sys.executable, "flows/train_pptsm.py", "--first", "evaluate", cwd=project)
    assert "0 of 3 stages had work to do: none" in second.stdout + second.stderr
    wrong = run(sys.executable, "flows/train_pptsm.py", "-S", "sampling=dens", cwd=project, check=False)
    assert wrong.returncode == 2
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
