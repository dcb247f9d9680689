"""How long a training will take: said before it begins where such a one has run here, else after its first steps, and
corrected after each epoch."""

import time
from collections.abc import Sequence

import paddle

from pptsm.params.schema import Training
from pptsm.runtime.console import note
from pptsm.runtime.memory import recall, remember
from pptsm.training.workload import FORWARD, KIND, Work, clips_looked_at

STEPS, SECONDS = 20, 10.0  # so long is measured: whichever comes first, and a step at least


class Forecast:
    """Says how long a run has to go, and how long the trainings take that follow it."""

    def __init__(
        self,
        role: str,
        recipe: Training,
        epochs: range,
        clips_per_epoch: int,
        val_videos: int,
        learners: int,
        work: Work | None = None,
        follows: Sequence[Work] = (),
    ) -> None:
        """Of the epochs (0-based) that this run still has to do.

        recipe: batch size and batch norm statistics.
        clips_per_epoch: those in whole batches.
        val_videos: seen once after each epoch, and once more for the verdict.
        learners: networks that learn.
        work: the training as an amount, which names its speed in the memory and compares it with others; None: neither.
        follows: trainings that come after it.
        """
        self.role = role
        self.epochs = epochs
        self.clips_per_epoch = clips_per_epoch
        self.work = work
        self.follows = follows
        self.looked_at = [
            clips_looked_at(recipe, epoch, epochs.stop, clips_per_epoch, val_videos, learners) for epoch in epochs
        ]
        self.clips_to_go = clips_per_epoch * len(epochs) + sum(self.looked_at) + val_videos * FORWARD
        self.steps = 0
        self.said = False

    def begin(self) -> None:
        """Say it before the first step, where the speed is remembered."""
        rate = remembered(self.work)
        if rate and len(self.epochs):
            self._say(rate, f"for {self._of_epochs}, as fast as before on this machine")

    @property
    def _of_epochs(self) -> str:
        return f"{len(self.epochs)} epochs of {self.clips_per_epoch} clips"

    def step(self, clips: int) -> None:
        """Count a step with so many clips."""
        self.steps += 1
        self.clips_to_go -= clips
        if self.steps == 1:  # it starts loader processes, and a GPU chooses its kernels in it: no measure of the others
            _wait_for_gpu()
            self.started, self.left = time.monotonic(), self.clips_to_go
            return
        if self.said or (self.steps <= STEPS and time.monotonic() - self.started < SECONDS):
            return
        _wait_for_gpu()
        if rate := self._rate():
            counted = f"({rate:.3g} clips/s; batch norm statistics and validation counted as a third of a step)"
            self._say(rate, f"for {self._of_epochs} {counted}")

    def epoch(self) -> None:
        """Count what follows the steps of an epoch, remember how fast it goes, and say what is left."""
        self.clips_to_go -= self.looked_at.pop(0)
        rate = self._rate() if self.steps > 1 else None
        if not rate:
            return
        if self.work:
            remember(KIND, self.work.key, clips_per_sec=round(rate, 3))
        if self.looked_at:
            self._say(rate, "")

    def _rate(self) -> float | None:
        """Clips per second since the first step; None where no time has passed."""
        seconds = time.monotonic() - self.started
        return (self.left - self.clips_to_go) / seconds if seconds > 0 else None

    def _say(self, rate: float, more: str) -> None:
        seconds = self.clips_to_go / rate
        text = f"{self.role}: {in_words(seconds)} to go {more}".rstrip()
        if self.work and self.follows:
            macs_per_sec = rate * self.work.macs
            times = {each.role: _seconds(each, macs_per_sec) for each in self.follows}
            then = " and ".join(f"{role} {in_words(of_it)}" for role, of_it in times.items())
            text += f"; then {then}: {in_words(seconds + sum(times.values()))} of training in all"
        note(text)
        self.said = True


def remembered(work: Work | None) -> float | None:
    """Clips per second of such a training before, on this machine."""
    rate = recall(KIND, work.key).get("clips_per_sec") if work else None
    return float(rate) if isinstance(rate, int | float) and 0 < rate < float("inf") else None


def _seconds(work: Work, macs_per_sec: float) -> float:
    """How long a training takes: by its own speed before, or else as fast in multiplications as another one."""
    return work.clips / (remembered(work) or macs_per_sec / work.macs)


def in_words(seconds: float) -> str:
    """A duration, to two digits at most: "about 13 minutes"."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 48 * 3600:
        return f"about {seconds / 3600:.2g} hours"
    return f"about {seconds / 86400:.2g} days"


def _wait_for_gpu() -> None:
    """Until it has done what is in its queue."""
    if paddle.get_device() != "cpu":
        paddle.device.synchronize()
