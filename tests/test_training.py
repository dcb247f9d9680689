"""The recipe's parts against figures computed by hand or in numpy."""

from typing import Literal

import numpy as np
import paddle
import paddle.nn.functional as F
import pandas as pd
import pytest

from conftest import GOLDEN, params_with
from pptsm.data.clips import clips_of_a_video
from pptsm.distributed.ranks import Ranks
from pptsm.model.network import VideoNetwork, build_model
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.runtime.errors import UserError
from pptsm.training.accumulation import Accumulation
from pptsm.training.batchnorm import into_training, precise_batch_norm, prepare, statistics_are_due
from pptsm.training.groups import divided
from pptsm.training.loop import _batches_of_epoch
from pptsm.training.losses import distillation, mutual_divergence, smoothed_cross_entropy
from pptsm.training.mixing import Mix, count_right, cutmix, mix_clips, mixup
from pptsm.training.objectives import CrossEntropy, Distillation, MutualLearning, Objective, learn
from pptsm.training.optimizer import build_optimizer, learning_rate, piecewise_learning_rate, scheduled_rate, take_step
from pptsm.training.precision import Precision, precision_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("step", "rate"), list(pd.read_csv(GOLDEN / "learning_rates.csv").itertuples(index=False, name=None))
)
def test_learning_rate_equals_the_published_schedule(step: int, rate: float) -> None:
    """80 epochs of 100 steps, 10 of warm-up, 0.005 -> 0.01: to seven digits."""
    assert learning_rate(step, 100, 80, 10, 0.005, 0.01) == pytest.approx(rate, rel=2e-7)


def test_warm_up_joins_the_cosine_without_a_jump() -> None:
    """The line ends where the cosine is."""
    before, after = (learning_rate(step, 100, 80, 10, 0.005, 0.01) for step in (999, 1000))
    assert abs(after - before) < 1e-5
    assert learning_rate(0, 100, 80, 0, 0.005, 0.01) == 0.01


def test_piecewise_rate() -> None:
    """0.01 / 0.001 / 0.0001 from epochs 40 and 60 on."""
    rates = [piecewise_learning_rate(epoch, 0.01, [40, 60], 0.1) for epoch in (0, 39, 40, 59, 60, 79)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])


def test_the_schedule_is_the_one_that_params_name() -> None:
    """Ten steps an epoch: piecewise goes by whole epochs, cosine by steps."""
    piecewise = {"schedule": "piecewise", "step_epochs": [2, 3], "step_factor": 0.5, "warmup_epochs": 0, "base_lr": 0.4}
    training = params_with(training=piecewise).training
    assert [scheduled_rate(training, step, 10, 8, 16) for step in (0, 19, 20, 29, 30)] == [0.4, 0.4, 0.2, 0.2, 0.1]
    training = params_with(training={"warmup_epochs": 1, "warmup_start_lr": 0.1, "base_lr": 0.4}).training
    for step in (0, 5, 10, 33):
        assert scheduled_rate(training, step, 10, 8, 16) == learning_rate(step, 10, 8, 1, 0.1, 0.4)


@pytest.mark.parametrize(
    "schedule",
    [
        {"warmup_epochs": 1, "warmup_start_lr": 0.1, "base_lr": 0.4},
        {"schedule": "piecewise", "step_epochs": [2], "step_factor": 0.5, "warmup_epochs": 0, "base_lr": 0.4},
    ],
    ids=["cosine", "piecewise"],
)
def test_rates_said_for_a_batch_follow_the_size_of_another(schedule: dict) -> None:
    """For 128 clips: with 32 a quarter of every rate, warm-up too; with 128, and where none is named, the rates.

    What counts are the clips that a step has: 20 that are a whole epoch are no batch of 128.
    """

    def rates(batch: int, lr_for_batch: int) -> list[float]:
        sizes = {"batch_size": 128, "lr_for_batch": lr_for_batch}
        training = params_with(training=schedule | sizes).training
        return [scheduled_rate(training, step, 10, 8, batch) for step in (0, 5, 10, 33)]

    as_said = rates(128, 128)
    assert rates(32, 128) == pytest.approx([rate / 4 for rate in as_said], rel=1e-12)
    assert rates(20, 128) == pytest.approx([rate * 20 / 128 for rate in as_said], rel=1e-12)
    assert rates(256, 128) == pytest.approx([rate * 2 for rate in as_said], rel=1e-12)
    assert rates(32, 0) == as_said


