"""Batches of clips, prepared here or in worker processes; either way the same batches in the same order.

Shape legend: B clips a batch, T frames, H/W pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.io import DataLoader

from pptsm.data.transforms import Pixels
from pptsm.errors import UserError


class Clips(Protocol):
    """Anything whose items are (pixels, label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> tuple[Pixels, np.int64]: ...


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
    clips: Clips, batches: Iterable[Sequence[int]], workers: int, device: str | None = None
) -> Iterator[tuple[Pixels, paddle.Tensor]]:
    """Yield (pixels [B, T, 3, H, W], labels int64 [B]) as tensors for each list of item numbers.

    Args:
        clips: the items.
        batches: item numbers of each batch.
        workers: processes; 0 prepares the clips in this one.
        device: where the tensors arrive; None: where Paddle computes.

    Raises:
        UserError: a clip cannot be read.
    """
    device = device or paddle.get_device()
    if workers == 0:
        for batch in batches:
            *pixels, labels = (
                paddle.to_tensor(array, place=device) for array in _collate([clips[number] for number in batch])
            )
            yield Pixels(*pixels), labels
        return
    loader = DataLoader(
        _SafeClips(clips),
        places=[device],
        batch_sampler=list(batches),
        num_workers=workers,
        collate_fn=_collate_or_error,
    )
    for loaded in loader:
        if len(loaded) == 1:
            raise UserError(bytes(np.asarray(loaded[0])).decode())
        *pixels, labels = loaded
        yield Pixels(*pixels), labels


def normalise_on_device(pixels: Pixels) -> paddle.Tensor:
    """What the network sees of a batch, computed where Paddle computes: bit for bit `transforms.normalise` of it.

    Args:
        pixels: a batch [B, T, 3, H, W], as tensors or arrays.

    Returns:
        float32 [B, T, 3, H, W].
    """
    values, scale, offset = (field if isinstance(field, paddle.Tensor) else paddle.to_tensor(field) for field in pixels)
    batch, frames = values.shape[:2]
    # One number for each frame and channel, in place: on a CPU Paddle's other broadcasts take seven times as long.
    scale, offset = (
        numbers.reshape([batch, 1, 3, 1, 1]).expand([batch, frames, 3, 1, 1]) for numbers in (scale, offset)
    )
    return values.astype("float32").multiply_(scale).subtract_(offset)


def _collate(items: list[tuple[Pixels, np.int64]]) -> list[NDArray[Any]]:
    fields = zip(*(pixels for pixels, _ in items), strict=True)
    return [*map(np.stack, fields), np.array([label for _, label in items], dtype=np.int64)]


def _collate_or_error(items: list[Any]) -> list[NDArray[Any]]:
    for item in items:
        if isinstance(item, UserError):
            return [np.frombuffer(str(item).encode(), dtype=np.uint8)]
    return _collate(items)
