"""What the groups of a step add up to, over all processes: gradients, and batch norm statistics.

Sums are float64. There a sum of float32 values is exact, unless one is 2^25 times as large as another: so neither the
order of the groups nor who computed them shows in a result, not even in the last bit.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import paddle
from paddle import nn

from pptsm.distributed.ranks import Ranks
from pptsm.training.batchnorm import Statistics, flat, spread


class Accumulation:
    """The sums of one step after the other."""

    def __init__(self, models: Sequence[nn.Layer]) -> None:
        """Of networks that learn, in training mode: what is frozen stays as it is, to the last bit."""
        self._parameters = [parameter for model in models for parameter in model.parameters() if parameter.trainable]
        self._statistics = Statistics(models)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around the groups of a step."""
        self._before = self._statistics.get()
        self._sums: paddle.Tensor | None = None
        with self._statistics.of_each_pass():
            yield

    def add(self, clips: int) -> None:
        """Add what a group of so many clips left: gradients, which are then cleared, and batch norm statistics."""
        with paddle.no_grad():
            reached = [parameter for parameter in self._parameters if parameter.grad is not None]
            count = paddle.to_tensor([float(clips)], dtype="float64")
            sums = [flat([parameter.grad for parameter in reached]), clips * self._statistics.get(), count]
            self._reached = reached
            self._sums = paddle.concat(sums) if self._sums is None else self._sums + paddle.concat(sums)
            for parameter in reached:
                parameter.clear_gradient()

    def finish(self, ranks: Ranks, wish: bool = False) -> bool:
        """Put the sums over all groups of all ranks into the networks, which then are the same in each.

        Gradients are summed: each group's loss was weighted by its share of the clips. Running statistics move by
        their momentum towards the mean of the groups', weighted by their clips, as if all were one batch.

        Args:
            ranks: the processes that share the step; one message goes between them.
            wish: whether this rank asks for something that all must do in the same step.

        Returns:
            Whether any rank has the wish.
        """
        assert self._sums is not None
        with paddle.no_grad():
            sums = self._sums
            if ranks.size > 1:
                sums = ranks.sum_tensor(paddle.concat([sums, paddle.to_tensor([float(wish)], dtype="float64")]))
                wish, sums = bool(sums[-1] > 0), sums[:-1]
            end = sum(parameter.size for parameter in self._reached)
            spread(sums[:end], self._reached, _set_gradient)
            momentum = self._statistics.momentum
            self._statistics.put(momentum * self._before + (1 - momentum) * sums[end:-1] / sums[-1])
        return wish


def _set_gradient(parameter: paddle.Tensor, gradient: paddle.Tensor) -> None:
    parameter.grad = gradient.astype(parameter.dtype)