@pytest.mark.parametrize(
    ("epochs", "every", "due"), [(8, 5, [0, 5, 7]), (6, 5, [0, 5]), (3, 1, [0, 1, 2]), (1, 5, [0]), (4, 0, [])]
)
def test_batch_norm_is_measured_after_the_epochs_of_the_official_code(epochs: int, every: int, due: list[int]) -> None:
    """The first, every so many after it, and the last."""
    assert [epoch for epoch in range(epochs) if statistics_are_due(epoch, epochs, every)] == due


@pytest.mark.parametrize(("num_clips", "sizes"), [(10, [4, 4]), (8, [4, 4]), (3, [3])])
def test_an_epoch_is_full_batches_of_different_clips(num_clips: int, sizes: list[int]) -> None:
    """What is left over is dropped; fewer clips than a batch are one batch; another epoch, another order."""
    batches = _batches_of_epoch(num_clips, 4, [1, 0])
    drawn = [number for batch in batches for number in batch]
    assert [len(batch) for batch in batches] == sizes
    assert len(set(drawn)) == len(drawn) == sum(sizes)
    assert set(drawn) <= set(range(num_clips))
    assert batches == _batches_of_epoch(num_clips, 4, [1, 0])
    assert num_clips == 3 or batches != _batches_of_epoch(num_clips, 4, [1, 1])


