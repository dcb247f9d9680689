"""Jobs in processes that can be killed: some broken videos keep a decoder busy for ever, or crash it.

The only kind of pool in the project: probing, extracting and predicting use it, and so does the preparation of clips.
How long a video takes to decode nobody can tell beforehand. So what decodes gives a sign of life with each frame, and
is ended when none comes: a file of hours has hours, and one that hangs has a minute.
"""

import concurrent.futures
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from pptsm.errors import UserError
from pptsm.processor import pool_size

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
JOB_BYTES = 4 << 30  # memory of a process that decodes; frames of 8192x8192 in H.264 take 2 GB

Result = TypeVar("Result")
Workers = int | str  # processes here, "auto" for as many as there are cores; or the address of a cluster


@dataclass(frozen=True)
class Unfinished:
    """What stands in the place of a result where a job was killed or crashed."""

    reason: str


HUNG = Unfinished("the decoder hung")  # and gave no sign of life for too long


def killable(
    work: Callable[..., Result],
    jobs: Iterable[tuple[Any, ...]],
    workers: Workers,
    timeout_sec: float | None,
    prepare: Callable[..., None] | None = None,
    prepare_with: tuple[Any, ...] = (),
) -> Iterator[Result | Unfinished]:
    """Call `work(*job)` for each job in other processes; the results in the order of the jobs, as they come.

    Whatever ends this generator early ends its processes at once, and so does the death of this process.

    Args:
        work: a function of a module.
        jobs: its arguments.
        workers: how many processes here, as `compute.workers`, or the cluster that has them.
        timeout_sec: a job that runs longer is killed, the others go on; None: no limit.
        prepare: called in each process with `prepare_with`, before its first job.

    Raises:
        UserError: the cluster cannot do it.
        Exception: whatever `work` raises.
    """
    if isinstance(workers, int) or workers == "auto":
        size = pool_size("auto" if isinstance(workers, str) else workers)
        return _here(process_pool(size, prepare, prepare_with), work, jobs, timeout_sec)
    from pptsm.cluster import on_cluster  # imports Dask, which nobody else needs

    return on_cluster(workers, work, jobs, timeout_sec, prepare, prepare_with)


def _here(
    pool: ProcessPool, work: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], timeout_sec: float | None
) -> Iterator[Result | Unfinished]:
    with pool:
        try:
            for running in [pool.schedule(work, args=job, timeout=timeout_sec) for job in jobs]:
                yield outcome(running, timeout_sec)
        except BaseException as error:
            pool.stop()  # otherwise the pool first finishes every job
            if isinstance(error, BrokenProcessPool):  # none of its processes is left, and no job is to blame
                raise UserError(
                    f"The processes that work on videos were ended from outside ({error}), as happens when memory runs "
                    "out. What was done is kept: start again, with fewer compute.workers if it happens again."
                ) from None
            raise


def outcome(running: "concurrent.futures.Future[Result]", timeout_sec: float | None) -> Result | Unfinished:
    """Wait for a job of a pool.

    Raises:
        Exception: whatever the job raised.
    """
    try:
        return running.result()
    except concurrent.futures.TimeoutError:
        return Unfinished(f"decoding took longer than {timeout_sec:g} s")
    except ProcessExpired as error:
        return HUNG if was_silent(error) else Unfinished(f"the decoder crashed (exit code {error.exitcode})")


def process_pool(
    size: int, prepare: Callable[..., None] | None = None, prepare_with: tuple[Any, ...] = ()
) -> ProcessPool:
    """Processes that do not outlive this one; each first calls `prepare(*prepare_with)`."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    return ProcessPool(size, initializer=_begin, initargs=[prepare, prepare_with], context=context)


_may_be_ended = False  # whether this process belongs to a pool
_silence_sec = 0.0  # how long it may give no sign of life; 0: for ever


@contextmanager
def ended_if_silent(limit_sec: float) -> Iterator[None]:
    """Within it, a process of a pool is ended where `sign_of_life` is not called for so long; any other goes on.

    The system's alarm does it, without a handler: a decoder that keeps the interpreter's lock does not stop it.
    """
    global _silence_sec  # noqa: PLW0603  a process does one job at a time
    _silence_sec = limit_sec if _may_be_ended else 0.0
    sign_of_life()
    try:
        yield
    finally:
        _silence_sec = 0.0
        if _may_be_ended:
            signal.setitimer(signal.ITIMER_REAL, 0)


def was_silent(error: ProcessExpired) -> bool:
    """Whether a process ended by `ended_if_silent`."""
    return bool(error.exitcode == -signal.SIGALRM)


def sign_of_life() -> None:
    """Say that work goes on; it costs two microseconds."""
    if _silence_sec:
        signal.setitimer(signal.ITIMER_REAL, _silence_sec)


def limit_memory() -> None:
    """For `prepare`: a file whose header promises giant frames then gets an error, and the machine keeps its memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (JOB_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _begin(prepare: Callable[..., None] | None, prepare_with: tuple[Any, ...]) -> None:
    global _may_be_ended  # noqa: PLW0603  once a process
    starter = multiprocessing.parent_process()
    assert starter is not None
    die_with_the_starter(starter.pid)
    _may_be_ended = True
    if prepare is not None:
        prepare(*prepare_with)


def die_with_the_starter(starter: int | None) -> None:
    """Have the system kill this process when its starter is no more, whatever a decoder does here then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:  # it died before: no signal will come, but jobs may wait
        os._exit(1)
