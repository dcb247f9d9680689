"""What a training counts, says and stops for, step by step; and where it computes."""

import math
from collections.abc import Iterator, Sequence
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
from pptsm.runtime.memory import remember
from pptsm.training import eta as forecast_module
from pptsm.training import throughput as watch_module
from pptsm.training.epoch_metrics import MOST_SKIPPED, EpochMetrics
from pptsm.training.eta import Forecast, in_words
from pptsm.training.mixing import Mix
from pptsm.training.objectives import Learned, Losses
from pptsm.training.throughput import StepTimer
from pptsm.training.workload import Videos, Work, trainings, work_of

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


STUDENT = Work("student", clips=100.0, macs=3e6, key="of a student")
BASELINE = Work("baseline", clips=60.0, macs=1e6, key="of a baseline")


def forecast_with(
    monkeypatch: pytest.MonkeyPatch, role: str = "student", follows: Sequence[Work] = (), **changes: Any
) -> tuple[Forecast, Clock]:
    """Epochs 2 to 5 of 6 are to do, of ten steps with 8 clips each; 12 validation videos; two networks learn."""
    clock = Clock()
    monkeypatch.setattr(forecast_module, "time", clock)
    recipe = params_with(training={"batch_size": 8, "precise_bn_every": 3, "precise_bn_batches": 4} | changes).training
    work = Work(role, clips=0.0, macs=2e6, key=f"of a {role}")
    return Forecast(role, recipe, range(2, 6), 80, 12, 2, work=work, follows=follows), clock


def test_the_time_to_go_is_said_for_the_whole_run_and_corrected_after_each_epoch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 s a step, the first one longer: 6 steps in, 34 steps and a third of 188 clips seen without learning remain.

    From the eighth step on 4 s: 32 s after the first step, 10 of them for validation, 72 clips and a third of 12 are
    done.
    """
    monkeypatch.setenv("PPTSM_CACHE", str(tmp_path))
    forecast, clock = forecast_with(monkeypatch)
    forecast.begin()
    said = []
    for step in range(10):
        clock.now += (4 if step > 7 else 2) if step else 50
        forecast.step(8)
        said.append(capsys.readouterr().err)
    assert [number for number, line in enumerate(said) if line] == [5]  # ten seconds after the first step
    assert said[5].startswith("student: about 84 seconds to go for 4 epochs of 80 clips (4 clips/s; ")
    clock.now += 10
    forecast.epoch()
    rate = (72 + 12 / 3) / 32
    assert capsys.readouterr().err == f"student: {in_words((240 + (188 - 12) / 3) / rate)} to go\n"
    again, _ = forecast_with(monkeypatch)
    again.begin()  # what was measured is known before the first step
    seconds = in_words((320 + 188 / 3) / rate)
    assert capsys.readouterr().err == (
        f"student: {seconds} to go for 4 epochs of 80 clips, as fast as before on this machine\n"
    )


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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty are measured, after the first. The teacher's line says how long what follows will take.

    By the multiplications of a clip, or, where it ran here before, by its own speed.
    """
    monkeypatch.setenv("PPTSM_CACHE", str(tmp_path))
    remember("training", BASELINE.key, clips_per_sec=0.5)
    forecast, clock = forecast_with(monkeypatch, "teacher", follows=[STUDENT, BASELINE])
    forecast.begin()
    for _ in range(20):
        clock.now += 0.1
        forecast.step(8)
    assert not capsys.readouterr().err
    clock.now += 0.1
    forecast.step(8)
    assert "(80 clips/s; " in (line := capsys.readouterr().err)
    # at 80 clips a second of 2e6 multiplications 100 clips of 3e6 take 1.9 s
    assert line.startswith("teacher: about 3 seconds to go ")
    assert line.endswith(
        "; then student about 2 seconds and baseline about 2 minutes: about 2 minutes of training in all\n"
    )


def test_a_training_is_an_amount_before_it_begins() -> None:
    """Clips in whole batches, and what is looked at as a third; a distilled student's clip costs a teacher's look."""
    changes = {"epochs": 2, "network": {"num_segments": 4, "width": 0.125}}
    recipe = {"batch_size": 8, "min_clips": 0, "precise_bn_every": 0}
    params = params_with(teacher=changes, student=changes | {"baseline": True}, training=recipe)
    assert trainings(params) == ["teacher", "student", "baseline"]
    teacher, student, plain = (work_of(role, params, Videos(20, 3, 2)) for role in trainings(params))
    assert teacher.clips == student.clips == 2 * 16 + 3 * 3 / 3
    assert student.macs == pytest.approx(plain.macs + teacher.macs / 3)
    assert len({teacher.key, student.key, plain.key}) == 3
    assert trainings(params_with(teacher={"enabled": False}, student={"distillation": {"weight": 0}})) == ["student"]


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
