"""What processes that work together, the ranks, say to each other."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import distributed

RANK = "PADDLE_TRAINER_ID"  # of the environment that Paddle reads
GRACE_SEC = 5.0  # after a rank's death: so long the others may take to notice it and to leave in good order

Item = TypeVar("Item")


class Ranks:
    """One process's number among those that work together, and what they say to one another.

    Alone (`Ranks()`) everything is the identity, and Paddle's communication is never started. Every other method than
    `share` must be called by all ranks alike.
    """

    def __init__(self, rank: int = 0, size: int = 1, raise_reason: Callable[[], None] | None = None) -> None:
        """Number `rank` of `size`; `raise_reason` raises why another rank is no more, where that is known."""
        self.rank = rank
        self.size = size
        self._raise_reason = raise_reason

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What of `items` is this rank's: the shares together are all of them, each once."""
        return items[self.rank :: self.size]

    def sum_tensor(self, values: paddle.Tensor) -> paddle.Tensor:
        """The sum of a tensor of the same shape and type in each rank."""
        if self.size == 1:
            return values
        with self.explained():
            distributed.all_reduce(values)
        return values

    def sum_over_ranks(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of an array of the same shape in each rank, as float64."""
        if self.size == 1:
            return array
        return np.asarray(self.sum_tensor(paddle.to_tensor(array, dtype="float64")).numpy())

    def gather(self, rows: Sequence[Item]) -> list[Item]:
        """The results of all items whose `share` each rank has worked on, in the order of the items."""
        if self.size == 1:
            return list(rows)
        shares = self._all_of(list(rows))
        whole: list[Any] = [None] * sum(map(len, shares))
        for rank, share in enumerate(shares):
            whole[rank :: self.size] = share
        return whole

    def from_first(self, make: Callable[[], Item]) -> Item:
        """What rank 0 makes, in all ranks; the others wait for it."""
        if self.size == 1:
            return make()
        made: Item = self._all_of(None if self.rank else make())[0]
        return made

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is true in any rank."""
        return bool(self.sum_over_ranks(np.array([flag], dtype=np.float64))[0] > 0)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.any_rank(False)

    def _all_of(self, value: Any) -> list[Any]:
        values: list[Any] = []
        with self.explained():
            distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Around what fails when another rank is no more: the reason is raised instead, where it can be known."""
        try:
            yield
        except RuntimeError:
            if self._raise_reason is not None:
                self._raise_reason()
            time.sleep(GRACE_SEC)  # rank 0, or the launcher, will end this one, and say the reason
            raise


def is_helper() -> bool:
    """Whether this process is one of several ranks and not the first, which alone prints and writes."""
    return os.environ.get(RANK, "0") != "0"
