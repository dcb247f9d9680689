"""The figures of an epoch, and whether its loss is still a number.

They stay on the device and are fetched every so many steps: each fetch makes a GPU wait until its queue is empty.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from pptsm.data.clips import TrainingClips
from pptsm.distributed.ranks import Ranks
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.training.mixing import count_right
from pptsm.training.objectives import Learned

# Steps of a GPU: rare enough for its queue to stay full, often enough not to compute long on NaN. A CPU has no queue.
FETCH_EVERY = 20
# A skipped step leaves the weights alone. A batch or two may be too much for half precision; after so many different
# ones in a row it is the weights.
MOST_SKIPPED = 10
SHOWN = 8  # clips in a sentence
MEANS = 3  # of a step's figures the first, which are means over its clips: losses
# Before the names of figures in the history: of the role's own network, and of a peer.
PREFIXES = ("", "peer_")


@dataclass
class Sums:
    """What the steps of an epoch have come to; all plain numbers, so that a state keeps them exactly."""

    right: list[float]  # clips that each learner recognised
    steps: int = 0
    seen: int = 0  # clips
    skipped: int = 0  # steps
    in_a_row: int = 0  # skipped steps, up to the last one
    learned: int = 0  # clips, and the sums below: of the steps not skipped
    loss: float = 0.0
    cross_entropy: float = 0.0
    rate: float = 0.0  # the last step's
    seconds: float = 0.0


class EpochMetrics:
    """Sums over the steps of one epoch, of all ranks together."""

    def __init__(
        self,
        role: str,
        epoch: int,
        clips: TrainingClips,
        batches: list[list[int]],
        learners: int,
        may_skip: bool,
        ranks: Ranks,
        sums: dict[str, Any] | None = None,
    ) -> None:
        """Of `epoch` (0-based), in which so many learners see `batches` of `clips`, shared among `ranks`.

        may_skip: whether a step whose loss is no number left the weights alone, as the scaler of half precision does.
        sums: what `sums` gave after the epoch's first steps, where it was left in the middle.
        """
        self.role = role
        self.epoch = epoch
        self.clips = clips
        self.batches = batches
        self.may_skip = may_skip
        self.ranks = ranks
        self.fetch_every = 1 if paddle.get_device() == "cpu" else FETCH_EVERY
        # of each step that is not yet fetched: figures of its groups here [groups, figures], their clips, rate
        self._waiting: list[tuple[paddle.Tensor, list[int], float]] = []
        self._sums = Sums(**sums) if sums else Sums(right=[0.0] * learners)  # of the steps that are fetched
        self._started = time.monotonic() - self._sums.seconds

    def sums(self) -> dict[str, Any]:
        """What a state keeps of it.

        Raises:
            UserError: as `add`.
        """
        self._fetch()
        self._sums.seconds = time.monotonic() - self._started
        return vars(self._sums)

    @property
    def steps(self) -> int:
        """How many are counted."""
        return self._sums.steps + len(self._waiting)

    @property
    def seen(self) -> int:
        """Clips of the steps that are counted."""
        return self._sums.seen

    @property
    def rate(self) -> float:
        """The last step's learning rate."""
        return self._sums.rate

    @property
    def clips_per_sec(self) -> float:
        """Up to now, without the time between two runs."""
        return self.seen / (time.monotonic() - self._started)

    def add(self, groups: Sequence[Learned], rate: float) -> None:
        """Count one step.

        Args:
            groups: those of this rank.
            rate: its learning rate.

        Raises:
            UserError: a loss was no number in this step or in one that was not yet looked at.
        """
        with paddle.no_grad():
            of_step = paddle.stack([_figures(group) for group in groups])
            self._sums.seen += len(self.batches[self.steps])
            self._sums.rate = rate
            self._waiting.append((of_step, [len(group.labels) for group in groups], rate))
        if len(self._waiting) >= self.fetch_every:
            self._fetch()

    def figures(self) -> dict[str, float]:
        """Means over the epoch's clips, by their names in the history; of the losses, over steps that were not skipped.

        Raises:
            UserError: as `add`; or every step was skipped.
        """
        self._fetch()
        sums = self._sums
        if not sums.learned:
            raise UserError(self._broken())
        if sums.skipped:
            note(f"{self.role}: {sums.skipped} of {sums.steps} steps were too much for half precision and skipped")
        values = {"loss": sums.loss / sums.learned, "cross_entropy": sums.cross_entropy / sums.learned}
        for prefix, right in zip(PREFIXES, sums.right, strict=False):
            values[f"{prefix}train_top1"] = right / sums.seen
        return values

    def _fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        fetched = paddle.stack([of_step for of_step, _, _ in waiting]).numpy().astype(np.float64)
        # sums over clips: in float64 they are exact, so that the number of ranks does not show
        fetched[:, :, :MEANS] *= np.array([clips for _, clips, _ in waiting])[:, :, None]
        sums = self._sums
        of_all = self.ranks.sum_over_ranks(fetched.sum(axis=1))
        for of_step, (_, _, rate) in zip(of_all.tolist(), waiting, strict=True):
            number = len(self.batches[sums.steps])
            total, loss, cross_entropy = (figure / number for figure in of_step[:MEANS])
            sums.steps += 1
            sums.right = [before + now for before, now in zip(sums.right, of_step[MEANS:], strict=True)]
            if math.isfinite(total):
                sums.in_a_row = 0
                sums.learned += number
                sums.loss += loss * number
                sums.cross_entropy += cross_entropy * number
                continue
            sums.skipped += 1
            sums.in_a_row += 1
            if not self.may_skip:
                raise UserError(self._not_a_number(total, rate))
            if sums.in_a_row == MOST_SKIPPED:
                raise UserError(self._broken())

    def _not_a_number(self, loss: float, rate: float) -> str:
        ids = [self.clips.video_of(number) for number in self.batches[self._sums.steps - 1]]
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        return (
            f"{self.role}: the loss became {loss} in epoch {self.epoch + 1}, step {self._sums.steps} (learning rate "
            f"{rate:g}), on clips of {', '.join(ids[:SHOWN])}{more}. Lower training.base_lr or lengthen "
            "training.warmup_epochs."
        )

    def _broken(self) -> str:
        return (
            f"{self.role}: the loss was no number in {self._sums.in_a_row} steps in a row, up to step "
            f"{self._sums.steps} of epoch {self.epoch + 1}, and half precision skipped them all. Set training.amp to "
            "bf16 or none, or lower training.base_lr."
        )


def _figures(group: Learned) -> paddle.Tensor:
    """Float32: the three losses, and how many clips each learner recognised."""
    losses, labels, mix = group
    right = [count_right(logits_NK, labels, mix) for logits_NK in losses.logits]
    return paddle.stack([figure.astype("float32") for figure in (losses.total, losses.own, losses.labels, *right)])
