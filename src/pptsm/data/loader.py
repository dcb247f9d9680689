"""Batches of clips where Paddle computes, prepared here or in other processes; the same batches in the same order.

Shape legend: B clips per batch, T frames, H/W pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import paddle
from numpy.typing import NDArray
from paddle.utils import dlpack

from pptsm.data.prefetch import Clips, prepared
from pptsm.data.transforms import Pixels


def load_batches(
    clips: Clips, batches: Iterable[Sequence[int]], workers: int, device: str | None = None
) -> Iterator[tuple[Pixels, paddle.Tensor]]:
    """Yield (pixels [B, T, 3, H, W], labels int64 [B]) as tensors for each list of item numbers.

    Args:
        clips: the items.
        batches: item numbers of each batch.
        workers: processes; 0 prepares the clips in this one, unless one of them may keep it busy for ever.
        device: where the tensors arrive; None: where Paddle computes.

    Raises:
        UserError: a clip cannot be read, or a process was ended from outside.
    """
    place = device or paddle.get_device()
    for *pixels, labels in prepared(clips, batches, workers):
        yield Pixels(*(as_tensor(field, place) for field in pixels)), as_tensor(labels, place)


def as_tensor(array: NDArray[Any], place: str) -> paddle.Tensor:
    """An array where Paddle computes; on a CPU it is the array's own memory."""
    if place == "cpu" and array.flags.c_contiguous and array.flags.writeable:
        return dlpack.from_dlpack(array)
    return paddle.to_tensor(array, place=place)


def normalise_on_device(pixels: Pixels) -> paddle.Tensor:
    """What the network sees of a batch, computed where Paddle computes: bit for bit `transforms.normalise` of it.

    Args:
        pixels: a batch [B, T, 3, H, W], as tensors or arrays.

    Returns:
        float32 [B, T, 3, H, W].
    """
    place = paddle.get_device()
    values, scale, offset = (field if isinstance(field, paddle.Tensor) else as_tensor(field, place) for field in pixels)
    batch, frames = values.shape[:2]
    # One number for each frame and channel, in place: on a CPU Paddle's other broadcasts take seven times as long.
    scale, offset = (
        numbers.reshape([batch, 1, 3, 1, 1]).expand([batch, frames, 3, 1, 1]) for numbers in (scale, offset)
    )
    return values.astype("float32").multiply_(scale).subtract_(offset)
