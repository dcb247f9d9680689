"""Losses and mixing: pure functions of tensors.

Shape legend: N clips, T frames, K classes, H/W pixels. A `Mix` says what each clip was mixed with.
"""

from typing import Literal, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from numpy.typing import NDArray


class Mix(NamedTuple):
    """Clip i is `share` of itself and `1 - share` of a clip whose label is `other_labels[i]`."""

    other_labels: paddle.Tensor  # int64 [N]
    share: float


class Objective(NamedTuple):
    """What one step minimises, and the parts of it that are the student's."""

    total: paddle.Tensor  # what is minimised; under mutual learning the peer's cross entropy is in it
    own: paddle.Tensor  # without the peer's cross entropy
    labels: paddle.Tensor  # the student's cross entropy alone, before any weighting


def smoothed_cross_entropy(
    logits: paddle.Tensor, labels: paddle.Tensor, smoothing: float, mix: tuple[paddle.Tensor, float] | None = None
) -> paddle.Tensor:
    """Cross entropy with label smoothing, for mixed clips of both labels by their shares.

    Args:
        logits: [N, K].
        labels: int64 [N].
        smoothing: e; the target is 1 - e + e/K for the label and e/K for every other class.
        mix: (other labels [N], share of the first label), or None.

    Returns:
        The mean over the clips: a scalar tensor.

    Source: Szegedy et al., "Rethinking the Inception Architecture" (CVPR 2016), section 7; Zhang et al.,
    "mixup" (ICLR 2018), equation 2.
    """
    log_p = F.log_softmax(logits, axis=1)
    loss = _smoothed(log_p, labels, smoothing)
    if mix is not None:
        other_labels, share = mix
        loss = share * loss + (1 - share) * _smoothed(log_p, other_labels, smoothing)
    return loss


def objective(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    smoothing: float,
    mix: tuple[paddle.Tensor, float] | None,
    other: paddle.Tensor | None = None,
    method: Literal["hinton", "mutual"] = "hinton",
    weight: float = 0.0,
    temperature: float = 1.0,
) -> Objective:
    """The loss of one step: of the labels alone, or with what another network says.

    Args:
        logits: [N, K], of the network that is trained.
        labels, smoothing, mix: as in `smoothed_cross_entropy`.
        other: logits [N, K] of teacher or peer; None for plain training.
        method: "hinton" (1-w) * CE + w * distillation; "mutual" CE of both + w * divergence.
        weight: w.
        temperature: for "hinton".

    Source: Hinton et al. (2015); Zhang et al., "Deep Mutual Learning" (CVPR 2018), as PP-TSMv2 sums it.
    """
    cross_entropy = smoothed_cross_entropy(logits, labels, smoothing, mix)
    if other is None:
        return Objective(cross_entropy, cross_entropy, cross_entropy)
    if method == "hinton":
        own = (1 - weight) * cross_entropy + weight * distillation(logits, other, temperature)
        return Objective(own, own, cross_entropy)
    own = cross_entropy + weight * mutual_divergence(logits, other)
    return Objective(own + smoothed_cross_entropy(other, labels, smoothing, mix), own, cross_entropy)


def count_right(
    logits: NDArray[np.floating], labels: NDArray[np.int64], mix: tuple[paddle.Tensor, float] | None = None
) -> float:
    """How many clips are recognised; a mixed clip counts for each of its two labels by that label's share.

    Args:
        logits: [N, K].
        labels: [N].
        mix: (other labels [N], share of the first label), or None.
    """
    guesses = logits.argmax(axis=1)
    right = float((guesses == labels).sum())
    if mix is None:
        return right
    other_labels, share = mix
    return share * right + (1 - share) * float((guesses == other_labels.numpy()).sum())


def distillation(student: paddle.Tensor, teacher: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """t^2 * KL(softmax(teacher/t) || softmax(student/t)), mean over the clips.

    Args:
        student, teacher: logits [N, K]; no gradient flows into the teacher.
        temperature: t.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """
    target = F.softmax(teacher.detach() / temperature, axis=1)
    return temperature**2 * _kl(target, F.log_softmax(student / temperature, axis=1))


def mutual_divergence(one: paddle.Tensor, other: paddle.Tensor) -> paddle.Tensor:
    """Half the sum of both KL directions between two networks that learn from one another.

    Args:
        one, other: logits [N, K]; gradients flow into both.

    Source: Zhang et al., "Deep Mutual Learning" (CVPR 2018), in the symmetric form of PP-TSMv2.
    """
    log_one, log_other = F.log_softmax(one, axis=1), F.log_softmax(other, axis=1)
    return (_kl(log_one.exp(), log_other) + _kl(log_other.exp(), log_one)) / 2


def mixup(
    clips: paddle.Tensor, labels: paddle.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[paddle.Tensor, Mix]:
    """Blend every clip with another of the batch, by one share a batch drawn from Beta(alpha, alpha).

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
    """Paste a box of another clip of the batch, the same box through all frames.

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
    kind: str, clips: paddle.Tensor, labels: paddle.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[paddle.Tensor, Mix | None]:
    """Apply `training.mix`: "none", "mixup", "cutmix", or "videomix" (one of the two with equal chance)."""
    if kind == "videomix":
        kind = "cutmix" if rng.random() < 0.5 else "mixup"
    match kind:
        case "mixup":
            return mixup(clips, labels, alpha, rng)
        case "cutmix":
            return cutmix(clips, labels, alpha, rng)
    return clips, None


def _smoothed(log_p: paddle.Tensor, labels: paddle.Tensor, smoothing: float) -> paddle.Tensor:
    target = F.label_smooth(F.one_hot(labels, log_p.shape[1]), epsilon=smoothing)
    return -(target * log_p).sum(axis=1).mean()


def _kl(target: paddle.Tensor, log_q: paddle.Tensor) -> paddle.Tensor:
    # clipped: a class of probability 0 has no part in the sum, but log 0 would make it NaN
    log_target = paddle.log(paddle.clip(target, min=1e-12))
    return (target * (log_target - log_q)).sum(axis=1).mean()
