"""How long a training will take, estimated from its first steps, before the time is spent."""

import time

import paddle

from pptsm.params.schema import Training
from pptsm.runtime.console import note
from pptsm.training.batchnorm import statistics_are_due

STEPS, SECONDS = 20, 10.0  # so long is measured: whichever comes first, and a step at least
FORWARD = 1 / 3  # of a training step: the other two thirds are gradients of values and of weights


class Forecast:
    """Says once, after the first steps of a run, how long it has to go."""

    def __init__(
        self, role: str, recipe: Training, epochs: range, clips_per_epoch: int, val_videos: int, learners: int
    ) -> None:
        """Of the epochs (0-based) that this run still has to do.

        recipe: batch size and batch norm statistics.
        clips_per_epoch: those in whole batches.
        val_videos: seen once after each epoch, and once more for the verdict.
        learners: networks that learn.
        """
        self.role = role
        self.epochs = epochs
        self.clips_per_epoch = clips_per_epoch
        due = sum(statistics_are_due(epoch, epochs.stop, recipe.precise_bn_every) for epoch in epochs)
        looked_at = due * min(recipe.precise_bn_batches * recipe.batch_size, clips_per_epoch) * learners
        looked_at += val_videos * (len(epochs) + 1)
        self.clips_to_go = clips_per_epoch * len(epochs) + looked_at * FORWARD
        self.steps = 0
        self.said = False

    def step(self, clips: int) -> None:
        """Count a step with so many clips."""
        self.steps += 1
        self.clips_to_go -= clips
        if self.steps == 1:  # it starts loader processes, and a GPU chooses its kernels in it: no measure of the others
            _wait_for_gpu()
            self.started, self.measured = time.monotonic(), 0
            return
        self.measured += clips
        if self.said or (self.steps <= STEPS and time.monotonic() - self.started < SECONDS):
            return
        _wait_for_gpu()
        rate = self.measured / (time.monotonic() - self.started)
        follows = "; the student's training follows" if self.role == "teacher" else ""
        note(
            f"{self.role}: {in_words(self.clips_to_go / rate)} to go for {len(self.epochs)} epochs of "
            f"{self.clips_per_epoch} clips ({rate:.3g} clips/s; batch norm statistics and validation counted as a "
            f"third of a step){follows}"
        )
        self.said = True


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
