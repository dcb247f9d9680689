"""Batches that other processes prepare ahead of the one that computes, handed over in shared memory.

The processes are started once a run. They import no Paddle, so that they start quickly and stay small.
"""

import atexit
import contextlib
import functools
import os
import pickle
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool

from pptsm.data.transforms import Pixels
from pptsm.errors import UserError
from pptsm.workers import process_pool, was_silent

ALIGNED_BYTES = 64
BATCHES_AHEAD = 2  # a process: the one that it prepares, and one that waits to be taken

Arrays = list[NDArray[Any]]
Taken = TypeVar("Taken")
Handed = tuple[str, list[tuple[tuple[int, ...], str]]]  # name of the shared memory; shape and type of each array


class Clips(Protocol):
    """Anything whose items are (pixels, label)."""

    @property
    def may_hang(self) -> bool:
        """Whether items come straight from video files, which may keep a decoder busy for ever."""

    def video_of(self, number: int) -> str:
        """What an item is called in an error."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> tuple[Pixels, np.int64]: ...


def collate(items: list[tuple[Pixels, np.int64]]) -> Arrays:
    """The fields of `Pixels`, each with a first axis more, and the labels int64 [B]."""
    fields = zip(*(pixels for pixels, _ in items), strict=True)
    return [*map(np.stack, fields), np.array([label for _, label in items], dtype=np.int64)]


def prepared_ahead(
    clips: Clips, batches: Iterable[Sequence[int]], workers: int, take: Callable[[NDArray[Any]], Taken]
) -> Iterator[list[Taken]]:
    """Yield `collate` of each batch of item numbers, in order.

    Args:
        clips: the items; any that can be pickled.
        batches: item numbers of each batch.
        workers: processes, at least one.
        take: what to make of each array; it must copy, for the memory is given back.

    Raises:
        UserError: an item raised it, or a process was ended.
    """
    if not _pool(workers).active:  # its processes were ended while nothing was asked of them
        _pool.cache_clear()
    pool, numbers = _pool(workers), iter(batches)
    waiting: deque[Future[Handed]] = deque()
    folder = Path(tempfile.mkdtemp())  # TemporaryDirectory would warn where an interrupted run leaves this to Python
    try:
        # pickled once: with each batch, the names of 240,000 videos would take longer than its clips
        file = folder / "clips.pickle"
        file.write_bytes(pickle.dumps(clips))
        while True:
            while len(waiting) < workers * BATCHES_AHEAD and (batch := next(numbers, None)) is not None:
                if not pool.active:
                    raise BrokenProcessPool("the pool is broken")
                waiting.append(pool.schedule(_prepare, args=(file, batch)))
            if not waiting:
                return
            yield _taken(waiting.popleft(), take)
    except ProcessExpired as error:
        raise _hung(clips, file, error.pid) if was_silent(error) else _ended(error) from None
    except BrokenProcessPool as error:
        raise _ended(error) from None
    finally:
        for future in waiting:  # nobody wants them any more, but their memory would stay
            with contextlib.suppress(Exception):
                _taken(future, np.size)
        shutil.rmtree(folder, ignore_errors=True)


def _taken(future: Future[Handed], take: Callable[[NDArray[Any]], Taken]) -> list[Taken]:
    name, layout = future.result()
    memory = SharedMemory(name)
    try:
        return [take(array) for array in _arrays_in(memory, layout)]
    finally:
        memory.unlink()
        memory.close()


def _hung(clips: Clips, file: Path, process: int) -> UserError:
    return UserError(
        f"clip {clips.video_of(int(_diary(file, process).read_text()))!r} cannot be read: the decoder hung, and showed "
        "no frame for longer than index.probe_timeout_sec allows. Leave the video out (index.exclude); on a machine "
        "that is slower than the one that made the index, raise that limit."
    )


def _ended(error: object) -> UserError:
    return UserError(
        f"A process that prepared clips was ended from outside ({error}), as happens when memory or shared memory "
        "(/dev/shm) runs out. Start again: training goes on where it was. If it happens again, lower compute.workers "
        "or training.batch_norm_clips."
    )


def _arrays_in(memory: SharedMemory, layout: list[tuple[tuple[int, ...], str]]) -> Arrays:
    arrays, start = [], 0
    for shape, dtype in layout:
        arrays.append(np.ndarray(shape, dtype, buffer=memory.buf, offset=start))
        start += -(-arrays[-1].nbytes // ALIGNED_BYTES) * ALIGNED_BYTES
    return arrays


def _prepare(file: Path, batch: Sequence[int]) -> Handed:
    """In a process of the pool."""
    clips = _clips(file)
    items = []
    for number in batch:
        if clips.may_hang:  # and would be ended without a last word
            _diary(file, os.getpid()).write_text(str(number))
        items.append(clips[number])
    arrays = collate(items)
    layout = [(array.shape, array.dtype.str) for array in arrays]
    memory = SharedMemory(create=True, size=sum(array.nbytes + ALIGNED_BYTES for array in arrays))
    for array, place in zip(arrays, _arrays_in(memory, layout), strict=True):
        place[...] = array
    del place
    memory.close()
    return memory.name, layout


def _diary(file: Path, process: int) -> Path:
    """Where a process writes which item comes next."""
    return file.with_name(f"{process}.txt")


@functools.lru_cache(maxsize=1)
def _clips(file: Path) -> Clips:
    clips: Clips = pickle.loads(file.read_bytes())
    return clips


@functools.cache
def _pool(workers: int) -> ProcessPool:
    pool = process_pool(workers)
    atexit.register(pool.join)
    atexit.register(pool.stop)  # the last that is registered is called first
    return pool
