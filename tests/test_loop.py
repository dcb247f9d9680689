"""What a training counts, says and stops for, step by step; and where it computes."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paddle
import pandas as pd
import pytest

from conftest import params_with, spec_with
from pptsm.data.clips import FrameSource, TrainingClips
from pptsm.distributed.device import use_device
from pptsm.distributed.ranks import Ranks
from pptsm.runtime.cores import GPU
from pptsm.runtime.errors import UserError
from pptsm.training import eta as forecast_module
from pptsm.training import throughput as watch_module
from pptsm.training.epoch_metrics import MOST_SKIPPED, EpochMetrics
from pptsm.training.eta import Forecast, in_words
from pptsm.training.mixing import Mix
from pptsm.training.objectives import Learned, Losses
from pptsm.training.throughput import StepTimer

LABELS = paddle.to_tensor([0, 1])
RIGHT, HALF = paddle.to_tensor([[1.0, 0.0], [0.0, 1.0]]), paddle.to_tensor([[1.0, 0.0], [1.0, 0.0]])


def clips_of_videos(number: int) -> TrainingClips:
    """Of videos a, b, c ..., which nobody reads."""
    names = list("abcdefghijklmnopqrstuvwxyz")[:number]
    rows = pd.DataFrame({"id": names, "path": names, "first_frame": 0, "num_frames": 8, "label_index": 0})
    return TrainingClips(rows, FrameSource("video", Path()), ["one"], spec_with(), params_with().training, 1, 0)


def tally_of(steps: int, *, may_skip: bool = False, fetch_every: int = 4, learners: int = 1) -> EpochMetrics:
    """Of the third epoch, whose step n takes clips 2n and 2n + 1 of ten videos."""
    batches = [[2 * step, 2 * step + 1] for step in range(steps)]
    tally = EpochMetrics("student", 2, clips_of_videos(10), batches, learners, may_skip, Ranks())
    tally.fetch_every = fetch_every
    return tally


def losses(total: float, own: float = 1.0, labels: float = 1.0, *logits: paddle.Tensor) -> Losses:
    """Of one step."""
    return Losses(*(paddle.to_tensor(value) for value in (total, own, labels)), list(logits or [RIGHT]))


@pytest.mark.parametrize("fetch_every", [1, 2, 20])
def test_an_epochs_figures_are_means_over_its_clips_however_seldom_they_are_fetched(fetch_every: int) -> None:
    """Three steps of student and peer; the last one's clips are mixed, a quarter of each with the other."""
    tally = tally_of(3, fetch_every=fetch_every, learners=2)
    tally.add([Learned(losses(9.0, 1.0, 0.5, RIGHT, HALF), LABELS, None)], 0.1)
    tally.add([Learned(losses(9.0, 2.0, 0.25, HALF, HALF), LABELS, None)], 0.1)
    tally.add([Learned(losses(9.0, 6.0, 0.75, RIGHT, HALF), LABELS, Mix(paddle.to_tensor([1, 0]), 0.75))], 0.1)
    figures = tally.figures()
    right = {"train_top1": (2 + 1 + 1.5) / 6, "peer_train_top1": 3 / 6}
    assert figures == pytest.approx({"loss": 3.0, "cross_entropy": 0.5, **right})
    assert tally.seen == 6


