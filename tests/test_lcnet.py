"""PP-TSMv2 against the official figures, and its two ways to compute a depthwise convolution against each other."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import paddle
import pytest

from conftest import GOLDEN, params_with, spec_with
from helpers.networks import far, logits_of, seeded_state
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.model.cost import count_macs, count_parameters
from pptsm.model.lcnet import FoldableConvNorm, TemporalAttention
from pptsm.model.network import VideoNetwork, build_model, published_shift_ratio
from pptsm.params.choices import Network
from pptsm.training.objectives import Distillation, MutualLearning
from pptsm.weights.card import BuildableNetwork, load_network, make_card, network_arguments, save_network
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import WeightsError, as_arrays, write_arrays

Arrays = dict[str, np.ndarray]


def network(num_classes: int = 5, num_segments: int = 4, **options: Any) -> VideoNetwork:
    return build_model("pptsm_v2", num_classes=num_classes, num_segments=num_segments, **{"width": 0.25, **options})


def seeded(model: VideoNetwork) -> Arrays:
    """Weights by the rule of the golden figures."""
    return seeded_state(model, "bn.weight", gain=4)


def filled(model: VideoNetwork) -> VideoNetwork:
    """The model with weights made by rule, in evaluation mode."""
    model.set_state_dict(seeded(model))
    model.eval()
    return model


CLIPS = np.random.default_rng(0).normal(0, 1, (2, 4, 3, 64, 64)).astype(np.float32)


def test_state_dict_is_the_official_one() -> None:
    """Names and shapes, so that official files load as they are."""
    official = json.loads((GOLDEN / "pptsm_v2_state_dict.json").read_text())
    assert len(official) == 280
    model = build_model(network="pptsm_v2", num_classes=400, num_segments=16, attention=True)
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == official
    plain = build_model(network="pptsm_v2", num_classes=400, num_segments=16, attention=False)
    assert set(official) - set(plain.state_dict()) == {
        f"backbone.global_attention.fc.{part}" for part in ("weight", "bias")
    }


@pytest.mark.slow
@pytest.mark.parametrize(("segments", "attention"), [(8, False), (16, False), (16, True)])
def test_logits_equal_the_golden_figures(segments: int, attention: bool) -> None:
    """Two clips through the 400-class network with weights made by rule: within 1e-4; with the branches fused 1e-5."""
    model = filled(build_model("pptsm_v2", num_classes=400, num_segments=segments, attention=attention))
    clips = np.random.default_rng(2026).normal(0, 1, (2, segments, 3, 224, 224)).astype(np.float32)
    logits = logits_of(model, clips)
    golden = np.load(GOLDEN / "golden_pptsm_v2.npz")[f"logits_{segments}_{'attention' if attention else 'plain'}"]
    assert far(logits, golden) < 1e-4
    model.fuse()
    assert far(logits_of(model, clips), logits) < 1e-5


def test_batch_norms_have_the_official_constants() -> None:
    """Epsilon and momentum are too small a difference for the golden logits to show."""
    norms = [layer for layer in network().sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    assert {(norm._epsilon, norm._momentum) for norm in norms} == {(1e-5, 0.9)}


def trained(model: VideoNetwork) -> None:
    """A few plain steps, so that branches and their statistics move."""
    optimizer = paddle.optimizer.SGD(0.1, parameters=[p for p in model.parameters() if p.trainable])
    model.train()
    for _ in range(2):
        paddle.nn.functional.cross_entropy(model(paddle.to_tensor(CLIPS)), paddle.to_tensor([0, 1])).backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()


def test_one_convolution_computes_what_the_branches_do_after_training() -> None:
    """Three, two and one kernel, both strides: whatever the fused entries held before."""
    paddle.seed(1)
    model = network()
    trained(model)
    before = logits_of(model, CLIPS)
    kernels = [len(block.dw_conv_list) for _, block in model.parallel_blocks()]
    assert kernels == [2, 3, 3, 3, 3, 3, 2, 3]
    model.fuse()
    assert 0 < far(logits_of(model, CLIPS), before) < 1e-5


def test_a_state_that_is_read_has_no_stale_entries() -> None:
    """What training left behind in the branches is in the fused entries too: another program may compute with them."""
    paddle.seed(1)
    model = network()
    trained(model)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    other = network()
    other.set_state_dict(state)
    for _, block in other.parallel_blocks():
        block.fused = True  # compute with the entries as they were read
    other.eval()
    assert far(logits_of(other, CLIPS), logits_of(model, CLIPS)) < 1e-5


def test_the_fused_convolutions_are_not_trained() -> None:
    """They take no part in a step; all else does, and is counted."""
    model = network(attention=True)
    fixed = {name for name, value in model.named_parameters() if not value.trainable}
    assert {name for name in fixed if "bn._" not in name} == set(model.computed_names)
    assert len(model.computed_names) == 16


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_start_can_be_trained(seed: int) -> None:
    """The stem's gradient has not grown on its way back, and the features tell clips apart.

    Norms that begin at 0 give 2 to 4; a last convolution that is not centred leaves the features of all clips alike,
    to 0.99 of their squares.
    """
    paddle.seed(seed)
    model = network(dropout=0.0)
    model.train()
    features: list[np.ndarray] = []
    model.backbone.fc.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].numpy()))
    squares = np.random.default_rng(0).normal(0, 1, (8, 4, 3, 8, 8)).repeat(8, 3).repeat(8, 4).astype(np.float32)
    loss = paddle.nn.functional.cross_entropy(model(paddle.to_tensor(squares)), paddle.arange(8) % 5)
    loss.backward()
    stem = model.backbone.stem[0].conv.weight
    assert float(stem.grad.norm() / stem.norm()) < 1
    common = (features[0].mean(axis=0) ** 2).sum() / (features[0] ** 2).sum(axis=1).mean()
    assert common < 0.85


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (5, 2)])
def test_many_small_images_are_convolved_as_paddle_does(kernel: int, stride: int) -> None:
    """In training, by matrices: values and gradients of Paddle's own convolution."""
    paddle.seed(1)
    layer = FoldableConvNorm(8, 8, kernel, stride=stride, groups=8)
    layer.train()
    layer.bn.eval()  # or it would hide the scale of a 1x1 kernel
    images = paddle.randn((40, 8, 4, 3))
    weights = paddle.randn(layer(images).shape)
    found = []
    for convolve in (layer, lambda x: layer.bn(layer.conv(x))):
        x = images.clone().detach()
        x.stop_gradient = False
        layer.clear_gradients()
        y = convolve(x)
        (y * weights).sum().backward()
        found.append([value.numpy() for value in (y, x.grad, layer.conv.weight.grad)])
    for one, other in zip(*found, strict=True):
        assert far(one, other) < 1e-4


