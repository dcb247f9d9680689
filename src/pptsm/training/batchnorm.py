"""Batch norm statistics that belong to the weights as they are."""

from collections.abc import Iterable

import numpy as np
import paddle
from paddle import nn


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
