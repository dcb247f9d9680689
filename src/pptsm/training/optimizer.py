"""Learning rate, parameter groups and the step of the PP-TSM recipe."""

import math
from collections.abc import Iterable, Sequence

import paddle
from paddle import nn

from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Training
from pptsm.training.precision import Precision

NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


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


def scheduled_rate(training: Training, step: int, steps_per_epoch: int, epochs: int, batch: int) -> float:
    """The rate that params.yaml asks for at `step`.

    Where the rates are said for a batch of another size, the whole curve grows in proportion to the batch.

    Args:
        training: the recipe.
        step, steps_per_epoch, epochs: as in `learning_rate`.
        batch: the clips that a step learns from: fewer than `training.batch_size` where an epoch has no more.

    Source: Goyal et al., "Accurate, Large Minibatch SGD" (2017), section 2.1.
    """
    times = batch / training.lr_for_batch if training.lr_for_batch else 1
    base, start = times * training.base_lr, times * training.warmup_start_lr
    if training.schedule == "piecewise":
        return piecewise_learning_rate(step // steps_per_epoch, base, training.step_epochs, training.step_factor)
    return learning_rate(step, steps_per_epoch, epochs, training.warmup_epochs, start, base)


def build_optimizer(models: Iterable[VideoNetwork], training: Training) -> paddle.optimizer.Momentum:
    """Nesterov momentum with the recipe's four groups of parameters, by the type of their layer.

    Convolutions: L2. Norms' scale and shift: no L2. Linear layers (the last one, and what other networks have
    beside it): weight with its own multiple of the learning rate and L2, bias with its own multiple and no L2.
    Set the rate before every step.
    """
    conv: list[paddle.Tensor] = []
    norm: list[paddle.Tensor] = []
    linear_weight: list[paddle.Tensor] = []
    linear_bias: list[paddle.Tensor] = []
    for layer in (layer for model in models for layer in model.sublayers(include_self=True)):
        for parameter in layer.parameters(include_sublayers=False):
            if not parameter.trainable:
                continue  # frozen, or batch norm statistics, which Paddle counts among the parameters
            if isinstance(layer, NORMS):
                norm.append(parameter)
            elif isinstance(layer, nn.Linear):
                (linear_bias if parameter is layer.bias else linear_weight).append(parameter)
            else:
                conv.append(parameter)
    decay = paddle.regularizer.L2Decay(training.weight_decay)
    maybe_decay = decay if training.decay_norm_and_bias else paddle.regularizer.L2Decay(0.0)
    groups = [
        {"params": conv, "weight_decay": decay},
        {"params": norm, "weight_decay": maybe_decay},
        {"params": linear_weight, "weight_decay": decay, "learning_rate": training.head_weight_lr},
        {"params": linear_bias, "weight_decay": maybe_decay, "learning_rate": training.head_bias_lr},
    ]
    return paddle.optimizer.Momentum(
        learning_rate=training.base_lr,
        momentum=training.momentum,
        use_nesterov=True,
        parameters=[group for group in groups if group["params"]],  # where all of a kind is frozen there is none
    )


def take_step(
    optimizer: paddle.optimizer.Optimizer, models: Iterable[VideoNetwork], precision: Precision, clip_norm: float
) -> None:
    """Change the weights by the gradients that are there, and clear those.

    Args:
        optimizer: of the models.
        models: all that learn.
        precision: its scaler skips a step whose gradients are no numbers.
        clip_norm: largest length of all gradients together, taken as one vector; longer ones are shortened to it.
            0: as they are.
    """
    if clip_norm > 0:
        # not the optimiser's own clipping: that takes each group of parameters for itself
        precision.scaler.unscale_(optimizer)
        learning = [parameter for model in models for parameter in model.parameters() if parameter.trainable]
        nn.utils.clip_grad_norm_(learning, clip_norm)
    precision.scaler.step(optimizer)
    precision.scaler.update()
    optimizer.clear_grad()
