"""Losses: pure functions of logits [N, K] of N clips and K classes."""

import paddle
import paddle.nn.functional as F


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


def _smoothed(log_p: paddle.Tensor, labels: paddle.Tensor, smoothing: float) -> paddle.Tensor:
    target = F.label_smooth(F.one_hot(labels, log_p.shape[1]), epsilon=smoothing)
    return -(target * log_p).sum(axis=1).mean()


def _kl(target: paddle.Tensor, log_q: paddle.Tensor) -> paddle.Tensor:
    # clipped: a class of probability 0 has no part in the sum, but log 0 would make it NaN
    log_target = paddle.log(paddle.clip(target, min=1e-12))
    return (target * (log_target - log_q)).sum(axis=1).mean()