@pytest.mark.parametrize(("videos", "drawn"), [(50, 20), (51, 20), (49, 21), (500, 2), (501, 2), (5000, 2), (0, 24000)])
def test_clips_of_a_video_follow_the_floor_of_clips(videos: int, drawn: int) -> None:
    """24,000 clips in 24 epochs: few videos are drawn from more often, many as often as clips_per_video says."""
    training = params_with(training={"min_clips": 24000, "clips_per_video": 2}).training
    assert clips_of_a_video(training, videos, 24) == drawn
    assert clips_of_a_video(training.model_copy(update={"min_clips": 0}), videos, 24) == 2


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_smoothed_cross_entropy_of_mixed_clips() -> None:
    """The target written out: shares of two smoothed labels."""
    logits, labels, others = RNG.normal(0, 2, (5, 4)), np.array([0, 1, 2, 3, 0]), np.array([1, 1, 0, 2, 3])
    target = 0.3 * np.eye(4)[labels] + 0.7 * np.eye(4)[others]
    target = 0.9 * target + 0.1 / 4
    expected = -(target * np.log(softmax(logits))).sum(axis=1).mean()
    loss = smoothed_cross_entropy(
        paddle.to_tensor(logits), paddle.to_tensor(labels), 0.1, (paddle.to_tensor(others), 0.3)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_distillation_by_hand_and_without_gradient_for_the_teacher() -> None:
    """t^2 * KL at t = 3; zero for equal logits."""
    student, teacher = RNG.normal(0, 2, (5, 4)), RNG.normal(0, 2, (5, 4))
    p, q = softmax(teacher / 3), softmax(student / 3)
    expected = 9 * (p * np.log(p / q)).sum(axis=1).mean()
    s, t = paddle.to_tensor(student, stop_gradient=False), paddle.to_tensor(teacher, stop_gradient=False)
    loss = distillation(s, t, 3.0)
    loss.backward()
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert s.grad is not None
    assert t.grad is None
    assert float(distillation(s, s, 2.0)) == pytest.approx(0, abs=1e-9)


def test_mutual_divergence_is_half_of_both_directions() -> None:
    """Symmetric, and zero for equal logits."""
    one, other = RNG.normal(0, 2, (5, 4)), RNG.normal(0, 2, (5, 4))
    p, q = softmax(one), softmax(other)
    expected = ((p * np.log(p / q)).sum(axis=1).mean() + (q * np.log(q / p)).sum(axis=1).mean()) / 2
    assert float(mutual_divergence(paddle.to_tensor(one), paddle.to_tensor(other))) == pytest.approx(expected, rel=1e-6)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> float:
    """Of labels of four classes."""
    target = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    return float(-(target * np.log(softmax(logits))).sum(axis=1).mean())


class Says(paddle.nn.Layer):
    """A network that answers every clip with the logits it is given here."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = paddle.to_tensor(logits, stop_gradient=False)

    def forward(self, _: paddle.Tensor) -> paddle.Tensor:
        return self.logits * 1.0


CLIPS = paddle.zeros([5, 2, 3, 4, 4])


def test_the_objective_without_another_network_is_the_cross_entropy() -> None:
    """All three parts are the same."""
    logits, labels = RNG.normal(0, 2, (5, 4)), np.array([0, 1, 2, 3, 0])
    parts = CrossEntropy(Says(logits), 0.1).losses(CLIPS, paddle.to_tensor(labels), None)  # type: ignore[arg-type]
    assert [float(part) for part in parts[:3]] == pytest.approx([cross_entropy(logits, labels, 0.1)] * 3, rel=1e-6)


def test_the_objective_of_hinton_weighs_labels_and_teacher() -> None:
    """(1 - w) CE + w t^2 KL at w = 0.3, t = 3; the labels' part is the whole cross entropy."""
    logits, teacher, labels = RNG.normal(0, 2, (5, 4)), RNG.normal(0, 2, (5, 4)), np.array([0, 1, 2, 3, 0])
    p, q = softmax(teacher / 3), softmax(logits / 3)
    labels_part = cross_entropy(logits, labels, 0.1)
    whole = 0.7 * labels_part + 0.3 * 9 * (p * np.log(p / q)).sum(axis=1).mean()
    objective = Distillation(Says(logits), Says(teacher), 0.1, 0.3, 3.0)  # type: ignore[arg-type]
    total, own, of_labels, answers = objective.losses(CLIPS, paddle.to_tensor(labels), None)
    assert float(total) == float(own) == pytest.approx(whole, rel=1e-6)
    assert float(of_labels) == pytest.approx(labels_part, rel=1e-6)
    assert len(objective.learners) == len(answers) == 1


def test_the_objective_of_mutual_learning_adds_the_peers_cross_entropy_to_the_students_own() -> None:
    """CE of both + w times the divergence; gradients flow into both."""
    logits, other, labels = RNG.normal(0, 2, (5, 4)), RNG.normal(0, 2, (5, 4)), np.array([0, 1, 2, 3, 0])
    p, q = softmax(logits), softmax(other)
    own_by_hand = cross_entropy(logits, labels) + 0.4 * ((p - q) * np.log(p / q)).sum(axis=1).mean() / 2
    one, two = Says(logits), Says(other)
    objective = MutualLearning(one, two, 0.0, 0.4)  # type: ignore[arg-type]
    total, own, of_labels, answers = objective.losses(CLIPS, paddle.to_tensor(labels), None)
    total.backward()
    assert float(of_labels) == pytest.approx(cross_entropy(logits, labels), rel=1e-6)
    assert float(own) == pytest.approx(own_by_hand, rel=1e-6)
    assert float(total) == pytest.approx(own_by_hand + cross_entropy(other, labels), rel=1e-6)
    assert one.logits.grad is not None
    assert two.logits.grad is not None
    assert len(objective.learners) == len(answers) == 2


SINGLE = precision_of("none", "student")


def fixed_network(depth: Literal[18, 34] = 18) -> VideoNetwork:
    """A small one in which no clip of a batch bears upon another: no dropout, batch norm with fixed statistics."""
    model = build_model("pptsm", depth, 4, 2, width=0.125, dropout=0.0)
    recipe = params_with(training={"batch_norm": "frozen", "precise_bn_every": 0}).training
    prepare(model, recipe, 1, 16)
    into_training(model, recipe)
    return model


def gradients_after(objective: Objective, groups: int, precision: Precision = SINGLE) -> tuple[list[float], list]:
    """The losses of 16 mixed clips in so many groups and the gradients that they leave, which are then cleared."""
    rng = np.random.default_rng(5)
    clips = paddle.to_tensor(rng.normal(0, 1, (16, 2, 3, 32, 32)).astype(np.float32))
    labels, others = (paddle.to_tensor(rng.integers(0, 4, 16)) for _ in range(2))
    accumulation, losses = Accumulation(objective.learners), np.zeros(3)
    with accumulation.step():
        for group in divided(range(16), groups):
            some, number = slice(group[0], group[-1] + 1), len(group)
            mix = Mix(others[some], 0.7)
            learned = learn(objective, clips[some], labels[some], mix, share=number / 16, precision=precision)
            losses += [number / 16 * float(loss) for loss in learned.losses[:3]]
            accumulation.add(number)
    accumulation.finish(Ranks())
    gradients = []
    for learner in objective.learners:
        for name, parameter in learner.named_parameters():
            if parameter.trainable:
                gradients.append((name, parameter.grad.numpy().copy()))
                parameter.clear_gradient()
    return losses.tolist(), gradients


@pytest.mark.parametrize("way", ["plain", "hinton", "mutual"])
def test_gradients_of_parts_add_up_to_those_of_the_whole_batch(way: str) -> None:
    """4 x 4 clips, and 5 + 5 + 6, against 16 at once: to 1e-5 of the largest of each, and the losses too."""
    model, other = fixed_network(), fixed_network(34)
    ways = {
        "plain": CrossEntropy(model, 0.1),
        "hinton": Distillation(model, other, 0.1, 0.3, 3.0),
        "mutual": MutualLearning(model, other, 0, 1),
    }
    losses, whole = gradients_after(ways[way], 1)
    for groups in (4, 3):
        losses_of_parts, of_parts = gradients_after(ways[way], groups)
        for (name, expected), (_, gradient) in zip(whole, of_parts, strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name)
        assert losses_of_parts == pytest.approx(losses, rel=1e-5)


class Eightfold:
    """What a scaler does, where Paddle has a real one on GPUs only; it writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def scale(self, loss: paddle.Tensor) -> paddle.Tensor:
        return 8 * loss

    @paddle.no_grad()
    def unscale_(self, optimizer: paddle.optimizer.Optimizer) -> None:
        self.asked.append("unscale")
        for group in optimizer._param_groups:
            for parameter in group["params"]:
                parameter.grad_.multiply_(paddle.to_tensor(1 / 8))

    def step(self, optimizer: paddle.optimizer.Optimizer) -> None:
        self.asked.append("step")
        optimizer.step()

    def update(self) -> None:
        self.asked.append("update")


def test_what_gradients_are_taken_of_is_scaled_but_the_loss_that_is_told_is_not() -> None:
    """A scaler of eight: gradients are eightfold, exactly; figures are the same."""
    objective = CrossEntropy(fixed_network(), 0.0)
    losses, gradients = gradients_after(objective, 1)
    scaled, eightfold = gradients_after(objective, 1, Precision(None, Eightfold()))
    assert scaled == losses
    for (name, gradient), (_, larger) in zip(gradients, eightfold, strict=True):
        np.testing.assert_array_equal(8 * gradient, larger, err_msg=name)


@pytest.mark.parametrize(("clip_norm", "times"), [(0.0, 1.0), (100.0, 1.0), (5.0, 0.5)])
def test_all_gradients_of_all_learners_are_clipped_as_one_vector(clip_norm: float, times: float) -> None:
    """It has the length 10, spread over two networks and all four groups; with 5 allowed, steps are half as long."""
    models = [OtherNames(), OtherNames()]
    recipe = {"weight_decay": 0.0, "momentum": 0.0, "head_weight_lr": 1.0, "head_bias_lr": 1.0}
    optimizer = build_optimizer(models, params_with(training=recipe).training)  # type: ignore[arg-type]
    learning = [parameter for model in models for parameter in model.parameters() if parameter.trainable]
    before = [parameter.numpy().copy() for parameter in learning]
    numbers = sum(parameter.size for parameter in learning)
    optimizer.set_lr(0.5)
    scaler = Eightfold()
    scaler.scale(sum(parameter.sum() for parameter in learning) * (10 / numbers**0.5)).backward()
    if not clip_norm:
        scaler.unscale_(optimizer)  # as Paddle's does within its step, if nobody has asked for it before
    take_step(optimizer, models, Precision("float16", scaler), clip_norm)  # type: ignore[arg-type]
    moved = [old - parameter.numpy() for old, parameter in zip(before, learning, strict=True)]
    for change in moved:
        np.testing.assert_allclose(change, 0.5 * times * 10 / numbers**0.5, rtol=1e-4)
    assert scaler.asked == ["unscale", "step", "update"]
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in learning)


def test_half_precision_is_for_gpus_that_have_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CPU computes in single precision and says so; a GPU of 7.0 has no bf16, and Paddle would not tell."""
    for amp in ("fp16", "bf16"):
        precision = precision_of(amp, "student")
        assert precision.dtype is None
        assert not precision.scaler.is_enable()
        assert f"student: computes in single precision: training.amp is {amp}" in capsys.readouterr().err
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(paddle.amp, "is_float16_supported", lambda: True)
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: False)
    assert precision_of("fp16", "student").dtype == "float16"
    assert precision_of("none", "student").dtype is None
    with pytest.raises(UserError, match=r"training\.amp is bf16, but Tesla V100 cannot compute in it.*fp16"):
        precision_of("bf16", "student")


