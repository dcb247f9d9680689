"""The figures of an epoch, and whether its loss is still a number.

They stay on the device and are fetched every so many steps: each fetch makes a GPU wait until its queue is empty.
"""

import math

import paddle

from pptsm.console import note
from pptsm.data.clips import TrainingClips
from pptsm.errors import UserError
from pptsm.training.mixing import Mix, count_right
from pptsm.training.objective import Losses

# Steps of a GPU: rare enough for its queue to stay full, often enough not to compute long on NaN. A CPU has no queue.
FETCH_EVERY = 20
# A skipped step leaves the weights alone. A batch or two may be too much for half precision; after so many different
# ones in a row it is the weights.
MOST_SKIPPED = 10
SHOWN = 8  # clips in a sentence
# Before the names of figures in the history: of the role's own network, and of a peer.
PREFIXES = ("", "peer_")


class Tally:
    """Sums over the steps of one epoch."""

    def __init__(
        self, role: str, epoch: int, clips: TrainingClips, batches: list[list[int]], learners: int, may_skip: bool
    ) -> None:
        """Of `epoch` (0-based), in which so many learners see `batches` of `clips`.

        may_skip: whether a step whose loss is no number left the weights alone, as the scaler of half precision does.
        """
        self.role = role
        self.epoch = epoch
        self.clips = clips
        self.batches = batches
        self.may_skip = may_skip
        self.seen = 0  # clips
        self.fetch_every = 1 if paddle.get_device() == "cpu" else FETCH_EVERY
        self._waiting: list[tuple[paddle.Tensor, float]] = []  # of each step that is not yet fetched: figures and rate
        self._steps = self._skipped = self._in_a_row = 0  # of those that are fetched
        self._learned, self._loss, self._cross_entropy = 0, 0.0, 0.0  # clips and sums, of the steps not skipped
        self._right = [0.0] * learners

    def add(self, loss: Losses, labels: paddle.Tensor, mix: Mix | None, rate: float) -> None:
        """Count one step.

        Args:
            loss: what it minimised.
            labels: int64 [N].
            mix: what its clips were mixed with.
            rate: its learning rate.

        Raises:
            UserError: a loss was no number in this step or in one that was not yet looked at.
        """
        with paddle.no_grad():
            right = [count_right(logits_NK, labels, mix) for logits_NK in loss.logits]
            of_step = [figure.astype("float32") for figure in (loss.total, loss.own, loss.labels, *right)]
            self._waiting.append((paddle.stack(of_step), rate))
        self.seen += len(labels)
        if len(self._waiting) >= self.fetch_every:
            self._fetch()

    def figures(self) -> dict[str, float]:
        """Means over the epoch's clips, by their names in the history; of the losses, over steps that were not skipped.

        Raises:
            UserError: as `add`; or every step was skipped.
        """
        self._fetch()
        if not self._learned:
            raise UserError(self._broken())
        if self._skipped:
            note(f"{self.role}: {self._skipped} of {self._steps} steps were too much for half precision and skipped")
        values = {"loss": self._loss / self._learned, "cross_entropy": self._cross_entropy / self._learned}
        for prefix, right in zip(PREFIXES, self._right, strict=False):
            values[f"{prefix}train_top1"] = right / self.seen
        return values

    def _fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        fetched = paddle.stack([of_step for of_step, _ in waiting]).tolist() if waiting else []
        for of_step, (_, rate) in zip(fetched, waiting, strict=True):
            total, loss, cross_entropy, *right = of_step
            number = len(self.batches[self._steps])
            self._steps += 1
            self._right = [before + now for before, now in zip(self._right, right, strict=True)]
            if math.isfinite(total):
                self._in_a_row = 0
                self._learned += number
                self._loss += loss * number
                self._cross_entropy += cross_entropy * number
                continue
            self._skipped += 1
            self._in_a_row += 1
            if not self.may_skip:
                raise UserError(self._not_a_number(total, rate))
            if self._in_a_row == MOST_SKIPPED:
                raise UserError(self._broken())

    def _not_a_number(self, loss: float, rate: float) -> str:
        ids = [self.clips.video_of(number) for number in self.batches[self._steps - 1]]
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        return (
            f"{self.role}: the loss became {loss} in epoch {self.epoch + 1}, step {self._steps} (learning rate "
            f"{rate:g}), on clips of {', '.join(ids[:SHOWN])}{more}. Lower training.base_lr or lengthen "
            "training.warmup_epochs."
        )

    def _broken(self) -> str:
        return (
            f"{self.role}: the loss was no number in {self._in_a_row} steps in a row, up to step {self._steps} of "
            f"epoch {self.epoch + 1}, and half precision skipped them all. Set training.amp to bf16 or none, or lower "
            "training.base_lr."
        )
