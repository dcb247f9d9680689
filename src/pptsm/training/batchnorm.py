"""Batch norm: whose clips its statistics are of, what stays as it is, and statistics that belong to the weights."""

from collections.abc import Iterable
from itertools import chain

import numpy as np
import paddle
from paddle import nn

from pptsm.errors import UserError
from pptsm.model.network import VideoNetwork
from pptsm.model.parallel import Ranks
from pptsm.params import Training

BATCH_NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)


def prepare(model: VideoNetwork, recipe: Training, processes: int) -> None:
    """Once, before its optimiser is built: choose the kind of batch norm, and let what is frozen not learn.

    Args:
        model: the network.
        recipe: section training.
        processes: that train together.

    Raises:
        UserError: batch norm shall be synchronised over several processes that compute on CPUs, or that would have
            unequal shares of a batch.
    """
    if recipe.batch_norm == "synchronised" and processes > 1:
        if paddle.get_device() == "cpu":
            raise UserError(
                f"training.batch_norm is synchronised, but {processes} processes compute on CPUs, and Paddle has it on "
                "GPUs only. Set training.batch_norm to local, or compute.devices to 1."
            )
        if recipe.batch_size % processes:  # a GPU with a part more would wait for the others in it for ever
            raise UserError(
                f"training.batch_norm is synchronised, but the {recipe.batch_size} clips of training.batch_size cannot "
                f"be dealt out equally to {processes} GPUs. Set it to a multiple of {processes}, or "
                "training.batch_norm to local."
            )
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for layer in _frozen(model, recipe):
        for parameter in layer.parameters():
            parameter.trainable = False


def into_training(model: VideoNetwork, recipe: Training) -> None:
    """Training mode, but for what is frozen: that stays in evaluation mode."""
    model.train()
    for layer in _frozen(model, recipe):
        layer.eval()


def _frozen(model: VideoNetwork, recipe: Training) -> list[nn.Layer]:
    layers: list[nn.Layer] = []
    if recipe.freeze_stages:
        layers += chain(model.backbone.stem, *model.backbone.stages[: recipe.freeze_stages])
    if recipe.batch_norm == "frozen":
        layers += [layer for layer in model.sublayers() if isinstance(layer, BATCH_NORMS)]
    return layers


def statistics_are_due(epoch: int, epochs: int, every: int) -> bool:
    """Whether batch norm statistics are measured after this epoch (0-based): the first, every so many, the last."""
    return every > 0 and (epoch % every == 0 or epoch == epochs - 1)


def precise_batch_norm(model: nn.Layer, batches: Iterable[paddle.Tensor], ranks: Ranks) -> None:
    """Replace every batch norm's running statistics by the true average over `batches`.

    Running statistics trail behind weights that still change; these belong to the weights as they are.

    Args:
        model: in training mode, its weights stay as they are. Batch norms that are in evaluation mode, being frozen,
            stay as they are too.
        batches: clips [N, T, 3, H, W] as in training, but unmixed; this rank's share of each.
        ranks: whose batches are averaged over; each of them is given the result.

    Source: Wu and Johnson, "Rethinking Batch in BatchNorm" (2021), section 3.
    """
    norms = [layer for layer in model.sublayers() if isinstance(layer, BATCH_NORMS) and layer.training]
    momenta = [norm._momentum for norm in norms]
    # the sums stay on the device: to fetch them would make a GPU wait for every layer of every batch
    means = [paddle.zeros(norm._mean.shape, dtype="float64") for norm in norms]
    variances = [paddle.zeros(norm._variance.shape, dtype="float64") for norm in norms]
    count = 0
    try:
        for norm in norms:
            norm._momentum = 0.0  # then the running statistics are those of the last batch
        with paddle.no_grad():
            for clips in batches:
                model(clips)
                count += 1
                for index, norm in enumerate(norms):
                    means[index] += norm._mean.astype("float64")
                    variances[index] += norm._variance.astype("float64")
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm._momentum = momentum
    sums = [each.numpy() for each in (*means, *variances)]
    *sums_of_all, (counted,) = np.split(
        ranks.sum_over_ranks(np.concatenate([*sums, [count]])), np.cumsum([len(each) for each in sums])
    )
    if counted:
        for statistic, total in zip([n._mean for n in norms] + [n._variance for n in norms], sums_of_all, strict=True):
            statistic.set_value((total / counted).astype(np.float32))