def test_a_mixed_clip_is_right_for_each_label_by_its_share() -> None:
    """Guesses 0, 1, 1, 2; labels 0, 1, 2, 3; mixed with 1, 0, 1, 2."""
    logits, labels = paddle.to_tensor(np.eye(4)[[0, 1, 1, 2]]), paddle.to_tensor([0, 1, 2, 3])

    def right(*others: int) -> float:
        return float(count_right(logits, labels, Mix(paddle.to_tensor(list(others)), 0.8)))

    assert float(count_right(logits, labels)) == 2
    assert right(1, 0, 1, 2) == pytest.approx(2 * 0.8 + 2 * 0.2)
    assert right(0, 0, 0, 2) == pytest.approx(2 * 0.8 + 2 * 0.2)
    assert right(3, 3, 3, 2) == pytest.approx(2 * 0.8 + 1 * 0.2)


def test_mixup_blends_clips_and_names_the_other_label() -> None:
    """Each clip is one constant: the blend shows both parts."""
    labels = paddle.arange(6)
    clips = labels.astype("float32").reshape([6, 1, 1, 1, 1]).expand([6, 2, 3, 4, 4])
    mixed, mix = mixup(clips, labels, 0.2, np.random.default_rng(4))
    expected = mix.share * np.arange(6) + (1 - mix.share) * mix.other_labels.numpy()
    np.testing.assert_allclose(mixed.numpy()[:, 0, 0, 0, 0], expected, rtol=1e-5)