def test_figures_are_fetched_every_so_many_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps by fours: after the fourth, the eighth and at the end; a CPU, which never waits, at every step."""
    fetches = []
    fetch = EpochMetrics._fetch
    monkeypatch.setattr(EpochMetrics, "_fetch", lambda tally: (fetches.append(tally.seen // 2), fetch(tally)))
    tally = tally_of(10)
    for _ in range(10):
        tally.add([Learned(losses(1.0), LABELS, None)], 0.1)
    tally.figures()
    assert fetches == [4, 8, 10]
    assert EpochMetrics("student", 0, clips_of_videos(1), [], 1, False, Ranks()).fetch_every == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_with_step_rate_and_clips(loss: float) -> None:
    """It was the second of four steps that are looked at together: its own rate, its own videos."""
    tally = tally_of(4)
    for step, total in enumerate([1.0, loss, math.nan]):
        tally.add([Learned(losses(total), LABELS, None)], 0.1 * (step + 1))
    with pytest.raises(
        UserError, match=rf"became {loss} in epoch 3, step 2 \(learning rate 0.2\), on clips of c, d\. "
    ):
        tally.add([Learned(losses(1.0), LABELS, None)], 0.4)


def test_steps_that_half_precision_skips_do_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    """Their loss is in no mean; one word an epoch tells how many they were."""
    tally = tally_of(4, may_skip=True)
    for total in (1.0, math.nan, math.inf, 1.0):
        own = 3.0 if total == 1.0 else math.nan
        tally.add([Learned(losses(total, own, own), LABELS, None)], 0.1)
    assert tally.figures() == {"loss": 3.0, "cross_entropy": 3.0, "train_top1": 1.0}
    assert "student: 2 of 4 steps were too much for half precision" in capsys.readouterr().err


def test_too_many_skipped_steps_in_a_row_end_the_run() -> None:
    """One fewer, a good one, and as many again are borne; one more in a row is not, fetched together or not."""
    nan = [math.nan] * (MOST_SKIPPED - 1)
    tally = tally_of(100, may_skip=True)
    for total in [*nan, 1.0, *nan, 1.0, *nan, math.nan, math.nan]:
        tally.add([Learned(losses(total), LABELS, None)], 0.1)
    with pytest.raises(UserError, match=rf"{MOST_SKIPPED} steps in a row, up to step 30 of epoch 3.*training\.amp"):
        tally.add([Learned(losses(math.nan), LABELS, None)], 0.1)


def test_an_epoch_of_skipped_steps_only_ends_the_run() -> None:
    """Fewer than are borne in a row, but there is no loss to tell."""
    tally = tally_of(2, may_skip=True)
    tally.add([Learned(losses(math.nan), LABELS, None)], 0.1)
    with pytest.raises(UserError, match="1 steps in a row"):
        tally.figures()


class Clock:
    """A clock that tests move."""

    now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


def forecast_with(monkeypatch: pytest.MonkeyPatch, role: str = "student", **changes: Any) -> tuple[Forecast, Clock]:
    """Epochs 2 to 5 of 6 are to do, of ten steps with 8 clips each; 12 validation videos; two networks learn."""
    clock = Clock()
    monkeypatch.setattr(forecast_module, "time", clock)
    recipe = params_with(training={"batch_size": 8, "precise_bn_every": 3, "precise_bn_batches": 4} | changes).training
    return Forecast(role, recipe, range(2, 6), 80, 12, 2), clock


def test_the_time_to_go_is_said_once_for_the_whole_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 s a step, the first one longer: 6 steps in, 34 steps and a third of 188 clips seen without learning remain."""
    forecast, clock = forecast_with(monkeypatch)
    said = []
    for step in range(9):
        clock.now += 2 if step else 50
        forecast.step(8)
        said.append(capsys.readouterr().err)
    assert [number for number, line in enumerate(said) if line] == [5]  # ten seconds after the first step
    assert said[5].startswith("student: about 84 seconds to go for 4 epochs of 80 clips (4 clips/s; ")


def test_the_time_of_an_epoch_is_split_into_waiting_and_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches, each after 1 s, each computed in 3 s, and 1 s until it is known that there is no fourth."""
    clock = Clock()
    monkeypatch.setattr(watch_module, "time", clock)

    def loaded() -> Iterator[int]:
        for number in range(3):
            clock.now += 1
            yield number
        clock.now += 1

    watch, seen = StepTimer(), []
    for number in watch.waiting(loaded()):
        clock.now += 3
        seen.append(number)
    assert seen == [0, 1, 2]
    assert watch.wait_share == pytest.approx(4 / 13)


def test_a_fast_run_says_it_after_twenty_steps_and_a_short_one_never(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty are measured, after the first; the teacher's line says that another training follows."""
    forecast, clock = forecast_with(monkeypatch, "teacher")
    for _ in range(20):
        clock.now += 0.1
        forecast.step(8)
    assert not capsys.readouterr().err
    clock.now += 0.1
    forecast.step(8)
    assert "(80 clips/s; " in (line := capsys.readouterr().err)
    assert line.endswith("; the student's training follows\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 seconds"), (89, "89 seconds"), (780, "13 minutes"), (9000, "2.5 hours"), (40 * 86400, "40 days")],
)
def test_durations_are_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    """To two digits."""
    assert in_words(seconds) == f"about {words}"


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_gpus_kernels_are_repeatable_if_the_recipe_says_so(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which flags Paddle is given where it finds a GPU; there is none here."""
    flags: dict[str, Any] = {}
    monkeypatch.setenv(GPU, "0")
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle, "set_flags", flags.update)
    monkeypatch.setattr(paddle, "set_device", lambda _: None)
    assert use_device("auto", deterministic=deterministic) == "gpu"
    assert bool(flags["FLAGS_cudnn_deterministic"]) == bool(flags["FLAGS_embedding_deterministic"]) == deterministic
