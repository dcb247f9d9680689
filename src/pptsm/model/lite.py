"""TSM-Lite: EfficientNet-Lite0, a small network for images, that mixes neighbouring frames in its residual branches.

Reads from top to bottom: the range of its pixels, a convolution, the inverted residual block, the trunk.
`pptsm.model.network.build_model` builds it, with a head that classifies the mean of the frames' features.

Shape legend: M images (all frames of all clips), C channels, H/W pixels.

Sources: the trunk is EfficientNet-Lite0 (Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019, table 1; the Lite variants have no squeeze and excitation, ReLU6, and a stem and a last layer that
keep their width). The shift stands before a residual branch, where a shortcut passes the frame itself on: Lin et al.,
"TSM: Temporal Shift Module for Efficient Video Understanding" (ICCV 2019), section 3, residual shift; without a
shortcut, what is moved away is lost to its frame. Blocks that change size or channels have none and are not shifted.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from pptsm.model.layers import scaled
from pptsm.video.imagenet import IMAGENET_MEAN, IMAGENET_STD


class Stage(NamedTuple):
    """Blocks in a row; the first has the stride and changes the channels."""

    blocks: int
    channels: int
    kernel: int  # of the depthwise convolution
    stride: int
    expansion: int  # of the channels inside a block


# By the size of their output: a half, a quarter, an eighth ... of the picture. What is frozen ends at one of these.
STAGES = (
    (Stage(1, 16, 3, 1, 1), Stage(2, 24, 3, 2, 6)),
    (Stage(2, 40, 5, 2, 6),),
    (Stage(3, 80, 3, 2, 6), Stage(3, 112, 5, 1, 6)),
    (Stage(4, 192, 5, 2, 6), Stage(1, 320, 3, 1, 6)),
)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280
SMALL = 64  # pixels of an image, up to which its depthwise convolution is computed by matrices (docs/log/2026-11.md)
EPSILON = 1e-3  # of the published batch norms

# The published weights want pixels of 0 to 255 as (pixel - 127) / 128, and clips come normalised by ImageNet's mean and
# standard deviation (`clip.mean`, `clip.std`). Folded into the stem it would be wrong at the border, which is padded
# with zeros of the published range. Differences of frames are converted alike: none at all is the mean colour.
PIXEL_SCALE = [255 * std / 128 for std in IMAGENET_STD]
PIXEL_OFFSET = [(255 * mean - 127) / 128 for mean in IMAGENET_MEAN]


class SameConv(nn.Conv2D):
    """A convolution without bias: [M, C_in, H, W] -> [M, C_out, ceil(H/s), ceil(W/s)].

    Padded as TensorFlow's SAME does: of an odd number of rows the larger half is below, so what is padded depends on
    the size of the picture.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int, groups: int) -> None:
        kaiming = paddle.ParamAttr(initializer=nn.initializer.KaimingNormal())
        super().__init__(
            channels_in, channels_out, kernel, stride=stride, groups=groups, bias_attr=False, weight_attr=kaiming
        )
        self.kernel, self.stride = kernel, stride

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        height, width = x.shape[2:]
        if self.training and 1 < self._groups == x.shape[1] and height * width <= SMALL and x.place.is_cpu_place():
            return depthwise_by_matrices(self.weight, x, self.stride)
        padding = [side for size in (height, width) for side in same_padding(size, self.kernel, self.stride)]
        return nn.functional.conv2d(x, self.weight, None, self.stride, padding, 1, self._groups)


