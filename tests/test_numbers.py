"""What is not a number, and what is nothing, is never a pass: at every door from weights to figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from conftest import params_with, spec_with
from helpers.clips import videos_of
from helpers.foreign import torch_stream, torch_zip, write
from helpers.networks import seeded_state
from pptsm.deploy.parity import Agreement, compare, require
from pptsm.evaluation.metrics import accuracy, class_accuracy, cross_entropy, in_top, ranking, softmax, video_logits
from pptsm.evaluation.scoring import score_videos
from pptsm.model.network import VideoNetwork, build_model
from pptsm.runtime.errors import UserError
from pptsm.weights.card import load_network, make_card, save_network
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import WeightsError, write_arrays

NAN, INF = float("nan"), float("inf")
CLIPS = [np.zeros((4, 3, 8, 8), dtype=np.float32)] * 3


def answers(*logits: float) -> Any:
    return lambda _: np.array([logits], dtype=np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence"),
    [
        ([NAN, NAN, NAN], [NAN, NAN, NAN], "Paddle's network, on clip 1 of the comparison, gave no answer: 3 of 3"),
        ([1, 2, 3], [1, NAN, 3], "the ONNX file, on clip 1 of the comparison, gave no answer: 1 of 3"),
        ([1, INF, 3], [1, INF, 3], "Paddle's network, on clip 1 .* 1 of 3 logits are not a number or infinite"),
        ([1, 2, 3], [1, -INF, 3], "the ONNX file, on clip 1"),
        ([0, 0, 0], [0, 0, 0], "gives all classes the logit 0 on clip 1"),
        ([7, 7, 7], [7, 7, 7], "gives all classes the logit 7 on clip 1"),
        ([1e-40, 0, 0], [1e-40, 0, 0], "gives all classes the logit"),
        ([], [], "gave no answer: no logits at all"),
        ([1, 2, 3], [1, 2], "gives \\[1, 2\\] logits of a clip"),
    ],
)
def test_the_gate_takes_numbers_that_say_something(ours: list[float], theirs: list[float], sentence: str) -> None:
    """Not NaN beside NaN, zeros beside zeros, or other shapes that can be broadcast."""
    with pytest.raises(UserError, match=sentence):
        require(compare(answers(*ours), answers(*theirs), CLIPS), 1e-4)


def test_the_gate_says_what_it_compared_and_takes_no_clip_for_no_pass() -> None:
    """Three clips; none; and figures that come from elsewhere."""
    agreement = compare(answers(1, 2, 3), answers(1, 2, 3.00001), CLIPS)
    require(agreement, 1e-4)
    assert agreement.clips == 3
    assert agreement.max_relative_difference == pytest.approx(1e-5 / 3, rel=0.1)
    with pytest.raises(UserError, match="there is no clip"):
        compare(answers(1, 2), answers(1, 2), [])
    for bad in (Agreement(0, 0.0, True), Agreement(1, -1.0, True), Agreement(1, NAN, True), Agreement(1, INF, True)):
        with pytest.raises(UserError, match=f"on {bad.clips} real clips"):
            require(bad, 1e-4)
    for tolerance in (NAN, INF):
        with pytest.raises(UserError):
            require(agreement, tolerance)


def test_the_worst_clip_decides_wherever_it_stands() -> None:
    """A maximum that begins with 0 loses NaN; one clip of three differs."""
    clips = [np.full((4, 3, 8, 8), number, dtype=np.float32) for number in range(3)]

    def exported(clip: np.ndarray) -> np.ndarray:
        return np.array([[1, 2, 3 + (0.3 if clip.flat[0] == 1 else 0)]], dtype=np.float32)

    assert compare(answers(1, 2, 3), exported, clips).max_relative_difference == pytest.approx(0.1)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_scoring_names_the_video_whose_logits_are_no_numbers(value: float, sampling: str) -> None:
    """One view of one video is enough, whatever averaging would make of it."""
    videos, calls = videos_of(sampling), iter(range(1000))

    def score(pixels: Any) -> np.ndarray:
        logits = np.ones((len(pixels.values), 3), dtype=np.float32)
        if next(calls) == 1:
            logits[-1, 1] = value
        return logits

    with pytest.raises(UserError, match=r"test: the network, asked about '.*', gave no answer: 1 of 3 logits"):
        score_videos(score, videos, batch_views=2, workers=0, what="test")


def test_no_video_has_no_score() -> None:
    """A sentence, not an empty table."""
    videos = videos_of("uniform")
    videos.excerpts, videos.num_frames, videos.label_indices = [], [], []
    with pytest.raises(UserError, match="there is no video to score"):
        score_videos(lambda _: np.ones((1, 3), np.float32), videos, batch_views=2, workers=0, what="test")


@pytest.mark.parametrize("bad", [[[1, NAN]], [[INF, 0]], [[-INF, 0]], np.zeros((0, 2)), np.zeros((1, 0))])
def test_no_figure_is_made_of_what_is_no_number(bad: Any) -> None:
    """Each of them: sorting would give NaN a class."""
    logits, labels = np.array(bad, dtype=np.float32), np.zeros(len(bad), dtype=np.int64)
    figures = [
        lambda: ranking(logits, 1),
        lambda: softmax(logits),
        lambda: accuracy(logits, labels),
        lambda: in_top(logits, labels, 1),
        lambda: class_accuracy(logits, labels),
        lambda: cross_entropy(logits, labels),
        lambda: video_logits(logits, "logits"),
        lambda: video_logits(logits, "probabilities"),
    ]
    for figure in figures:
        with pytest.raises(UserError, match="gave no answer"):
            figure()


def test_the_largest_numbers_have_figures() -> None:
    """Nothing overflows on the way."""
    logits = np.array([[3e38, -3e38, 0]], dtype=np.float32)
    np.testing.assert_array_equal(softmax(logits), [[1, 0, 0]])
    assert np.isfinite(cross_entropy(logits, np.array([1])))
    assert np.isfinite(video_logits(np.repeat(logits, 9, axis=0), "logits")).all()


# ---- weights --------------------------------------------------------------------------------------------


def small() -> tuple[VideoNetwork, dict[str, np.ndarray]]:
    model = build_model("pptsm", 18, 5, 4, width=0.125)
    return model, {name: np.array(array) for name, array in seeded_state(model).items()}


def as_paddle(path: Path, state: dict[str, np.ndarray]) -> Path:
    write_arrays(path, state)
    return path


def as_paddle_nested(path: Path, state: dict[str, np.ndarray]) -> Path:
    paddle.save({"state_dict": {name: paddle.to_tensor(array) for name, array in state.items()}}, str(path))
    return path


def as_zip(path: Path, state: dict[str, np.ndarray]) -> Path:
    return write(path, torch_zip({"state_dict": state}))


def as_stream(path: Path, state: dict[str, np.ndarray]) -> Path:
    return write(path, torch_stream({"state_dict": state}))


@pytest.mark.parametrize("form", [as_paddle, as_paddle_nested, as_zip, as_stream])
@pytest.mark.parametrize("value", [NAN, INF])
def test_weights_that_are_no_numbers_are_refused_by_their_array(tmp_path: Path, form: Any, value: float) -> None:
    """In every kind of file, wherever the array stands; the network is then unchanged."""
    model, state = small()
    before = model.head.fc.weight.numpy().copy()
    for name in ("backbone.bb_1_0.conv0._conv.weight", "head.fc.bias", "backbone.conv1_1._batch_norm._mean"):
        spoilt = {key: array.copy() for key, array in state.items()}
        spoilt[name].flat[-1] = value
        with pytest.raises(WeightsError, match=rf"w was refused: 1 of the .* of its array '{name}' are not a number"):
            load_weights(model, form(tmp_path / "w", spoilt))
    np.testing.assert_array_equal(model.head.fc.weight.numpy(), before)


def test_what_float32_cannot_hold_and_what_is_no_real_number_is_refused(tmp_path: Path) -> None:
    """Too large, whole numbers of a quantised file, a negative variance."""
    model, state = small()
    name, variance = "backbone.conv1_2._conv.weight", "backbone.conv1_2._batch_norm._variance"
    cases = {
        "not a number, or infinite": {name: state[name].astype(np.float64) * 1e300},
        "is of type int8": {name: state[name].astype(np.int8)},
        "is of type bool": {name: state[name] > 0},
        "variances below 0": {variance: -state[variance]},
    }
    for sentence, changes in cases.items():
        write_arrays(tmp_path / "w", state | changes)
        with pytest.raises(WeightsError, match=sentence):
            load_weights(model, tmp_path / "w")


def test_a_network_of_no_numbers_is_not_kept(tmp_path: Path) -> None:
    """Training that diverged in its last step leaves no weights behind."""
    roles = params_with(
        student={"network": {"depth": 18, "width": 0.125, "num_segments": 4}}, teacher={"network": {"num_segments": 4}}
    )
    card = make_card("student", roles.student, ["a", "b"], spec_with(), revision="1")
    state = {name: value.numpy() for name, value in card.network.build().state_dict().items()}
    save_network(tmp_path, card, state)
    assert load_network(str(tmp_path)).state_dict().keys() == state.keys()
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"weights of the student cannot be kept: .*'head\.fc\.bias'"):
        save_network(tmp_path / "other", card, state | {"head.fc.bias": np.array([1, NAN], np.float32)})
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 0}, {"num_classes": 3}, {"num_classes": 10**12}, {"num_segments": 8}, {"num_segments": -1},
        {"width": 1e6}, {"width": -1}, {"width": "wide"}, {"shift_ratio": 0.7}, {"dropout": 1}, {"depth": 7},
    ],
)  # fmt: skip
def test_a_card_of_what_no_machine_can_build_is_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    """Refused before anything is built."""
    roles = params_with(
        student={"network": {"depth": 18, "width": 0.125, "num_segments": 4}}, teacher={"network": {"num_segments": 4}}
    )
    card = make_card("student", roles.student, ["a", "b"], spec_with(), revision="1")
    values = json.loads(card.model_dump_json())
    values["network"] |= change
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"card\.json does not describe a network in full"):
        load_network(tmp_path)


# ---- how files keep the same weights --------------------------------------------------------------------

PREFIXES = [
    "module.", "_layers.", "_orig_mod.", "model.", "net.", "network.", "module.model.", "_orig_mod._layers.",
    "model_ema.", "ema.module.", "recognizer.", "backbone_and_head.net.", "backbone.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("form", [as_paddle, as_zip])
def test_what_a_script_puts_before_all_names_does_not_matter(tmp_path: Path, prefix: str, form: Any) -> None:
    """Data parallel, compiled, a network within another."""
    model, state = small()
    report = load_weights(model, form(tmp_path / "w", {f"{prefix}{name}": array for name, array in state.items()}))
    assert (report.coverage, report.reinitialised, report.ignored) == (1, [], [])
    for name, array in state.items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), array)


@pytest.mark.parametrize("inside", ["module.", "_layers.", "_orig_mod."])
def test_a_part_may_be_wrapped_alone(tmp_path: Path, inside: str) -> None:
    """The backbone in data parallel, the head not."""
    model, state = small()
    write_arrays(tmp_path / "w", {name.replace("backbone.", f"backbone.{inside}"): a for name, a in state.items()})
    assert load_weights(model, tmp_path / "w").reinitialised == []


def forms_of(state: Any) -> dict[str, Any]:
    """Files that hold a network among other things."""
    other = {name: array * 2 for name, array in state.items()}
    parts = {part: {n.removeprefix(f"{part}."): a for n, a in state.items() if n.startswith(part)} for part in
             ("backbone", "head")}  # fmt: skip
    return {
        "state_dict": {
            "state_dict": state,
            "epoch": 3,
            "optimizer": {"state": {0: {"exp_avg": other["head.fc.bias"]}}},
        },
        "model": {"model": state, "opt": other, "lr_scheduler": {"last": 3}},
        "net": {"net": state, "best": np.float32(0.5)},
        "model in state_dict": {"state_dict": {"model": state}},
        "state_dict in model": {"model": {"state_dict": state, "name": "x"}},
        "ema alone": {"ema": state, "epoch": 4},
        "model beside its average": {"model": state, "ema": other},
        "state_dict beside its average": {"state_dict": state, "ema_state_dict": other},
        "anything": {"whatever": state, "epoch": 3},
        "parts": parts,
        "an array beside": {"state_dict": state, "best_prec1": np.array(0.5)},
    }


@pytest.mark.parametrize("name", forms_of(small()[1]))
@pytest.mark.parametrize("by_paddle", [False, True])
def test_a_network_among_other_things_is_found(tmp_path: Path, name: str, by_paddle: bool) -> None:
    """As scripts save it, by `paddle.save` or as arrays."""
    model, state = small()
    if by_paddle:
        tensors = {key: paddle.to_tensor(array) for key, array in state.items()}
        paddle.save(forms_of(tensors)[name], str(tmp_path / "w"))
    else:
        write_arrays(tmp_path / "w", forms_of(state)[name])
    assert load_weights(model, tmp_path / "w").reinitialised == []
    for key, array in state.items():
        np.testing.assert_array_equal(model.state_dict()[key].numpy(), array)


def test_two_networks_of_which_none_is_meant_are_refused(tmp_path: Path) -> None:
    """Under two keys, or under two names for one part; equal ones are one."""
    model, state = small()
    other = {name: array * 2 for name, array in state.items()}
    write_arrays(tmp_path / "w", {"one": state, "two": other})
    with pytest.raises(WeightsError, match="the arrays of several networks, under 'one', 'two'"):
        load_weights(model, tmp_path / "w")
    write_arrays(tmp_path / "w", state | {f"ema.{name}": array for name, array in other.items()})
    with pytest.raises(WeightsError, match="both stand for"):
        load_weights(model, tmp_path / "w")
    write_arrays(tmp_path / "w", state | {f"module.{name}": array for name, array in state.items()})
    assert load_weights(model, tmp_path / "w").coverage == 1


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("bfloat16", 1e-2), ("float64", 1e-7)])
@pytest.mark.parametrize("nested", [False, True])
def test_half_precision_is_read_as_it_is_meant(tmp_path: Path, dtype: str, error: float, nested: bool) -> None:
    """To the precision of the type; bfloat16 was read as whole numbers up to 65535."""
    model, state = small()
    content: Any = {name: paddle.to_tensor(array).astype(dtype) for name, array in state.items()}
    paddle.save({"state_dict": content} if nested else content, str(tmp_path / "w"))
    assert load_weights(model, tmp_path / "w").coverage == 1
    for name, array in state.items():
        np.testing.assert_allclose(model.state_dict()[name].numpy(), array, rtol=error, atol=error * 1e-2)