def test_order_matters_with_the_shift_alone() -> None:
    """Reversing time changes the logits with the shift and does not without."""
    for shift in (True, False):
        model = filled(network(shift=shift))
        forward, backward = logits_of(model, CLIPS), logits_of(model, CLIPS[:, ::-1].copy())
        assert (far(forward, backward) > 1e-3) == shift
        assert shift or far(forward, backward) < 1e-5


@pytest.mark.parametrize("attention", [False, True])
def test_several_clips_of_a_video_are_averaged_and_never_mixed(attention: bool) -> None:
    """T = 2 S: the logits are the mean of both clips' logits."""
    model = filled(network(attention=attention))
    clips = np.concatenate([CLIPS[:1], CLIPS[1:]], axis=1)
    apart = logits_of(model, CLIPS).mean(axis=0, keepdims=True)
    assert far(logits_of(model, clips), apart) < 1e-5


def test_the_attention_weighs_whole_frames_by_all_of_them() -> None:
    """By hand: two frames' means through [[1, 0], [2, 1]] and a bias, a sigmoid, times the frame."""
    layer = TemporalAttention(2)
    layer.fc.weight.set_value(np.array([[1, 2], [0, 1]], np.float32))
    layer.fc.bias.set_value(np.array([0, 0.5], np.float32))
    frames = np.stack([np.full((3, 2, 2), value, np.float32) for value in (1, 2, 3, 4)])
    frames[:, 0] += 0.5
    frames[:, 1] -= 0.5  # the means stay 1, 2, 3, 4
    weights = 1 / (1 + np.exp(-np.array([1, 2 + 2 + 0.5, 3, 6 + 4 + 0.5])))
    np.testing.assert_allclose(layer(paddle.to_tensor(frames)).numpy(), frames * weights.reshape(4, 1, 1, 1), rtol=1e-6)


def test_dropout_scales_features_in_evaluation_as_published() -> None:
    """By 1 - p there, and not at all in training: the logits without bias are 0.8 of those without dropout."""
    dropped, whole = filled(network(dropout=0.2)), filled(network(dropout=0.0))
    bias = whole.backbone.fc.bias.numpy()
    assert far(logits_of(dropped, CLIPS) - bias, 0.8 * (logits_of(whole, CLIPS) - bias)) < 1e-5