class SameConvNorm(nn.Layer):
    """Convolution, batch norm and, where asked for, ReLU6: [M, C_in, H, W] -> [M, C_out, ceil(H/s), ceil(W/s)]."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self._conv = SameConv(channels_in, channels_out, kernel, stride=stride, groups=groups)
        # published momentum: 0.99, of trainings that are a hundred times as long
        self._batch_norm = nn.BatchNorm2D(channels_out, momentum=0.9, epsilon=EPSILON)
        self.activation = nn.ReLU6() if relu else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self._batch_norm(self._conv(x))
        return x if self.activation is None else self.activation(x)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows of zeros before and after `size` rows, as TensorFlow's padding SAME has them.

    Example:
        >>> same_padding(224, 3, 2), same_padding(7, 5, 2), same_padding(7, 5, 1)
        ((0, 1), (2, 2), (2, 2))
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def depthwise_by_matrices(weight: paddle.Tensor, x: paddle.Tensor, stride: int) -> paddle.Tensor:
    """What `SameConv` computes of x [M, C, H, W] with a kernel [C, 1, k, k], faster for small images on a CPU.

    Paddle's own way copies each pixel k*k times, and back again for the gradient. But the convolution of a channel is a
    matrix [H*W, H'*W'], whose values are the kernel's (`_taps` says which), and two products of matrices do it.
    """
    images, channels, height, width = x.shape
    kernel = weight.shape[-1]
    taps = paddle.to_tensor(_taps(height, width, kernel, stride), place=x.place)
    matrices = paddle.matmul(weight.reshape([channels, -1]), taps).reshape([channels, height * width, -1])
    products = paddle.bmm(x.flatten(2).transpose([1, 0, 2]), matrices)  # [C, M, H'*W']
    return products.transpose([1, 0, 2]).reshape([images, channels, -(-height // stride), -(-width // stride)])


@lru_cache(maxsize=64)
def _taps(height: int, width: int, kernel: int, stride: int) -> NDArray[np.float32]:
    """1 where a value of the kernel takes a pixel into an output, else 0: [k*k, H*W*H'*W']."""
    along = []
    for size in (height, width):
        before, _ = same_padding(size, kernel, stride)
        taken = np.arange(-(-size // stride))[None, :] * stride + np.arange(kernel)[:, None] - before  # [k, outputs]
        along.append(taken[:, None, :] == np.arange(size)[None, :, None])  # [k, pixels, outputs]
    taps = np.einsum("iyo,jxp->ijyxop", *(one.astype(np.float32) for one in along))
    return taps.reshape(kernel * kernel, -1)


class InvertedResidual(nn.Layer):
    """Expand, convolve each channel, project: [M, C_in, H, W] -> [M, C_out, H', W'].

    Where stride and channels allow a shortcut, the input is added, and what the branch sees of it is shifted in time.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stage: Stage,
        stride: int,
        shift: Callable[[paddle.Tensor], paddle.Tensor] | None,
    ) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels_in == channels_out
        self.shift = shift if self.shortcut else None
        inside = channels_in * stage.expansion
        self.expand = SameConvNorm(channels_in, inside, 1) if stage.expansion > 1 else None
        self.depthwise = SameConvNorm(inside, inside, stage.kernel, stride=stride, groups=inside)
        self.project = SameConvNorm(inside, channels_out, 1, relu=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = x if self.shift is None else self.shift(x)
        if self.expand is not None:
            y = self.expand(y)
        y = self.project(self.depthwise(y))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Layer):
    """The trunk, [M, C_in, H, W] -> [M, 1280, ceil(H/32), ceil(W/32)]; M is a multiple of the segments."""

    def __init__(
        self, channels_in: int, *, width: float, shift: Callable[[paddle.Tensor], paddle.Tensor] | None
    ) -> None:
        super().__init__()
        for name, values in {"pixel_scale": PIXEL_SCALE, "pixel_offset": PIXEL_OFFSET}.items():
            by_channel = paddle.to_tensor(values * (channels_in // 3), dtype="float32").reshape([1, -1, 1, 1])
            self.register_buffer(name, by_channel, persistable=False)
        self.conv_stem = SameConvNorm(channels_in, STEM_CHANNELS, 3, stride=2)
        self.stem = [self.conv_stem]
        rows = [stage for stages in STAGES for stage in stages]
        widths = [STEM_CHANNELS, *(scaled(stage.channels, width) for stage in rows)]
        made = []
        for stage, (before, after) in zip(rows, pairwise(widths), strict=True):
            first = InvertedResidual(before, after, stage, stage.stride, shift)
            made.append([first, *(InvertedResidual(after, after, stage, 1, shift) for _ in range(stage.blocks - 1))])
        self.blocks = nn.LayerList([block for blocks in made for block in blocks])
        self.block_names = [f"blocks.{number}" for number in range(len(self.blocks))]
        in_rows = iter(made)
        self.stages = [[block for _ in stages for block in next(in_rows)] for stages in STAGES]
        self.conv_head = SameConvNorm(widths[-1], LAST_CHANNELS, 1)
        self.channels_out = LAST_CHANNELS

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        frames = self.conv_stem(frames * self.pixel_scale + self.pixel_offset)
        for block in self.blocks:
            frames = block(frames)
        return self.conv_head(frames)
