"""What a network costs: its parameters, and its multiplications for one clip."""

import numpy as np
import paddle
from paddle import nn


def count_parameters(model: nn.Layer) -> int:
    """Trained values (batch norm statistics are not among them)."""
    return sum(int(np.prod(parameter.shape)) for parameter in model.parameters() if parameter.trainable)


def count_macs(model: nn.Layer, clip_shape: tuple[int, int, int, int]) -> int:
    """Multiply-accumulate operations of all convolutions and linear layers for one clip.

    Args:
        model: is run once on zeros.
        clip_shape: (T, 3, H, W).
    """
    total = 0

    def add(layer: nn.Layer, _: tuple[paddle.Tensor, ...], out: paddle.Tensor) -> None:
        nonlocal total
        weight = layer.weight.shape  # convolution [out, in, kh, kw], linear [in, out]
        per_value = int(np.prod(weight[1:])) if isinstance(layer, nn.Conv2D) else weight[0]
        total += int(np.prod(out.shape)) * per_value

    counted = [layer for layer in model.sublayers() if isinstance(layer, nn.Conv2D | nn.Linear)]
    hooks = [layer.register_forward_post_hook(add) for layer in counted]
    try:
        with paddle.no_grad():
            model(paddle.zeros([1, *clip_shape]))
    finally:
        for hook in hooks:
            hook.remove()
    return total
