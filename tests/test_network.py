"""The networks against hand-computed shifts and the official figures."""

import json
from typing import get_args

import numpy as np
import paddle
import pytest

from conftest import GOLDEN
from helpers.networks import seeded_state
from pptsm.model.cost import count_macs, count_parameters
from pptsm.model.layers import temporal_shift
from pptsm.model.network import BLOCKS_PER_STAGE, build_model
from pptsm.params.choices import TITLES, TRUNKS, Depth, Network


@pytest.mark.parametrize("backward_first", [False, True])
def test_the_shift_by_hand(backward_first: bool) -> None:
    """2 clips x 4 frames x 8 channels: value = 100 * clip + 10 * frame + channel, moved one frame."""
    clip, frame, channel = np.meshgrid(range(2), range(4), range(8), indexing="ij")
    x = (100 * clip + 10 * frame + channel + 1).astype(np.float32)
    expected = x.copy()
    earlier, later = (1, 0) if backward_first else (0, 1)  # channel taken from t-1, channel taken from t+1
    expected[:, :, earlier] = 0
    expected[:, 1:, earlier] = x[:, :-1, earlier]
    expected[:, :, later] = 0
    expected[:, :-1, later] = x[:, 1:, later]
    shifted = temporal_shift(paddle.to_tensor(x.reshape(8, 8, 1, 1)), 4, 0.125, backward_first=backward_first)
    np.testing.assert_array_equal(shifted.numpy().reshape(2, 4, 8), expected)


def test_state_dict_of_the_50_layer_network_is_the_official_one() -> None:
    """Names and shapes, so that official files load as they are."""
    official = json.loads((GOLDEN / "pptsm_r50_state_dict.json").read_text())
    assert len(official) == 277
    own = {name: list(value.shape) for name, value in build_model().state_dict().items()}
    assert own == official


def test_every_batch_norm_has_the_official_constants() -> None:
    """Epsilon and momentum are too small a difference for the golden logits to show."""
    norms = [layer for layer in build_model().sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    assert len(norms) == 55
    assert {(norm._epsilon, norm._momentum) for norm in norms} == {(1e-5, 0.9)}


@pytest.mark.slow
def test_logits_equal_the_golden_figures() -> None:
    """Two clips through the 400-class network with weights made by rule: within 1e-4, relative."""
    model = build_model()
    model.set_state_dict(seeded_state(model))
    model.eval()
    clips = np.random.default_rng(2026).normal(0, 1, (2, 8, 3, 224, 224)).astype(np.float32)
    with paddle.no_grad():
        logits = model(paddle.to_tensor(clips)).numpy()
    golden = np.load(GOLDEN / "golden_r50.npz")["logits"]
    assert np.abs(logits - golden).max() / np.abs(golden).max() < 1e-4


@pytest.mark.parametrize("network", ["pptsm", "tsm"])
@pytest.mark.parametrize("depth", get_args(Depth))
def test_every_depth_runs_and_needs_the_order_of_frames(network: str, depth: int) -> None:
    """Logits [N, K]; reversing time changes them with the shift and does not without."""
    clips = paddle.to_tensor(np.random.default_rng(0).normal(0, 1, (2, 4, 3, 32, 32)).astype(np.float32))
    for shift in (True, False):
        model = build_model(network, depth, 7, 4, width=0.125, shift=shift)  # type: ignore[arg-type]
        model.set_state_dict(seeded_state(model))
        model.eval()
        with paddle.no_grad():
            forward, backward = model(clips).numpy(), model(clips.flip(1)).numpy()
        assert forward.shape == (2, 7)
        assert np.isfinite(forward).all()
        assert np.allclose(forward, backward, rtol=1e-4, atol=1e-5) != shift


@pytest.mark.parametrize("depth", get_args(Depth))
def test_the_depth_is_the_number_of_layers(depth: int) -> None:
    """Two or three convolutions a block, the stem (three in vd count as its one) and the last layer."""
    blocks = build_model("pptsm", depth, 2, 4, width=0.125).backbone.blocks  # type: ignore[arg-type]
    convolutions = 2 if depth < 50 else 3
    assert convolutions * len(blocks) + 2 == depth
    assert all(hasattr(block, f"conv{convolutions - 1}") for block in blocks)


def test_each_name_has_its_words_and_its_layers() -> None:
    """A network that params.yaml may name is one that a report can call, and each depth one that can be built."""
    assert set(TITLES) == set(TRUNKS) == set(get_args(Network))
    assert set(BLOCKS_PER_STAGE) == set(get_args(Depth))


def test_plain_tsm_shifts_every_second_block_only_where_deep() -> None:
    """R101: 2+2+12+2 of 33 blocks; R50 and every PP-TSM: all."""

    def shifted(network: str, depth: int) -> int:
        blocks = build_model(network, depth, 2, 4, width=0.125).backbone.blocks  # type: ignore[arg-type]
        return sum(block.shift is not None for block in blocks)

    assert [shifted("tsm", 50), shifted("tsm", 101)] == [16, 18]
    assert [shifted("pptsm", 50), shifted("pptsm", 101)] == [16, 33]


def test_several_clips_of_a_video_are_averaged_and_never_mixed() -> None:
    """T = 2 S: the logits are the mean of both clips' logits."""
    model = build_model("pptsm", 18, 5, 4, width=0.125)
    model.set_state_dict(seeded_state(model))
    model.eval()
    clips = paddle.to_tensor(np.random.default_rng(0).normal(0, 1, (1, 8, 3, 32, 32)).astype(np.float32))
    with paddle.no_grad():
        together = model(clips).numpy()
        apart = (model(clips[:, :4]) + model(clips[:, 4:])).numpy() / 2
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="6 frames does not divide into groups of 4"):
        model(clips[:, :6])


@pytest.mark.parametrize(
    "wrong", [{"network": "x"}, {"depth": 20}, {"shift_ratio": 0.6}, {"num_classes": 0}, {"width": 0.0}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    """A typo does not build another network."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build_model(**wrong)


def test_cost_of_a_layer_counted_by_hand() -> None:
    """A 3x3 convolution 2 -> 4 on 8x8 and a linear layer 4 -> 3."""
    layers = paddle.nn.Sequential(
        paddle.nn.Conv2D(2, 4, 3, padding=1, bias_attr=False), paddle.nn.Flatten(), paddle.nn.Linear(256, 3)
    )
    assert count_parameters(layers) == 2 * 4 * 9 + 256 * 3 + 3

    class Clip(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
            return self.layers(clips[:, 0])

    assert count_macs(Clip(), (1, 2, 8, 8)) == 4 * 64 * 2 * 9 + 256 * 3
