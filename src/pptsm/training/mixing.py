"""Mixing: clips of a group blended with one another, and what then counts as right.

Shape legend: N clips, T frames, K classes, H/W pixels. A `Mix` says what each clip was mixed with.
"""

from typing import NamedTuple

import numpy as np
import paddle

from pptsm.params.schema import Training


class Mix(NamedTuple):
    """Clip i is `share` of itself and `1 - share` of a clip whose label is `other_labels[i]`."""

    other_labels: paddle.Tensor  # int64 [N]
    share: float


def mixup(
    clips: paddle.Tensor, labels: paddle.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[paddle.Tensor, Mix]:
    """Blend every clip with another of the group, by one share for all, drawn from Beta(alpha, alpha).

    Args:
        clips: [N, T, 3, H, W].
        labels: int64 [N].

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018).
    """
    share = float(rng.beta(alpha, alpha))
    order = paddle.to_tensor(rng.permutation(clips.shape[0]))
    return share * clips + (1 - share) * clips[order], Mix(labels[order], share)


def cutmix(
    clips: paddle.Tensor, labels: paddle.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[paddle.Tensor, Mix]:
    """Paste a box of another clip of the group, the same box in all frames of all clips.

    The box covers about 1 - Beta(alpha, alpha) of the frame; the share counts the pixels that stayed.

    Source: Yun et al., "CutMix" (ICCV 2019), section 3.1; over time as in VideoMix (2020).
    """
    height, width = clips.shape[-2:]
    side = np.sqrt(1 - rng.beta(alpha, alpha))
    center_y, center_x = rng.integers(height), rng.integers(width)
    half_y, half_x = int(height * side) // 2, int(width * side) // 2
    top, bottom = max(0, center_y - half_y), min(height, center_y + half_y)
    left, right = max(0, center_x - half_x), min(width, center_x + half_x)
    order = paddle.to_tensor(rng.permutation(clips.shape[0]))
    kept = np.ones((height, width), dtype=np.float32)
    kept[top:bottom, left:right] = 0
    mask = paddle.to_tensor(kept)
    return clips * mask + clips[order] * (1 - mask), Mix(labels[order], float(kept.mean()))


def mix_clips(
    recipe: Training, clips: paddle.Tensor, labels: paddle.Tensor, rng: np.random.Generator
) -> tuple[paddle.Tensor, Mix | None]:
    """Apply `recipe.mix`: "none", "mixup", "cutmix", or "videomix" (one of the two with equal chance).

    Source of VideoMix: PaddleVideo, which gives each of the two an alpha of its own.
    """
    kind = recipe.mix
    if kind == "videomix":
        kind = "cutmix" if rng.random() < 0.5 else "mixup"
    match kind:
        case "mixup":
            return mixup(clips, labels, recipe.mixup_alpha, rng)
        case "cutmix":
            return cutmix(clips, labels, recipe.cutmix_alpha, rng)
    return clips, None


def count_right(logits: paddle.Tensor, labels: paddle.Tensor, mix: Mix | None = None) -> paddle.Tensor:
    """How many clips are recognised; a mixed clip counts for each of its two labels by that label's share.

    Args:
        logits: [N, K].
        labels: int64 [N].
        mix: what they were mixed with, or None.

    Returns:
        A float32 scalar, where the logits are.
    """
    guesses = logits.argmax(axis=1)
    right = (guesses == labels).astype("float32").sum()
    if mix is None:
        return right
    return mix.share * right + (1 - mix.share) * (guesses == mix.other_labels).astype("float32").sum()
