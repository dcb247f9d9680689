"""Jobs in processes of their own: in order, killed when they take too long, and never left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pptsm.workers import Unfinished, killable


def double_or_misbehave(number: int) -> int:
    """A job: 0 hangs, negative crashes, above 100 raises, the others are doubled."""
    if number == 0:
        time.sleep(600)
    if number < 0:
        os._exit(7)
    if number > 100:
        raise ValueError(number)
    return 2 * number


def test_one_that_hangs_does_not_keep_the_others() -> None:
    """It has its reason in its place; results are in the order of the jobs."""
    found = list(killable(double_or_misbehave, [(1,), (0,), (2,), (3,)], workers=2, timeout_sec=5))
    assert found == [2, Unfinished("decoding took longer than 5 s"), 4, 6]


def test_one_that_crashes_does_not_keep_the_others() -> None:
    """Without a time limit, which a loaded machine might reach before the crash is seen."""
    found = list(killable(double_or_misbehave, [(1,), (-1,), (2,), (3,)], workers=2, timeout_sec=None))
    assert found == [2, Unfinished("the decoder crashed (exit code 7)"), 4, 6]


def test_an_exception_ends_all_at_once() -> None:
    """Nobody waits for a job that hangs without a limit."""
    started = time.monotonic()
    with pytest.raises(ValueError, match="101"):
        list(killable(double_or_misbehave, [(101,), (0,), (0,)], workers=2, timeout_sec=None))
    assert time.monotonic() - started < 60
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def hang(begun: str) -> None:
    """A job that never ends, and says who does it."""
    Path(begun).write_text(str(os.getpid()))
    time.sleep(600)


def test_a_killed_starter_leaves_no_job(tmp_path: Path) -> None:
    """Even kill -9 of the process that asked ends a job that hangs."""
    script = (
        "from test_workers import hang, killable\n"
        "if __name__ == '__main__': list(killable(hang, [('begun',)], workers=1, timeout_sec=None))\n"
    )
    (tmp_path / "starter.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    begun = tmp_path / "begun"
    with subprocess.Popen([sys.executable, "starter.py"], cwd=tmp_path, env=environment) as starter:
        deadline = time.monotonic() + 300
        while not (begun.exists() and begun.read_text()):
            assert starter.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        job = psutil.Process(int(begun.read_text()))
        starter.kill()
    _, left = psutil.wait_procs([job], 60)
    assert left == []
