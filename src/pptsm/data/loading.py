"""Batches of clips, prepared here or in worker processes; either way the same batches in the same order.

Shape legend: B clips a batch, T frames, H/W pixels.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

import paddle

from pptsm.data.ahead import Clips, collate, prepared_ahead
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
    workers = max(workers, int(clips.may_hang))
    to_device = functools.partial(paddle.to_tensor, place=device or paddle.get_device())  # copies
    here = (map(to_device, collate([clips[number] for number in batch])) for batch in batches)
    for *pixels, labels in prepared_ahead(clips, batches, workers, to_device) if workers else here:
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
