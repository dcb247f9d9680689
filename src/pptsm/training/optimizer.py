"""Learning rate, parameter groups and batch-norm statistics of the PP-TSM recipe."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import paddle
from paddle import nn

from pptsm.model.network import VideoNetwork
from pptsm.params import Training


def learning_rate(
    step: int, steps_per_epoch: int, epochs: int, warmup_epochs: int, warmup_start: float, base: float
) -> float:
    """Cosine decay to 0 over all epochs, entered by a straight warm-up line.

    The line runs from `warmup_start` to the value that the cosine has at the end of the warm-up, so the
    two join; it does not reach `base`.

    Args:
        step: 0-based iteration since the start of training.
        steps_per_epoch, epochs, warmup_epochs: lengths.
        warmup_start: rate at step 0 (unused without warm-up).
        base: rate where the cosine would begin.

    Source: PaddleVideo's warm-up cosine schedule, as used by all PP-TSM configurations.
    """
    total, warmup = steps_per_epoch * epochs, steps_per_epoch * warmup_epochs

    def cosine(at: int) -> float:
        return base * 0.5 * (1 + math.cos(math.pi * at / total))

    if step >= warmup:
        return cosine(step)
    return warmup_start + (cosine(warmup) - warmup_start) * step / warmup


def piecewise_learning_rate(epoch: int, base: float, boundaries: Sequence[int], factor: float) -> float:
    """`base` times `factor` for each boundary (an epoch number, 0-based) that lies at or before `epoch`."""
    return base * factor ** sum(epoch >= boundary for boundary in boundaries)


def scheduled_rate(training: Training, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The rate that params.yaml asks for at `step`."""
    if training.schedule == "piecewise":
        return piecewise_learning_rate(
            step // steps_per_epoch, training.base_lr, training.step_epochs, training.step_factor
        )
    return learning_rate(
        step, steps_per_epoch, epochs, training.warmup_epochs, training.warmup_start_lr, training.base_lr
    )


def build_optimizer(models: Iterable[VideoNetwork], training: Training) -> paddle.optimizer.Momentum:
    """Nesterov momentum with the recipe's four groups of parameters.

    Convolution weights: L2. Batch norm scale and shift: no L2. Last layer: weight with its own multiple
    of the learning rate and L2, bias with its own multiple and no L2. Set the rate before every step.
    """
    conv, norm, head_weight, head_bias = [], [], [], []
    for model in models:
        for name, parameter in model.named_parameters():
            if not parameter.trainable:
                continue  # Paddle counts batch norm statistics among the parameters
            if name == "head.fc.weight":
                head_weight.append(parameter)
            elif name == "head.fc.bias":
                head_bias.append(parameter)
            elif "_batch_norm" in name:
                norm.append(parameter)
            else:
                conv.append(parameter)
    decay = paddle.regularizer.L2Decay(training.weight_decay)
    maybe_decay = decay if training.decay_norm_and_bias else paddle.regularizer.L2Decay(0.0)
    return paddle.optimizer.Momentum(
        learning_rate=training.base_lr,
        momentum=training.momentum,
        use_nesterov=True,
        parameters=[
            {"params": conv, "weight_decay": decay},
            {"params": norm, "weight_decay": maybe_decay},
            {"params": head_weight, "weight_decay": decay, "learning_rate": training.head_weight_lr},
            {"params": head_bias, "weight_decay": maybe_decay, "learning_rate": training.head_bias_lr},
        ],
    )


def precise_batch_norm(model: nn.Layer, batches: Iterable[paddle.Tensor]) -> None:
    """Replace every batch norm's running statistics by the true average over `batches`.

    Running statistics trail behind weights that still change; these belong to the weights as they are.

    Args:
        model: its weights stay as they are; it is left in training mode.
        batches: clips [N, T, 3, H, W] as in training, but unmixed.

    Source: Wu and Johnson, "Rethinking Batch in BatchNorm" (2021), section 3.
    """
    norms = [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    momenta = [norm._momentum for norm in norms]
    means = [np.zeros(norm._mean.shape, dtype=np.float64) for norm in norms]
    variances = [np.zeros(norm._variance.shape, dtype=np.float64) for norm in norms]
    model.train()
    count = 0
    try:
        for norm in norms:
            norm._momentum = 0.0  # then the running statistics are those of the last batch
        with paddle.no_grad():
            for clips in batches:
                model(clips)
                count += 1
                for index, norm in enumerate(norms):
                    means[index] += norm._mean.numpy()
                    variances[index] += norm._variance.numpy()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm._momentum = momentum
    if count:
        for norm, mean, variance in zip(norms, means, variances, strict=True):
            norm._mean.set_value((mean / count).astype(np.float32))
            norm._variance.set_value((variance / count).astype(np.float32))
