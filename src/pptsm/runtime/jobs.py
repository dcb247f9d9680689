"""Jobs, and where they run: in processes of this machine that can be killed, or on a cluster.

A job whose process was ended, by itself or from outside (as where memory runs out, or Ctrl-Z stopped all for longer
than the limit), is tried once more, alone, before it gets the blame.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from pptsm.runtime.cores import pool_size
from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import JobFailure, fail, finished, outcome, process_pool, was_ended

JOBS_AHEAD = 2  # per process: the one that it does, and one that waits to be done
MOST_POOLS = 3  # one after the other, for a run; then memory will not do

Result = TypeVar("Result")
Workers = int | str  # processes here, "auto" for as many as there are cores; or the address of a cluster


def run_jobs(
    work: Callable[..., Result],
    jobs: Iterable[tuple[Any, ...]],
    workers: Workers,
    timeout_sec: float | None,
    prepare: Callable[..., None] | None = None,
    prepare_with: tuple[Any, ...] = (),
) -> Iterator[Result | JobFailure]:
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
        return _here(size, prepare, prepare_with, work, jobs, timeout_sec)
    from pptsm.runtime.cluster import on_cluster

    return on_cluster(workers, work, jobs, timeout_sec, prepare, prepare_with)


def _here(
    size: int,
    prepare: Callable[..., None] | None,
    prepare_with: tuple[Any, ...],
    work: Callable[..., Result],
    jobs: Iterable[tuple[Any, ...]],
    timeout_sec: float | None,
) -> Iterator[Result | JobFailure]:
    with started_pools(size, prepare, prepare_with) as pools:
        yield from pools.run(work, jobs, timeout_sec)


@contextmanager
def started_pools(
    size: int, prepare: Callable[..., None] | None = None, prepare_with: tuple[Any, ...] = ()
) -> Iterator["Pools"]:
    """So many processes here, which begin at once with `prepare`, and end with the context, whatever they do."""
    pools = Pools(size, prepare, prepare_with)
    try:
        yield pools
    finally:
        pools.stop()


class Pools:
    """A pool, and another one in its place where all its processes were ended while none of them did a job."""

    def __init__(
        self, size: int, prepare: Callable[..., None] | None = None, prepare_with: tuple[Any, ...] = ()
    ) -> None:
        self._size = size
        self._of_pool = size, prepare, prepare_with
        self._pool = process_pool(*self._of_pool)
        self._taken: list[Future[Any]] = []  # by the pool of now; those that are finished are dropped now and then
        self._more = MOST_POOLS - 1

    def run(
        self, work: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], timeout_sec: float | None
    ) -> Iterator[Result | JobFailure]:
        """As `run_jobs`, in these processes."""
        try:
            for done in _in_turn(self, work, timeout_sec, iter(jobs), JOBS_AHEAD * self._size):
                found: Result | JobFailure = outcome(done, timeout_sec)
                yield found
        except BrokenProcessPool as error:  # none of its processes is left, and no job is to blame
            raise UserError(
                f"The processes that work on videos were ended from outside ({error}), as happens when memory runs "
                "out. What was done is kept: start again, with fewer compute.workers if it happens again."
            ) from None

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
            except RuntimeError as error:  # which a pool raises that is no longer active
                if not self._more:
                    raise BrokenProcessPool(str(error)) from None
            else:
                self._taken = [*(taken for taken in self._taken if not taken.done()), future]
                return future
            self._more -= 1
            self.stop()
            fail(self._taken)  # those that the pool had not come to: nobody else knows them any more
            self._taken = []
            self._pool = process_pool(*self._of_pool)

    def wait(self, futures: "set[Future[Result]]", until: str = ALL_COMPLETED) -> "set[Future[Result]]":
        """Those that are finished, when one is or all are."""
        return finished(self._pool, futures, until)

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
    pools: Pools,
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