@pytest.mark.parametrize(
    ("name", "segments", "ratio"),
    [
        ("pptsm", 8, 1 / 8),
        ("pptsm", 16, 1 / 16),
        ("pptsm_v2", 16, 1 / 16),
        ("tsm", 16, 1 / 8),
        ("tsm_lite", 16, 1 / 8),
        ("pptsm_v2", 1, 1 / 4),
        ("pptsm", 2, 1 / 4),
    ],
)
def test_the_published_shift_moves_one_segments_share(name: Network, segments: int, ratio: float) -> None:
    """TSM and TSM-Lite move an eighth whatever the segments; of one or two segments a quarter, which computes."""
    assert published_shift_ratio(name, segments) == ratio
    model = build_model(name, 18, 2, segments, width=0.125)
    assert model(paddle.zeros([1, segments, 3, 32, 32])).shape == [1, 2]


def test_auto_and_the_number_it_stands_for_are_one_network() -> None:
    """And another number is another one."""
    logits = [logits_of(filled(network(shift_ratio=ratio)), CLIPS) for ratio in ("auto", 0.25, 0.125)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert far(logits[2], logits[0]) > 1e-3


def test_attention_is_no_part_of_the_other_networks() -> None:
    """It is refused, not left out."""
    with pytest.raises(ValueError, match="attention is a part of pptsm_v2; tsm has none"):
        build_model("tsm", 18, 2, 4, attention=True)


def test_a_folder_of_weights_builds_the_network_again(tmp_path: Path) -> None:
    """From the card alone, with the shift's ratio as a number; the logits are those of what was saved."""
    student = params_with(
        student={
            "network": {
                "network": "pptsm_v2",
                "num_segments": 4,
                "width": 0.25,
                "attention": True,
                "shift_ratio": "auto",
            }
        },
        teacher={"network": {"num_segments": 4}},
    ).student
    model = filled(network_arguments(student, 3).build())
    card = make_card("student", student, ["a", "b", "c"], spec_with(), revision="r")
    assert card.network.shift_ratio == 1 / 4
    save_network(tmp_path, card, as_arrays(model.state_dict()))
    np.testing.assert_array_equal(logits_of(load_network(tmp_path), CLIPS), logits_of(model, CLIPS))


def test_a_card_from_before_the_attention_builds_its_network() -> None:
    """Yesterday's folders stay readable."""
    arguments = network_arguments(params_with().student, 3).model_dump()
    del arguments["attention"]
    BuildableNetwork.model_validate(arguments).build()


def fresh(**options: Any) -> VideoNetwork:
    return network(**{"attention": True, **options})


COMPUTED = re.compile(r".*stages\.[23]\.\d\.dw_conv\.(weight|bias)")
IMAGENET = {"fc.weight": np.ones((320, 1000), np.float32), "fc.bias": np.ones(1000, np.float32)}
TEACHER = {f"Teacher.0.{name}": np.ones(3, np.float32) for name in ("conv1_1._conv.weight", "stem.0.conv.weight")}
TEACHER["Teacher.1.fc.weight"] = np.ones((2048, 5), np.float32)
FILES: dict[str, Callable[[Arrays], Arrays]] = {
    "official": lambda state: state,
    "without the trunk's prefix": lambda state: {name.removeprefix("backbone."): a for name, a in state.items()},
    "distilled, of two networks": lambda state: (
        {name.replace("backbone.", "Student.0."): a for name, a in state.items()} | TEACHER
    ),
    "distilled, in full names": lambda state: {f"Student.{name}": a for name, a in state.items()},
    "with stale fused entries": lambda state: {n: a + 9 if COMPUTED.match(n) else a for n, a in state.items()},
    "without fused entries": lambda state: {n: a for n, a in state.items() if not COMPUTED.match(n)},
    "ImageNet": lambda state: {
        name.removeprefix("backbone."): a
        for name, a in state.items()
        if not name.startswith(("backbone.fc", "backbone.global_attention"))
    } | IMAGENET,
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_an_official_looking_file_is_loaded_whole(kind: str, tmp_path: Path) -> None:
    """Every value arrives; the fused convolutions are computed from the branches, whatever the file has for them."""
    source = filled(fresh())
    write_arrays(tmp_path / "w.pdparams", FILES[kind](as_arrays(source.state_dict())))
    model = fresh()
    imagenet = kind == "ImageNet"
    report = load_weights(model, tmp_path / "w.pdparams", 0.99 if imagenet else 1.0)
    assert [*report.unexpected, *report.wrong_shape] == []
    last = ["backbone.fc.weight", "backbone.fc.bias"]
    attention = [f"backbone.global_attention.fc.{part}" for part in ("bias", "weight")]
    assert (report.missing, report.reinitialised) == ((attention, last) if imagenet else ([], []))
    model.eval()
    for model_of in (model, source):
        for name in attention + last if imagenet else []:
            model_of.state_dict()[name].set_value(paddle.full(model_of.state_dict()[name].shape, 0.1))
    np.testing.assert_array_equal(logits_of(model, CLIPS), logits_of(source, CLIPS))
    model.fuse()
    assert far(logits_of(model, CLIPS), logits_of(source, CLIPS)) < 1e-5


MISFITS: dict[str, tuple[Callable[[Arrays], Arrays], dict[str, Any], str]] = {
    "saved for inference": (
        lambda state: {name: a for name, a in state.items() if "dw_conv_list" not in name},
        {},
        r"saved for inference: it has backbone.stages.2.0.dw_conv.weight, but not .*dw_conv_list.*training weights",
    ),
    "of other segments": (lambda state: state, {"num_segments": 8}, r"global_attention.fc.weight is \[4, 4\] there"),
    "with attention": (lambda state: state, {"attention": False}, "global_attention.fc.bias has no place here"),
    "of another width": (lambda state: state, {"width": 0.5}, "Check network, depth, width, segments and attention"),
    "of the other network alone": (lambda _: TEACHER, {}, "fills 0.0% of it"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_file_that_does_not_fit_is_refused_with_a_sentence(kind: str, tmp_path: Path) -> None:
    """Also where nearly all of it would fit; the network is as it was."""
    change, options, sentence = MISFITS[kind]
    write_arrays(tmp_path / "w.pdparams", change(as_arrays(filled(fresh()).state_dict())))
    model = fresh(**options)
    before = model.state_dict()["backbone.stem.0.conv.weight"].numpy().copy()
    with pytest.raises(WeightsError, match=sentence):
        load_weights(model, tmp_path / "w.pdparams", 0.9)
    np.testing.assert_array_equal(model.state_dict()["backbone.stem.0.conv.weight"].numpy(), before)


@pytest.mark.parametrize(("found", "wanted"), [("pptsm", "pptsm_v2"), ("pptsm_v2", "pptsm")])
def test_the_files_of_one_family_do_not_fit_the_other(found: Network, wanted: Network, tmp_path: Path) -> None:
    """Both have a `stem`, an `fc` and a `backbone`."""
    options: dict[str, Any] = {"num_classes": 5, "num_segments": 4, "width": 0.25, "depth": 18}
    write_arrays(tmp_path / "w.pdparams", as_arrays(build_model(found, **options).state_dict()))
    with pytest.raises(WeightsError, match="does not fit this network"):
        load_weights(build_model(wanted, **options), tmp_path / "w.pdparams", 0.0)


@pytest.mark.parametrize("attention", [False, True])
def test_the_exported_file_computes_what_the_trained_network_does(attention: bool, tmp_path: Path) -> None:
    """Branches in Paddle, one convolution in ONNX: equal to 1e-5, any batch; nothing of the branches is left."""
    spec = spec_with(resize_px=64, crop_px=64, test_crop_px=64)
    save_inference(filled(network(attention=attention)), tmp_path, spec.shape)
    convert_to_onnx(tmp_path, tmp_path / "model.onnx", 17, {})
    score = onnx_scorer(open_session(tmp_path / "model.onnx"))
    model = filled(network(attention=attention))
    for clips in (CLIPS, CLIPS[:1]):
        assert far(score(clips), logits_of(model, clips)) < 1e-5
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    grouped = [
        attribute.i for node in graph.node if node.op_type == "Conv" for attribute in node.attribute
        if attribute.name == "group" and attribute.i > 1
    ]  # fmt: skip
    assert len(grouped) == 1 + 2 + 2 + 6 + 2  # a depthwise convolution a block
    assert not [value.name for value in graph.initializer if "dw_conv_list" in value.name]
    before = count_macs(model, spec.shape)
    model.fuse()
    assert count_macs(model, spec.shape) < before
    assert sum(np.prod(value.dims) for value in graph.initializer) < 1.05 * count_parameters(model)


@pytest.mark.parametrize("mutual", [False, True])
def test_it_learns_from_the_other_family_on_the_same_clip(mutual: bool) -> None:
    """Both give logits of one clip; the gradients reach all that is trained, and a fixed teacher not at all."""
    model, other = network(attention=True), build_model("pptsm", 18, 5, 4, width=0.125)
    clips, labels = paddle.to_tensor(CLIPS), paddle.to_tensor([0, 1])
    if mutual:
        losses = MutualLearning(model, other, smoothing=0.0, weight=1.0).losses(clips, labels, None)
    else:
        other.eval()
        losses = Distillation(model, other, smoothing=0.0, weight=0.5, temperature=2.0).losses(clips, labels, None)
    assert [logits.shape for logits in losses.logits] == [[2, 5]] * (2 if mutual else 1)
    losses.total.backward()
    assert {name for name, p in model.named_parameters() if p.trainable and p.grad is None} == set()
    assert any(p.grad is not None for p in other.parameters()) == mutual
    assert all(p.grad is None for name, p in model.named_parameters() if name in model.computed_names)
