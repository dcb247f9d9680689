"""Jobs in processes that can be killed: some broken videos keep a decoder busy for ever, or crash it.

The only kind of pool in the project: probing, extracting and predicting use it, and so does the preparation of clips.
How long a video takes to decode nobody can tell beforehand. So what decodes gives a sign of life with each frame, and
is ended when none comes: a file of hours has hours, and one that hangs has a minute. A process that was stopped cannot
even be ended by its own alarm; its starter ends it. A job whose process was ended, by itself or from outside (as where
memory runs out, or Ctrl-Z stopped all for longer than the limit), is tried once more, alone, before it gets the blame.
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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, InvalidStateError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import psutil
from pebble import ProcessExpired, ProcessPool
from pebble.pool.process import WORKERS_NAME

from pptsm.runtime.cores import pool_size
from pptsm.runtime.errors import UserError

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
JOB_BYTES = 4 << 30  # memory of a process that decodes; frames of 8192x8192 in H.264 take 2 GB
JOBS_AHEAD = 2  # a process: the one that it does, and one that waits to be done
MOST_POOLS = 3  # one after the other in one run; then there is too little memory
STOPPED_SEC = 10  # a process of a pool that was stopped for so long is ended: nobody may ever let it go on
LOOK_SEC = 1  # between two looks at whether one is stopped

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
        return _here(_Pools(size, prepare, prepare_with), size, work, jobs, timeout_sec)
    from pptsm.runtime.cluster import on_cluster  # imports Dask, which nobody else needs

    return on_cluster(workers, work, jobs, timeout_sec, prepare, prepare_with)


def _here(
    pools: "_Pools", size: int, work: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], timeout_sec: float | None
) -> Iterator[Result | Unfinished]:
    try:
        for done in _in_turn(pools, work, timeout_sec, iter(jobs), JOBS_AHEAD * size):
            found: Result | Unfinished = outcome(done, timeout_sec)
            yield found
    except BrokenProcessPool as error:  # none of its processes is left, and no job is to blame
        raise UserError(
            f"The processes that work on videos were ended from outside ({error}), as happens when memory runs "
            "out. What was done is kept: start again, with fewer compute.workers if it happens again."
        ) from None
    finally:
        pools.stop()


class _Pools:
    """A pool, and another one in its place where all its processes were ended while none of them did a job."""

    def __init__(self, *of_pool: Any) -> None:
        self._of_pool = of_pool
        self._pool = process_pool(*of_pool)
        self._more = MOST_POOLS - 1

    def schedule(
        self, work: Callable[..., Result], timeout_sec: float | None, job: tuple[Any, ...]
    ) -> "Future[Result]":
        """Hand over a job.

        Raises:
            BrokenProcessPool: its processes were ended again and again.
        """
        while True:
            try:
                future: Future[Result] = self._pool.schedule(work, args=job, timeout=timeout_sec)
                return future
            except RuntimeError as error:  # which a pool raises that is no longer active
                if not self._more:
                    raise BrokenProcessPool(str(error)) from None
            self._more -= 1
            self.stop()
            self._pool = process_pool(*self._of_pool)

    def wait(self, futures: "set[Future[Result]]", until: str = ALL_COMPLETED) -> "set[Future[Result]]":
        """Those that are finished, when one is or all are; what a pool took while it lost its processes, has failed."""
        while True:
            done, left = wait(futures, timeout=LOOK_SEC, return_when=until)
            if not left or (done and until == FIRST_COMPLETED):
                return done
            if not self._pool.active:
                for future in left:
                    with suppress(InvalidStateError):
                        future.set_exception(BrokenProcessPool("All workers expired"))

    def alone(self, work: Callable[..., Result], timeout_sec: float | None, job: tuple[Any, ...]) -> "Future[Result]":
        """Do a job while no other runs; again where all processes were ended, because that is not the job's fault.

        Raises:
            BrokenProcessPool: as `schedule`.
        """
        while True:
            future = self.schedule(work, timeout_sec, job)
            self.wait({future})
            if not isinstance(future.exception(), BrokenProcessPool):
                return future

    def stop(self) -> None:
        """End its processes, whatever they do."""
        self._pool.stop()
        self._pool.join()


def _in_turn(
    pools: _Pools,
    work: Callable[..., Result],
    timeout_sec: float | None,
    jobs: Iterator[tuple[Any, ...]],
    ahead: int,
) -> "Iterator[Future[Result]]":
    """The finished jobs in their order; one whose process was ended was done once more, while no other ran."""
    waiting: deque[tuple[tuple[Any, ...], Future[Result]]] = deque()  # not yet given out
    running: set[Future[Result]] = set()
    while True:
        for job in islice(jobs, ahead - len(running)):
            waiting.append((job, pools.schedule(work, timeout_sec, job)))
            running.add(waiting[-1][1])
        if not waiting:
            return
        done = pools.wait(running, FIRST_COMPLETED)
        running -= done
        if any(map(was_ended, done)):
            pools.wait(running)
            running = set()
            waiting = deque(
                (job, pools.alone(work, timeout_sec, job) if was_ended(future) else future) for job, future in waiting
            )
        while waiting and waiting[0][1].done():
            yield waiting.popleft()[1]


def was_ended(future: "Future[Any]") -> bool:
    """Whether the process of a finished job was ended before it had a result."""
    return isinstance(future.exception(), ProcessExpired | BrokenProcessPool)


def outcome(running: "concurrent.futures.Future[Result]", timeout_sec: float | None) -> Result | Unfinished:
    """Wait for a job of a pool.

    Raises:
        Exception: whatever the job raised.
    """
    try:
        return running.result()
    except concurrent.futures.TimeoutError:  # also what a disk that does not answer raises
        if timeout_sec is None:
            raise
        return Unfinished(f"decoding took longer than {timeout_sec:g} s")
    except ProcessExpired as error:
        return HUNG if was_silent(error) else Unfinished(f"the decoder crashed twice (exit code {error.exitcode})")


def process_pool(
    size: int, prepare: Callable[..., None] | None = None, prepare_with: tuple[Any, ...] = ()
) -> ProcessPool:
    """Processes that do not outlive this one; each first calls `prepare(*prepare_with)`."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    _watch_for_stopped()
    return ProcessPool(size, initializer=_begin, initargs=[prepare, prepare_with], context=context)


@functools.cache
def _watch_for_stopped() -> None:
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
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    in_force = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([JOB_BYTES, *in_force]), hard))


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