def test_cutmix_share_is_the_share_of_pixels_that_stayed() -> None:
    """The same box in all frames and channels."""
    labels = paddle.arange(6)
    clips = labels.astype("float32").reshape([6, 1, 1, 1, 1]).expand([6, 2, 3, 16, 16])
    for seed in range(20):
        mixed, mix = cutmix(clips, labels, 1.0, np.random.default_rng(seed))
        pixels, others = mixed.numpy(), mix.other_labels.numpy()
        assert (pixels == pixels[:, :1, :1]).all()
        for clip in range(6):
            if others[clip] != clip:
                assert (pixels[clip, 0, 0] == clip).mean() == pytest.approx(mix.share)
                assert (pixels[clip, 0, 0] == others[clip]).mean() == pytest.approx(1 - mix.share)


def test_the_box_of_cutmix_lies_where_its_generator_says() -> None:
    """Centre anywhere, sides sqrt(1 - share drawn) of the frame's, cut off at its edges; half-sizes in whole pixels."""
    clips = paddle.arange(2).astype("float32").reshape([2, 1, 1, 1, 1]).expand([2, 1, 3, 20, 32])
    for seed in range(30):
        rng = np.random.default_rng(seed)
        side = np.sqrt(1 - rng.beta(1.0, 1.0))
        y, x = rng.integers(20), rng.integers(32)
        half_y, half_x = int(20 * side) // 2, int(32 * side) // 2
        expected = np.zeros((20, 32), dtype=bool)
        expected[max(0, y - half_y) : y + half_y, max(0, x - half_x) : x + half_x] = True
        mixed, mix = cutmix(clips, paddle.arange(2), 1.0, np.random.default_rng(seed))
        if mix.other_labels.tolist() == [1, 0]:
            np.testing.assert_array_equal(mixed.numpy()[0, 0, 0] == 1, expected)


def test_videomix_takes_either() -> None:
    """Over seeds both kinds appear; none leaves clips alone."""
    labels = paddle.arange(4)
    clips = labels.astype("float32").reshape([4, 1, 1, 1, 1]).expand([4, 2, 3, 8, 8])
    whole = set()
    for seed in range(20):
        recipe = params_with(training={"mix": "videomix", "mixup_alpha": 1.0}).training
        mixed, _ = mix_clips(recipe, clips, labels, np.random.default_rng(seed))
        whole.add(bool((mixed == mixed.round()).all()))  # cutmix leaves every pixel a whole number
    assert whole == {True, False}
    same, mix = mix_clips(params_with(training={"mix": "none"}).training, clips, labels, np.random.default_rng(0))
    assert mix is None
    assert same is clips


