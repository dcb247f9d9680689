"""Jobs in processes of their own: in order, killed when they take too long, and never left behind."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pebble import ProcessPool
from pebble.pool.process import WORKERS_NAME, WorkerManager

from pptsm.runtime.errors import UserError
from pptsm.runtime.jobs import Pools, run_jobs
from pptsm.runtime.pool import (
    JOB_BYTES,
    TIMED_OUT,
    JobFailure,
    finished,
    heartbeat,
    limit_memory,
    process_pool,
    was_ended,
    watchdog,
)


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
    found = list(run_jobs(double_or_misbehave, [(1,), (0,), (2,), (3,)], workers=2, timeout_sec=5))
    assert found == [2, JobFailure("decoding took longer than 5 s"), 4, 6]


def test_one_that_crashes_does_not_keep_the_others() -> None:
    """Without a time limit, which a loaded machine might reach before the crash is seen."""
    found = list(run_jobs(double_or_misbehave, [(1,), (-1,), (2,), (3,)], workers=2, timeout_sec=None))
    assert found == [2, JobFailure("the decoder crashed twice (exit code 7)"), 4, 6]


def test_a_job_that_the_pool_forgets_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its process dies before the pool has read that the job began: nothing waits for ever."""
    inspect = WorkerManager.inspect_workers
    seen: list[tuple[int, int]] = []

    def forgetful(self: WorkerManager) -> tuple[tuple[int, int], ...]:
        seen.extend(ended := inspect(self))
        return () if len(seen) <= 1 else ended

    monkeypatch.setattr(WorkerManager, "inspect_workers", forgetful)
    found = list(run_jobs(double_or_misbehave, [(1,), (-1,), (2,), (3,)], workers=2, timeout_sec=None))
    assert found == [2, JobFailure("the decoder crashed twice (exit code 7)"), 4, 6]
    assert len(seen) == 2


def ended_at_first(folder: Path, number: int, how: signal.Signals) -> int:
    """A job that notes when it runs; the third is ended or stopped from outside in the first of its tries."""
    noted = folder / f"{number}-{len(list(folder.glob(f'{number}-*')))}"
    noted.write_text(f"{time.monotonic()} inf")
    if number == 3 and noted.name == "3-0":
        os.kill(os.getpid(), how)
    time.sleep(0.3)
    noted.write_text(f"{noted.read_text().split()[0]} {time.monotonic()}")
    return 2 * number


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM], ids=lambda how: how.name)
def test_whose_process_is_ended_from_outside_is_tried_once_more_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """By a system without memory, by whoever stops it for good, by its alarm after Ctrl-Z stopped all."""
    monkeypatch.setattr("pptsm.runtime.pool.STOPPED_SEC", 2)
    found = list(
        run_jobs(ended_at_first, [(tmp_path, number, how) for number in range(8)], workers=3, timeout_sec=None)
    )
    assert found == [2 * number for number in range(8)]
    begun, done = map(float, (tmp_path / "3-1").read_text().split())
    others = [map(float, path.read_text().split()) for path in tmp_path.iterdir() if not path.name.startswith("3-")]
    assert len(others) == 7
    assert all(until <= begun or since >= done for since, until in others)


def test_processes_that_are_ended_before_they_work_are_replaced(tmp_path: Path) -> None:
    """All of a pool's, while they begin: another pool does the work; not for ever."""
    beginning = tmp_path / "beginning"
    jobs = [(number,) for number in (1, 2, 3)]
    assert list(run_jobs(double_or_misbehave, jobs, 2, None, die_in_the_beginning, (beginning, 2))) == [2, 4, 6]
    with pytest.raises(UserError, match=r"were ended from outside .* start again"):
        list(run_jobs(double_or_misbehave, jobs, 2, None, die_in_the_beginning, (beginning, 1000)))


