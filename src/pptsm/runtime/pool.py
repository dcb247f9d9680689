"""Processes that can be killed: some broken videos keep a decoder busy for ever, or crash it.

The only kind of pool in the project: probing, extracting and predicting use it (`pptsm.runtime.jobs`), and so does the
preparation of clips. How long a video takes to decode nobody can know beforehand. So what decodes gives a sign of life
with each frame, and is ended when none comes: a file of hours has hours, and one that hangs has a minute. A process
that was stopped cannot even be ended by its own alarm; its starter ends it.
"""

import concurrent.futures
import ctypes
import functools
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, InvalidStateError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import psutil
from pebble import ProcessExpired, ProcessPool
from pebble.pool.process import WORKERS_NAME

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
JOB_BYTES = 4 << 30  # memory of a process that decodes; frames of 8192x8192 in H.264 take 2 GB
STOPPED_SEC = 10  # a process of a pool that was stopped for so long is ended: nobody may ever let it go on
LOOK_SEC = 1  # between two looks at whether one is stopped

Result = TypeVar("Result")


@dataclass(frozen=True)
class JobFailure:
    """What stands in the place of a result where a job was killed or crashed."""

    reason: str


TIMED_OUT = JobFailure("the decoder hung")  # and gave no sign of life for too long


def was_ended(future: "Future[Any]") -> bool:
    """Whether the process of a finished job was ended before it had a result."""
    return isinstance(future.exception(), ProcessExpired | BrokenProcessPool)


def finished(
    pool: ProcessPool, jobs: "Collection[Future[Result]]", until: str = ALL_COMPLETED
) -> "set[Future[Result]]":
    """The jobs of a pool that are finished, when one is or all are.

    Waiting for the jobs alone could last for ever. A pool forgets what it has taken in the moment in which it loses its
    last process, and a job whose process dies before the pool has read that the job began.
    """
    orphans: set[Future[Any]] = set()
    while True:
        was_active = pool.active
        done, left = wait(jobs, timeout=LOOK_SEC, return_when=until)
        if not left or (done and until == FIRST_COMPLETED):
            return done
        if not was_active:  # for a whole look: what it still knows, has failed by now
            fail(left)
        before, orphans = orphans, _orphans(pool)
        for job in before & orphans:  # for a whole look
            with suppress(InvalidStateError):
                job.set_exception(ProcessExpired("Abnormal termination"))


def _orphans(pool: ProcessPool) -> "set[Future[Any]]":
    """The jobs of a pool that began in a process that is no more. Pebble has no public way to ask.

    One whose time is over is left to the pool, which waits seconds for a process that does not end when it is told to,
    and which ends itself if somebody else gives the job its end meanwhile.
    """
    manager = pool._pool_manager
    tasks, processes = list(manager.task_manager.tasks.values()), set(manager.worker_manager.workers)
    gone = [task for task in tasks if task.worker_id and task.worker_id not in processes]
    return {task.future for task in gone if not manager.task_manager.timeout(task)}


def fail(jobs: "Iterable[Future[Any]]") -> None:
    """Give jobs that a broken pool has forgotten the end that it gives those that it knows."""
    for job in jobs:
        with suppress(InvalidStateError):
            job.set_exception(BrokenProcessPool("All workers expired"))


def outcome(running: "concurrent.futures.Future[Result]", timeout_sec: float | None) -> Result | JobFailure:
    """Wait for a job of a pool.

    Raises:
        Exception: whatever the job raised.
    """
    try:
        return running.result()
    except concurrent.futures.TimeoutError:  # also what a disk that does not answer raises
        if timeout_sec is None:
            raise
        return JobFailure(f"decoding took longer than {timeout_sec:g} s")
    except ProcessExpired as error:
        return TIMED_OUT if was_silent(error) else JobFailure(f"the decoder crashed twice (exit code {error.exitcode})")


def process_pool(
    size: int, prepare: Callable[..., None] | None = None, prepare_with: tuple[Any, ...] = ()
) -> ProcessPool:
    """Processes that do not outlive this one; each first calls `prepare(*prepare_with)`."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    watch_for_stopped()
    pool = ProcessPool(size, initializer=_begin, initargs=[prepare, prepare_with], context=context)
    _ = pool.active  # which starts its processes: by itself it waits for the first job
    return pool


@functools.cache
def watch_for_stopped() -> None:
    """Start the thread that ends stopped processes of pools; one is enough for all pools."""
    threading.Thread(target=_end_the_stopped, name="watch for stopped workers", daemon=True).start()


def _end_the_stopped() -> None:
    """Kill each process of a pool that was stopped (SIGSTOP) for `STOPPED_SEC` while this one went on.

    Looks are counted, not seconds: where Ctrl-Z stops the starter, too, all go on together later.
    """
    looks: dict[int | None, int] = {}
    while True:
        time.sleep(LOOK_SEC)
        stopped = [process for process in multiprocessing.active_children() if _is_stopped(process)]
        looks = {process.pid: looks.get(process.pid, 0) + 1 for process in stopped}
        for process in stopped:
            if looks[process.pid] * LOOK_SEC >= STOPPED_SEC:
                process.kill()


def _is_stopped(process: BaseProcess) -> bool:
    """Whether a process belongs to a pool, and is stopped."""
    try:
        return process.name == WORKERS_NAME and bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:  # it has gone
        return False


_may_be_ended = False  # whether this process belongs to a pool
_silence_sec = 0.0  # how long it may give no sign of life; 0: for ever


@contextmanager
def watchdog(limit_sec: float) -> Iterator[None]:
    """Within it, a process of a pool is ended where `heartbeat` is not called for so long; any other goes on.

    The system's alarm does it, without a handler: a decoder that keeps the interpreter's lock does not stop it.
    """
    global _silence_sec  # noqa: PLW0603  a process does one job at a time
    _silence_sec = limit_sec if _may_be_ended else 0.0
    heartbeat()
    try:
        yield
    finally:
        _silence_sec = 0.0
        if _may_be_ended:
            signal.setitimer(signal.ITIMER_REAL, 0)


def was_silent(error: ProcessExpired) -> bool:
    """Whether a process ended by `watchdog`."""
    return bool(error.exitcode == -signal.SIGALRM)


def heartbeat() -> None:
    """Say that work goes on; it costs two microseconds."""
    if _silence_sec:
        signal.setitimer(signal.ITIMER_REAL, _silence_sec)


def limit_memory() -> None:
    """For `prepare`: a file whose header promises giant frames then gets an error, and the machine keeps its memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    in_force = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([JOB_BYTES, *in_force]), hard))


def memory_limit() -> str:
    """How much this process may take, in words."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return "there is" if limit == resource.RLIM_INFINITY else f"{limit / (1 << 30):.1f} GB"


def in_a_killable_process() -> None:
    """Say of this process, once, that it does not outlive its starter, and that `watchdog` may end it."""
    global _may_be_ended  # noqa: PLW0603  once a process
    starter = multiprocessing.parent_process()
    assert starter is not None
    die_with_parent(starter.pid)
    _may_be_ended = True


def _begin(prepare: Callable[..., None] | None, prepare_with: tuple[Any, ...]) -> None:
    in_a_killable_process()
    if prepare is not None:
        prepare(*prepare_with)


def die_with_parent(starter: int | None) -> None:
    """Have the system kill this process when its starter is no more, whatever a decoder does here then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:  # it died before: no signal will come, but jobs may wait
        os._exit(1)