def test_the_boxes_of_the_fight_preset_are_the_published_ones() -> None:
    """VideoMix there has cutmix_alpha 1: the share drawn for a box is uniform, 90 % of them in 5 to 95 % of the frame.

    Boxes are cut off at the frame's edges, so a little fewer cover as much. With 0.2 it would be 42 %.
    """
    recipe = chosen_params(PRESETS, Choice("fight")).training
    assert (recipe.mix, recipe.mixup_alpha, recipe.cutmix_alpha) == ("videomix", 0.2, 1.0)
    cut = recipe.model_copy(update={"mix": "cutmix"})
    clips, labels = paddle.zeros([2, 1, 1, 32, 32]), paddle.arange(2)
    draws = [mix_clips(cut, clips, labels, np.random.default_rng(seed))[1] for seed in range(500)]
    areas = np.array([1 - mix.share for mix in draws if mix is not None])
    assert len(areas) == 500
    assert 0.85 < ((areas > 0.05) & (areas < 0.95)).mean() < 0.95


@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_one_optimiser_step_equals_nesterov_with_the_recipes_groups(decay_norm_and_bias: bool) -> None:
    """Two steps of every parameter in numpy: rate x5/x10 for the head, L2 only where the recipe has it."""
    training = params_with(training={"decay_norm_and_bias": decay_norm_and_bias, "weight_decay": 0.1}).training
    model = build_model("pptsm", 18, 3, 2, width=0.125)
    optimizer = build_optimizer([model], training)
    trained = [(name, p) for name, p in model.named_parameters() if p.trainable]
    before = {name: p.numpy().copy() for name, p in trained}
    velocity = {name: np.zeros_like(value) for name, value in before.items()}
    clips, labels = (
        paddle.to_tensor(RNG.normal(0, 1, (4, 2, 3, 32, 32)).astype(np.float32)),
        paddle.to_tensor([0, 1, 2, 0]),
    )
    for rate in (0.05, 0.02):
        optimizer.set_lr(rate)
        F.cross_entropy(model(clips), labels).backward()
        for name, parameter in trained:
            decays = decay_norm_and_bias or not ("_batch_norm" in name or name == "head.fc.bias")
            times = {"head.fc.weight": 5.0, "head.fc.bias": 10.0}.get(name, 1.0)
            gradient = parameter.grad.numpy() + (0.1 * before[name] if decays else 0)
            velocity[name] = 0.9 * velocity[name] + gradient
            before[name] = before[name] - rate * times * (gradient + 0.9 * velocity[name])
        optimizer.step()
        optimizer.clear_grad()
        for name, parameter in trained:
            np.testing.assert_allclose(parameter.numpy(), before[name], rtol=2e-4, atol=2e-6, err_msg=name)


class OtherNames(paddle.nn.Layer):
    """A network without one of the names of ours: norms of two kinds, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = paddle.nn.Conv2D(3, 4, 1)
        self.bn = paddle.nn.BatchNorm2D(4)
        self.ln = paddle.nn.LayerNorm(4)
        self.attention = paddle.nn.Linear(4, 4)
        self.classify = paddle.nn.Sequential(paddle.nn.Linear(4, 2))


def test_parameters_are_grouped_by_the_type_of_their_layer() -> None:
    """Whatever they are called: after one step with the gradient 1 each has moved by its own rate and decay."""
    model = OtherNames()
    optimizer = build_optimizer([model], params_with(training={"weight_decay": 0.1, "momentum": 0.0}).training)  # type: ignore[list-item]
    before = {}
    for name, parameter in model.named_parameters():
        if parameter.trainable:
            parameter.set_value(paddle.full_like(parameter, 2.0))
            before[name] = parameter
    optimizer.set_lr(0.01)
    sum(parameter.sum() for parameter in before.values()).backward()
    optimizer.step()
    moved = {name: round(float((2.0 - parameter).mean()) / 0.01, 3) for name, parameter in before.items()}
    decayed = 1.2  # the gradient and 0.1 times the value
    assert moved == {
        "squeeze.weight": decayed,
        "squeeze.bias": decayed,
        "bn.weight": 1.0,
        "bn.bias": 1.0,
        "ln.weight": 1.0,
        "ln.bias": 1.0,
        "attention.weight": 5 * decayed,
        "attention.bias": 10.0,
        "classify.0.weight": 5 * decayed,
        "classify.0.bias": 10.0,
    }


def test_precise_batch_norm_is_the_average_of_the_batches_statistics() -> None:
    """The first norm's input does not depend on the norm: its statistics can be computed directly."""
    model = build_model("pptsm", 18, 3, 2, width=0.125)
    batches = [paddle.to_tensor(RNG.normal(k, 1 + k, (4, 2, 3, 32, 32)).astype(np.float32)) for k in range(3)]
    weights = [(p, p.numpy().copy()) for p in model.parameters() if p.trainable]
    precise_batch_norm(model, batches, Ranks())
    stem = model.backbone.conv1_1
    outputs = [stem._conv(batch.reshape([-1, 3, 32, 32])).numpy() for batch in batches]
    mean = np.mean([out.mean(axis=(0, 2, 3)) for out in outputs], axis=0)
    variance = np.mean([out.var(axis=(0, 2, 3)) for out in outputs], axis=0)
    np.testing.assert_allclose(stem._batch_norm._mean.numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stem._batch_norm._variance.numpy(), variance, rtol=1e-3)
    assert stem._batch_norm._momentum == 0.9
    for parameter, value in weights:
        np.testing.assert_array_equal(parameter.numpy(), value)


