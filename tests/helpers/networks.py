"""Small networks with weights made by rule, and exported files of them."""

import zlib

import numpy as np
import paddle

from pptsm.model.network import VideoNetwork


def seeded_state(
    model: VideoNetwork, norm_weight: str = "_batch_norm.weight", gain: float = 1.6
) -> dict[str, np.ndarray]:
    """Weights that follow from each name: the rule of the golden figures.

    Args:
        model: its arrays' names and shapes count.
        norm_weight: how the names of its batch norms' scales end.
        gain: variance of the other weights, times what comes into each.
    """
    state = {}
    for name, value in model.state_dict().items():
        rng, shape = np.random.default_rng(zlib.crc32(name.encode())), tuple(value.shape)
        if name.endswith("_variance"):
            array = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("_mean"):
            array = rng.normal(0, 0.1, shape)
        elif name.endswith(norm_weight):
            array = rng.uniform(0.5, 1.0, shape)
        elif name.endswith("bias"):
            array = rng.normal(0, 0.05, shape)
        else:
            fan = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
            array = rng.normal(0, 1, shape) * np.sqrt(gain / fan)
        state[name] = array.astype(np.float32)
    return state


def logits_of(model: VideoNetwork, clips: np.ndarray) -> np.ndarray:
    """What a network answers, as it stands: in training or in evaluation mode."""
    with paddle.no_grad():
        logits: np.ndarray = model(paddle.to_tensor(clips)).numpy()
    return logits


def far(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(one - other).max() / np.abs(other).max())
