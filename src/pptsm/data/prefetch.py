"""Batches of clips as arrays, prepared here or by other processes ahead of the one that computes.

Those hand them over in shared memory. They are started once a run, and import no Paddle, so that they start quickly
and stay small.
"""

import atexit
import contextlib
import functools
import itertools
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
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool

from pptsm.data.transforms import Pixels
from pptsm.runtime.errors import UserError
from pptsm.runtime.pool import finished, process_pool, was_silent

ALIGNED_BYTES = 64
BATCHES_AHEAD = 2  # a process: the one that it prepares, and one that waits to be taken

Arrays = list[NDArray[Any]]
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


def prepared(clips: Clips, batches: Iterable[Sequence[int]], workers: int) -> Iterator[Arrays]:
    """Yield the arrays of each batch of item numbers, in order: the fields of `Pixels` with a first axis more, and the
    labels int64 [B]. Nobody else writes into them.

    Args:
        clips: the items; any that can be pickled.
        batches: item numbers of each batch.
        workers: processes; 0 prepares the clips in this one, unless one of them may keep it busy for ever.

    Raises:
        UserError: an item raised it, or a process was ended from outside.
    """
    if workers or clips.may_hang:
        yield from prepared_ahead(clips, batches, max(1, workers))
    else:
        yield from (collate(map(clips.__getitem__, batch), len(batch)) for batch in batches)


def collate(items: Iterable[tuple[Pixels, np.int64]], count: int) -> Arrays:
    """What `prepared` yields, of so many items; a single one is not copied."""
    if count == 1:
        return [field[None] for item in items for field in _fields(item)]
    return _filled(items, lambda fields: [np.empty((count, *field.shape), field.dtype) for field in fields])


def _filled(items: Iterable[tuple[Pixels, np.int64]], batch_like: Callable[[Arrays], Arrays]) -> Arrays:
    """The batch that `batch_like` makes room for when it sees the first item's fields.

    Each item is copied as it comes, and the next one finds the memory of the last: memory that the system has to clear
    first takes longer than the copy.
    """
    batch: Arrays = []
    for place, fields in enumerate(map(_fields, items)):
        batch = batch or batch_like(fields)
        for field, whole in zip(fields, batch, strict=True):
            whole[place] = field
    return batch


def _fields(item: tuple[Pixels, np.int64]) -> Arrays:
    pixels, label = item
    return [*pixels, np.asarray(label, dtype=np.int64)]


def batch_bytes(clips: int, frames: int, side_px: int) -> int:
    """Bytes of `collate` of so many clips of so many square frames, as they are in shared memory."""
    channels = np.dtype(np.float32).itemsize * 3
    pixels = np.dtype(np.uint8).itemsize * frames * 3 * side_px**2
    return clips * (pixels + 2 * channels + np.dtype(np.int64).itemsize)


def prepared_ahead(clips: Clips, batches: Iterable[Sequence[int]], workers: int) -> Iterator[Arrays]:
    """As `prepared`, by at least one other process."""
    if not _pool(workers).active:  # its processes were ended while nothing was asked of them
        _pool.cache_clear()
    pool, numbers = _pool(workers), iter(batches)
    waiting: deque[Future[Handed]] = deque()
    # TemporaryDirectory would warn where an interrupted run leaves this to Python
    folder = Path(tempfile.mkdtemp(prefix=f"{segments_of(os.getpid())}-"))
    try:
        # pickled once: with each batch, the names of 240,000 videos would take longer than its clips
        file = folder / "clips.pickle"
        file.write_bytes(pickle.dumps(clips))
        while True:
            while len(waiting) < workers * BATCHES_AHEAD and (batch := next(numbers, None)) is not None:
                waiting.append(_scheduled(pool, file, batch))
            if not waiting:
                return
            finished(pool, [waiting[0]])
            yield _taken(waiting.popleft())
    except ProcessExpired as error:
        raise _hung(clips, file, error.pid) if was_silent(error) else _ended(error) from None
    except BrokenProcessPool as error:
        raise _ended(error) from None
    finally:
        finished(pool, waiting)
        for future in waiting:  # nobody takes them any more, but their memory would stay
            with contextlib.suppress(Exception):
                SharedMemory(future.result()[0]).unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _scheduled(pool: ProcessPool, file: Path, batch: Sequence[int]) -> "Future[Handed]":
    try:
        future: Future[Handed] = pool.schedule(_prepare, args=(file, batch))
    except RuntimeError as error:  # which a pool raises that is no longer active
        raise BrokenProcessPool(str(error)) from None
    return future


def segments_of(process: int) -> str:
    """How the names begin of all shared memory from which a process takes its batches."""
    return f"pptsm-{process}"


def _taken(future: Future[Handed]) -> Arrays:
    name, layout = future.result()
    memory = SharedMemory(name)
    try:
        return [np.copy(array) for array in _arrays_in(memory, layout)]
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
    segment: list[SharedMemory] = []

    def items() -> Iterator[tuple[Pixels, np.int64]]:
        for number in batch:
            if clips.may_hang:  # and would be ended without a last word
                _diary(file, os.getpid()).write_text(str(number))
            yield clips[number]

    def shared(fields: Arrays) -> Arrays:
        layout = [((len(batch), *field.shape), field.dtype.str) for field in fields]
        size = sum(len(batch) * field.nbytes + ALIGNED_BYTES for field in fields)
        segment.append(SharedMemory(f"{file.parent.name}-{os.getpid()}-{next(_segments)}", create=True, size=size))
        return _arrays_in(segment[0], layout)

    try:
        layout = [(array.shape, array.dtype.str) for array in _filled(items(), shared)]
    except BaseException:
        for memory in segment:
            memory.unlink()
        raise
    (memory,) = segment
    memory.close()
    return memory.name, layout


_segments = itertools.count()


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