def broken_with_a_forgotten_job(pool: ProcessPool, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Before a job: the pool is to lose its last process before it has come to that job; the rest of it, after."""
    assert pool.active  # it has its processes
    monkeypatch.setattr(pool._pool_manager, "schedule", lambda _: None)  # a job that was taken, and no more is known

    def breaks() -> None:
        for _ in range(600):
            for worker in multiprocessing.active_children():
                if worker.name == WORKERS_NAME:
                    worker.kill()
            if not pool.active:
                return
            time.sleep(0.1)
        pytest.fail("the pool lives on")

    return breaks


@pytest.mark.timeout(120)
def test_a_job_that_a_breaking_pool_forgot_is_done_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken in the moment in which the last process was ended, and another pool is there before one looks."""
    pools = Pools(1)
    try:
        breaks = broken_with_a_forgotten_job(pools._pool, monkeypatch)
        forgotten = pools.schedule(double_or_misbehave, None, (1,))
        breaks()
        done = pools.schedule(double_or_misbehave, None, (2,))
        assert pools.wait({forgotten, done}) == {forgotten, done}
        assert (was_ended(forgotten), done.result()) == (True, 4)
        assert pools.alone(double_or_misbehave, None, (1,)).result() == 2
    finally:
        pools.stop()


@pytest.mark.timeout(120)
def test_nobody_waits_for_what_a_broken_pool_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where no other pool takes its place, as in the preparation of clips."""
    pool = process_pool(1)
    try:
        breaks = broken_with_a_forgotten_job(pool, monkeypatch)
        forgotten = pool.schedule(double_or_misbehave, args=(1,))
        breaks()
        assert finished(pool, [forgotten]) == {forgotten}
        assert was_ended(forgotten)
    finally:
        pool.stop()
        pool.join()


def die_in_the_beginning(noted: Path, times: int) -> None:
    """For `prepare`: the first so many processes are killed."""
    with noted.open("a") as file:
        file.write(".")
    if noted.stat().st_size <= times:
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_exception_ends_all_at_once() -> None:
    """Nobody waits for a job that hangs without a limit."""
    before, started = set(psutil.Process().children()), time.monotonic()  # processes that prepare clips stay
    with pytest.raises(ValueError, match="101"):
        list(run_jobs(double_or_misbehave, [(101,), (0,), (0,)], workers=2, timeout_sec=None))
    assert time.monotonic() - started < 60
    since = set(psutil.Process().children()) - before
    assert not [child for child in since if "spawn_main" in " ".join(child.cmdline())]


def work_on(shown: int, pause_sec: float, limit_sec: float) -> int:
    """A job that shows so many frames, one after each pause, in which it keeps the interpreter's lock."""
    with watchdog(limit_sec):
        for _ in range(shown):
            ctypes.PyDLL(None).usleep(int(1e6 * pause_sec))
            heartbeat()
    time.sleep(2 * pause_sec)  # no longer watched
    return shown


def test_only_who_gives_no_sign_of_life_is_ended() -> None:
    """Though another takes twice as long as the limit; and without a limit all have for ever."""
    jobs = [(20, 0.3, 3), (1, 30, 3), (2, 0.1, 3), (3, 1, 0)]
    started = time.monotonic()
    assert list(run_jobs(work_on, jobs, workers=2, timeout_sec=None)) == [20, TIMED_OUT, 2, 3]
    assert time.monotonic() - started < 28


def test_no_process_but_those_of_a_pool_is_ended() -> None:
    """The one that decodes in its own process waits; its alarm may be another's."""
    with watchdog(0.05):
        heartbeat()
        time.sleep(0.3)


def take(size_bytes: int) -> str:
    """A job that needs so much memory."""
    try:
        return f"{len(bytearray(size_bytes))}"
    except MemoryError:
        return "too much"


def test_a_job_has_only_so_much_memory() -> None:
    """It gets an error and goes on; the machine need not have as much."""
    jobs = [(1000,), (JOB_BYTES,), (2000,)]
    found = list(run_jobs(take, jobs, workers=1, timeout_sec=None, prepare=limit_memory))
    assert found == ["1000", "too much", "2000"]


def hang(begun: str) -> None:
    """A job that says who it is and never ends, as a decoder does it: deaf, and holding the interpreter's lock."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    Path(begun).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)


@pytest.mark.parametrize(("moment", "timeout_sec"), [("at work", None), ("at work", 600), ("beginning", None)], ids=str)
def test_a_killed_starter_leaves_no_job(tmp_path: Path, moment: str, timeout_sec: float | None) -> None:
    """Even kill -9 of the process that asked ends its jobs: those that hang, and those that have not begun yet."""
    script = (
        "import os, time\n"
        "from pathlib import Path\n"
        "if __name__ == '__mp_main__':\n"
        "    Path('beginning').write_text(str(os.getpid())); time.sleep(4)\n"
        "from test_workers import hang, run_jobs\n"
        f"if __name__ == '__main__': list(run_jobs(hang, [('at work',)] * 2, workers=2, timeout_sec={timeout_sec}))\n"
    )
    (tmp_path / "starter.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    reached = tmp_path / moment
    with subprocess.Popen([sys.executable, "starter.py"], cwd=tmp_path, env=environment) as starter:
        deadline = time.monotonic() + 300
        while not (reached.exists() and reached.read_text()):
            assert starter.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(2)  # by now a job waits for the one that begins
        family = psutil.Process(starter.pid).children(recursive=True)  # its job, and what multiprocessing keeps beside
        starter.kill()
    assert reached.read_text() in {str(member.pid) for member in family}
    _, left = psutil.wait_procs(family, 20)  # one that begins has modules to import first
    assert left == []