FROZEN_BY = {
    "all learn": ({}, lambda _: False),
    "batch norm frozen": ({"batch_norm": "frozen", "precise_bn_every": 0}, lambda name: "_batch_norm" in name),
    "stages frozen": (
        {"freeze_stages": 2},
        lambda name: name.startswith(("backbone.conv1_", "backbone.bb_0_", "backbone.bb_1_")),
    ),
    "all but the head frozen": ({"freeze_stages": 4}, lambda name: name.startswith("backbone.")),
}


@pytest.mark.parametrize("case", FROZEN_BY)
def test_what_is_frozen_stays_bit_for_bit_and_all_else_moves(case: str) -> None:
    """Weights, scale, shift and statistics, through steps in training mode and the precise batch norm after them."""
    changes, stays = FROZEN_BY[case]
    recipe = params_with(training=changes).training
    model = build_model("pptsm", 18, 4, 2, width=0.125)
    prepare(model, recipe, 1, 8)
    optimizer = build_optimizer([model], recipe)
    optimizer.set_lr(0.1)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    clips = paddle.to_tensor(RNG.normal(1, 2, (8, 2, 3, 32, 32)).astype(np.float32))
    for _ in range(2):
        into_training(model, recipe)
        accumulation = Accumulation([model])
        with accumulation.step():
            learn(CrossEntropy(model, 0.0), clips, paddle.arange(8) % 4, None, share=1.0, precision=SINGLE)
            accumulation.add(8)
        accumulation.finish(Ranks())
        take_step(optimizer, [model], SINGLE, 0.0)
        stayed = {name for name, value in model.state_dict().items() if np.array_equal(value.numpy(), before[name])}
        assert stayed == {name for name in before if stays(name)}
        precise_batch_norm(model, [clips], Ranks())
        model.eval()  # as validation leaves it
    assert {name for name, value in model.state_dict().items() if np.array_equal(value.numpy(), before[name])} == stayed


def test_batch_norm_is_synchronised_between_several() -> None:
    """A process alone has nothing to synchronise; between several it is Paddle's other kind."""
    recipe = params_with(training={"batch_norm": "synchronised", "freeze_stages": 1}).training
    model = build_model("pptsm", 18, 4, 2, width=0.125)
    kinds = {type(layer) for layer in model.sublayers()}
    prepare(model, recipe, 1, 16)
    assert {type(layer) for layer in model.sublayers()} == kinds
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    prepare(model, recipe, 2, 16)
    norms = [layer for layer in model.sublayers() if "BatchNorm" in type(layer).__name__]
    assert len(norms) > 20
    assert all(isinstance(norm, paddle.nn.SyncBatchNorm) for norm in norms)
    assert not model.backbone.conv1_1._batch_norm.weight.trainable
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before.pop(name))
    assert not before


def test_synchronised_batch_norm_is_refused_where_a_step_cannot_be_divided_equally() -> None:
    """Paddle would weigh a smaller share as much as the others; an epoch that is one short batch counts too."""
    recipe = params_with(training={"batch_norm": "synchronised", "batch_size": 16}).training
    for clips in (16, 5):
        with pytest.raises(
            UserError, match=rf"{clips} clips of a step .* 3 GPUs\. Set .*batch_size to a multiple of 3"
        ):
            prepare(build_model("pptsm", 18, 4, 2, width=0.125), recipe, 3, clips)
