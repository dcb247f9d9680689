"""Batches of clips, prepared here or in worker processes; either way the same batches in the same order."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from paddle.io import DataLoader

from pptsm.data.transforms import ClipArray
from pptsm.errors import UserError


class Clips(Protocol):
    """Anything whose items are (clip, label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> tuple[ClipArray, np.int64]: ...


class _SafeClips:
    """Hands a worker's mistake over as a value: an exception would arrive as a stack trace in a string."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> Any:
        try:
            return self.clips[number]
        except UserError as error:
            return error


def load_batches(
    clips: Clips, batches: Iterable[list[int]], workers: int
) -> Iterator[tuple[ClipArray, NDArray[np.int64]]]:
    """Yield (clips [B, T, 3, H, W], labels [B]) for each list of item numbers.

    Args:
        clips: the items.
        batches: item numbers of each batch.
        workers: processes; 0 prepares the clips in this one.

    Raises:
        UserError: a clip cannot be read.
    """
    if workers == 0:
        for batch in batches:
            yield _collate([clips[number] for number in batch])
        return
    loader = DataLoader(
        _SafeClips(clips), batch_sampler=list(batches), num_workers=workers, collate_fn=_collate_or_error
    )
    for loaded in loader:
        if len(loaded) == 1:
            raise UserError(bytes(np.asarray(loaded[0])).decode())
        yield np.asarray(loaded[0]), np.asarray(loaded[1])


def _collate(items: list[tuple[ClipArray, np.int64]]) -> tuple[ClipArray, NDArray[np.int64]]:
    return np.stack([clip for clip, _ in items]), np.array([label for _, label in items], dtype=np.int64)


def _collate_or_error(items: list[Any]) -> list[NDArray[Any]]:
    for item in items:
        if isinstance(item, UserError):
            return [np.frombuffer(str(item).encode(), dtype=np.uint8)]
    return list(_collate(items))
