"""Batch norm: whose clips its statistics are of, what stays as it is, and statistics that belong to the weights.

Shape legend: F values of all statistics (or parameters), one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import paddle
from paddle import nn

from pptsm.distributed.ranks import Ranks
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Training
from pptsm.runtime.errors import UserError

BATCH_NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)


def prepare(model: VideoNetwork, recipe: Training, processes: int, clips: int) -> None:
    """Once, before its optimiser is built: choose the kind of batch norm, and let what is frozen not learn.

    Args:
        model: the network.
        recipe: section training.
        processes: that train together.
        clips: of a step.

    Raises:
        UserError: batch norm is to be synchronised over GPUs that would have unequal shares of a step.
    """
    if recipe.batch_norm == "synchronised" and processes > 1:
        if clips % processes:  # Paddle takes all shares for equal
            raise UserError(
                f"training.batch_norm is synchronised, but the {clips} clips of a step cannot be divided equally among "
                f"{processes} GPUs. Set training.batch_size to a multiple of {processes} (an epoch must have as many "
                "clips), or training.batch_norm to local."
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


class Statistics:
    """The statistics of groups, each weighted by its clips, of the batch norms that are in training mode."""

    def __init__(self, models: Iterable[nn.Layer]) -> None:
        """Of these networks, in the mode that they have now."""
        layers = [layer for model in models for layer in model.sublayers()]
        self.norms = [layer for layer in layers if isinstance(layer, BATCH_NORMS) and layer.training]
        self._values = [value for norm in self.norms for value in (norm._mean, norm._variance)]
        self.momentum = flat([paddle.full_like(value, n._momentum) for n in self.norms for value in (n._mean, n._mean)])

    @contextmanager
    def of_each_pass(self) -> Iterator[None]:
        """Inside, running statistics are those of the last pass alone."""
        momenta = [norm._momentum for norm in self.norms]
        try:
            for norm in self.norms:
                norm._momentum = 0.0
            yield
        finally:
            for norm, momentum in zip(self.norms, momenta, strict=True):
                norm._momentum = momentum

    def get(self) -> paddle.Tensor:
        """The running statistics, float64 [F]."""
        return flat(self._values)

    def put(self, values_F: paddle.Tensor) -> None:
        """Take these as running statistics."""
        spread(values_F, self._values, paddle.Tensor.set_value)


def precise_batch_norm(model: nn.Layer, groups: Iterable[paddle.Tensor], ranks: Ranks) -> None:
    """Replace every batch norm's running statistics by the true average over `groups`, weighted by their clips.

    Running statistics trail behind weights that still change; these belong to the weights as they are.

    Args:
        model: in training mode, its weights stay as they are. Batch norms that are in evaluation mode, being frozen,
            stay as they are too.
        groups: clips [N, T, 3, H, W] as in training, but unmixed; those of this rank.
        ranks: whose groups are averaged over; each of them is given the result.

    Source: Wu and Johnson, "Rethinking Batch in BatchNorm" (2021), section 3.
    """
    statistics = Statistics([model])
    with paddle.no_grad():
        # the sums stay on the device: to fetch them would make a GPU wait for every group
        sums = paddle.zeros([statistics.momentum.size + 1], dtype="float64")
        with statistics.of_each_pass():
            for clips in groups:
                model(clips)
                number = paddle.to_tensor([float(len(clips))], dtype="float64")
                sums += paddle.concat([number * statistics.get(), number])
        sums = ranks.sum_tensor(sums)
        if sums[-1] > 0:
            statistics.put(sums[:-1] / sums[-1])


def flat(tensors: Sequence[paddle.Tensor]) -> paddle.Tensor:
    """All values one after the other, float64 [F]; a copy."""
    if not tensors:
        return paddle.zeros([0], dtype="float64")
    return paddle.concat([tensor.astype("float32").flatten() for tensor in tensors]).astype("float64")


def spread(
    values_F: paddle.Tensor, over: Sequence[paddle.Tensor], put: Callable[[paddle.Tensor, paddle.Tensor], object]
) -> None:
    """The opposite of `flat`: call `put` with each tensor and its float32 values, in its shape."""
    values, start = values_F.astype("float32"), 0
    for tensor in over:
        put(tensor, values[start : start + tensor.size].reshape(tensor.shape))
        start += tensor.size
