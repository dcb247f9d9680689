"""Jobs in processes that can be killed: some broken videos keep a decoder busy for ever, or crash it.

The only pool of the project: probing, extracting and predicting use it.
"""

import concurrent.futures
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pebble import ProcessExpired, ProcessPool

from pptsm.processor import pool_size

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>

Result = TypeVar("Result")


@dataclass(frozen=True)
class Unfinished:
    """What stands in the place of a result where a job was killed or crashed."""

    reason: str


def killable(
    work: Callable[..., Result],
    jobs: Iterable[tuple[Any, ...]],
    workers: Literal["auto"] | int,
    timeout_sec: float | None,
    prepare: Callable[..., None] | None = None,
    prepare_with: tuple[Any, ...] = (),
) -> Iterator[Result | Unfinished]:
    """Call `work(*job)` for each job in other processes; the results in the order of the jobs, as they come.

    Whatever ends this generator early ends its processes at once, and so does the death of this process.

    Args:
        work: a function of a module.
        jobs: its arguments.
        workers: how many processes, as `compute.workers`.
        timeout_sec: a job that runs longer is killed, the others go on; None: no limit.
        prepare: called in each process with `prepare_with`, before its first job.

    Raises:
        Exception: whatever `work` raises.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPool(pool_size(workers), initializer=_begin, initargs=[prepare, prepare_with], context=context) as pool:
        try:
            for running in [pool.schedule(work, args=job, timeout=timeout_sec) for job in jobs]:
                try:
                    yield running.result()
                except concurrent.futures.TimeoutError:
                    yield Unfinished(f"decoding took longer than {timeout_sec:g} s")
                except ProcessExpired as error:
                    yield Unfinished(f"the decoder crashed (exit code {error.exitcode})")
        except BaseException:
            pool.stop()  # otherwise the pool first finishes every job
            raise


def _begin(prepare: Callable[..., None] | None, prepare_with: tuple[Any, ...]) -> None:
    starter = multiprocessing.parent_process()
    assert starter is not None
    die_with_the_starter(starter.pid)
    if prepare is not None:
        prepare(*prepare_with)


def die_with_the_starter(starter: int | None) -> None:
    """Have the system kill this process when its starter is no more, whatever a decoder does here then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:  # it died before: no signal will come, but jobs may wait
        os._exit(1)
