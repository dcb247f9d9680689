"""PP-TSMv2: a network for CPUs, of depthwise convolutions, that mixes neighbouring frames once.

Reads from top to bottom: a convolution, squeeze and excitation, the temporal attention, the block, the network.
`pptsm.model.network.build_model` builds it.

Shape legend: N clips, T frames per clip, S segments (frames that the shift mixes), M images (N*T frames), C channels,
H/W pixels, K classes.

Sources: the trunk is PP-LCNetV2 of PaddleClas (base); parallel convolutions that become one for inference are Ding
et al., "RepVGG: Making VGG-style ConvNets Great Again" (CVPR 2021), section 3; shift, attention and last layers are
PaddleVideo's PP-TSMv2. The state dict has the names and shapes of its checkpoints, the last layer among the trunk's.
"""

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from pptsm.model.layers import scaled, temporal_shift


class Stage(NamedTuple):
    """What the blocks of a stage have in common; channels double in the first, which has stride 2."""

    blocks: int
    channels_in: int
    kernel: int  # of the depthwise convolution
    split: bool  # the pointwise convolution is two, through half of the channels
    parallel: bool  # the depthwise convolution is trained as several beside each other
    squeeze: bool
    shortcut: bool  # where stride and channels allow it


STAGES = (
    Stage(2, 64, 3, split=False, parallel=False, squeeze=False, shortcut=False),
    Stage(2, 128, 3, split=False, parallel=False, squeeze=False, shortcut=False),
    Stage(6, 256, 5, split=True, parallel=True, squeeze=True, shortcut=False),
    Stage(2, 512, 5, split=False, parallel=True, squeeze=False, shortcut=True),
)
SHIFTED_STAGE = 2  # the shift stands before it
STEM_CHANNELS = 32
LAST_CHANNELS = 1280  # of the features that are classified
SQUEEZE_REDUCTION = 4


class FoldableConvNorm(nn.Layer):
    """Convolution, batch norm and, where one is given, the activation: [M, C_in, H, W] -> [M, C_out, H', W'].

    `shift` is what the norm adds at first. Ahead of an activation, 1 lets most values pass: with 0, as usual, the
    gradients of a random start grow a thousandfold on their way back through these layers without shortcuts
    (docs/log/2026-11.md). Weights from a file replace it.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        shift: float = 1.0,
        activation: nn.Layer | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            padding=(kernel - 1) // 2,
            groups=groups,
            bias_attr=False,
            weight_attr=_kaiming(),
        )
        start = paddle.ParamAttr(initializer=nn.initializer.Constant(shift))
        self.bn = nn.BatchNorm2D(channels_out, momentum=0.9, epsilon=1e-5, bias_attr=start)
        self.activation = activation

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        images, channels, height, width = x.shape
        small = self.training and self.conv._groups == channels and 2 * height * width < images
        x = self.bn(_depthwise_by_matrices(self.conv, x) if small and x.place.is_cpu_place() else self.conv(x))
        return x if self.activation is None else self.activation(x)

    def as_one_convolution(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Kernel [C_out, C_in/groups, k, k] and bias [C_out] that in evaluation mode give the same (no activation)."""
        scale = self.bn.weight / (self.bn._variance + self.bn._epsilon).sqrt()
        return self.conv.weight * scale.reshape([-1, 1, 1, 1]), self.bn.bias - self.bn._mean * scale


class SqueezeExcitation(nn.Layer):
    """Weighs the channels of each image by what all of the image shows: [M, C, H, W] -> the same shape."""

    def __init__(self, channels: int, activation: nn.Layer) -> None:
        super().__init__()
        squeezed = channels // SQUEEZE_REDUCTION
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.conv1 = nn.Conv2D(channels, squeezed, 1, weight_attr=_kaiming())
        self.conv2 = nn.Conv2D(squeezed, channels, 1, weight_attr=_kaiming())
        self.activation = activation

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * F.sigmoid(self.conv2(self.activation(self.conv1(self.pool(x)))))


class TemporalAttention(nn.Layer):
    """Weighs each frame by what all S frames of its group show: [N*S, C, H, W] -> the same shape."""

    def __init__(self, num_segments: int) -> None:
        super().__init__()
        self.num_segments = num_segments
        self.fc = nn.Linear(num_segments, num_segments)

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        brightness = frames.mean(axis=[1, 2, 3]).reshape([-1, self.num_segments])  # [N, S]
        return frames * F.sigmoid(self.fc(brightness)).reshape([-1, 1, 1, 1])


class Block(nn.Layer):
    """Depthwise, then pointwise convolution: [M, C_in, H, W] -> [M, C_out, H', W'].

    In a parallel block the depthwise convolution is trained as several of different kernels, each with its norm,
    whose outputs are added (`dw_conv_list`). They are linear in evaluation mode, so one convolution gives the same:
    `dw_conv`, whose values follow from theirs. It is not trained, is brought up to date whenever the state dict is
    read, and computes only after `fuse`.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, stage: Stage, activation: nn.Layer) -> None:
        super().__init__()
        self.parallel = stage.parallel
        self.fused = False
        self.shortcut = stage.shortcut and stride == 1 and channels_in == channels_out
        self.activation = activation
        if stage.parallel:
            kernels = [kernel for kernel in range(stage.kernel, 0, -2) if kernel > 1 or stride == 1]
            self.dw_conv_list = nn.LayerList(
                [
                    FoldableConvNorm(
                        channels_in, channels_in, kernel, stride=stride, groups=channels_in, shift=1 / len(kernels)
                    )
                    for kernel in kernels
                ]
            )
            fixed = paddle.ParamAttr(trainable=False)
            self.dw_conv = nn.Conv2D(
                channels_in,
                channels_in,
                stage.kernel,
                stride=stride,
                padding=(stage.kernel - 1) // 2,
                groups=channels_in,
                weight_attr=fixed,
                bias_attr=fixed,
            )
            # paddle.jit.save reads the state dict in static mode, where computing ends the process
            self.register_state_dict_hook(lambda _: self._compute_fused() if paddle.in_dynamic_mode() else None)
        else:
            self.dw_conv = FoldableConvNorm(channels_in, channels_in, stage.kernel, stride=stride, groups=channels_in)
        self.se = SqueezeExcitation(channels_in, activation) if stage.squeeze else None
        if stage.split:
            half = channels_out // 2
            self.pw_conv_1 = FoldableConvNorm(channels_in, half, 1, activation=activation)
            self.pw_conv_2 = FoldableConvNorm(half, channels_out, 1, activation=activation)
            self.pointwise = [self.pw_conv_1, self.pw_conv_2]
        else:
            self.pw_conv = FoldableConvNorm(channels_in, channels_out, 1, activation=activation)
            self.pointwise = [self.pw_conv]

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.activation(self._depthwise(x))
        if self.se is not None:
            y = self.se(y)
        for conv in self.pointwise:
            y = conv(y)
        return x + y if self.shortcut else y

    def _depthwise(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.parallel and not self.fused:
            return sum((branch(x) for branch in self.dw_conv_list[1:]), self.dw_conv_list[0](x))
        return self.dw_conv(x)

    def fuse(self) -> None:
        """From now on compute with the one convolution."""
        if self.parallel:
            self._compute_fused()
            self.fused = True

    def _compute_fused(self) -> None:
        size = self.dw_conv.weight.shape[-1]
        with paddle.no_grad():
            kernels, biases = zip(*(branch.as_one_convolution() for branch in self.dw_conv_list), strict=True)
            margins = [(size - kernel.shape[-1]) // 2 for kernel in kernels]
            # a smaller kernel is a larger one with zeros around it
            padded = [F.pad(kernel, [margin] * 4) for kernel, margin in zip(kernels, margins, strict=True)]
            self.dw_conv.weight.set_value(sum(padded[1:], padded[0]))
            self.dw_conv.bias.set_value(sum(biases[1:], biases[0]))


class LCNetV2(nn.Layer):
    """The trunk, [N*T, C_in, H, W] -> [N*T, C, H/32, W/32]; `classify` turns that into logits.

    Published checkpoints name the last layers among the trunk's, so they are parts of it here too.
    """

    def __init__(
        self,
        num_classes: int,
        num_segments: int,
        *,
        channels_in: int,
        width: float,
        shift: bool,
        shift_ratio: float,
        attention: bool,
        activation: nn.Layer,
        dropout: float,
    ) -> None:
        super().__init__()
        self.block_names: list[str] = []  # no file numbers its blocks through
        self.num_segments = num_segments
        self.shift_ratio = shift_ratio if shift else None
        self.activation = activation
        stem, channels = scaled(STEM_CHANNELS, width), scaled(STAGES[0].channels_in, width)
        self.stem = nn.Sequential(
            FoldableConvNorm(channels_in, stem, 3, stride=2, activation=activation),
            Block(stem, channels, 1, STAGES[0], activation),
        )
        self.stages = nn.LayerList()
        for stage in STAGES:
            blocks = []
            for number in range(stage.blocks):
                channels_out = scaled(2 * stage.channels_in, width)
                blocks.append(Block(channels, channels_out, 2 if number == 0 else 1, stage, activation))
                channels = channels_out
            self.stages.append(nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.last_conv = nn.Conv2D(channels, scaled(LAST_CHANNELS, width), 1, bias_attr=False, weight_attr=_kaiming())
        with paddle.no_grad():
            # all features that arrive begin near 1; what they have in common would drown what tells images apart
            weight = self.last_conv.weight
            weight.set_value(weight - weight.mean(axis=1, keepdim=True))
        # evaluation multiplies by 1 - dropout, where training after the newer fashion divides by it
        self.dropout = nn.Dropout(dropout, mode="downscale_in_infer")
        self.fc = nn.Linear(
            scaled(LAST_CHANNELS, width),
            num_classes,
            weight_attr=paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01)),
        )
        self.global_attention = TemporalAttention(num_segments) if attention else None

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        frames = self.stem(frames)
        for number, stage in enumerate(self.stages):
            if number == SHIFTED_STAGE:
                if self.global_attention is not None:
                    frames = self.global_attention(frames)
                if self.shift_ratio is not None:
                    frames = temporal_shift(frames, self.num_segments, self.shift_ratio)
            frames = stage(frames)
        return frames

    def classify(self, features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """Pool, drop out, average the frames, classify: [N*T, C, H, W] -> logits [N, K]."""
        features = self.dropout(self.activation(self.last_conv(self.pool(features)))).flatten(1)  # [N*T, C]
        return self.fc(features.reshape([-1, num_frames, features.shape[1]]).mean(axis=1))


def _depthwise_by_matrices(conv: nn.Conv2D, x: paddle.Tensor) -> paddle.Tensor:
    """What `conv` computes of x [M, C, H, W], several times faster for many small images on a CPU.

    Paddle's own way takes its time for each channel of each image, however small. But the convolution of a channel is
    a matrix [H*W, H'*W'], and what becomes of the H*W images with a single bright pixel are its rows.
    """
    images, channels, height, width = x.shape
    pixels = paddle.eye(height * width).reshape([-1, 1, height, width]).expand([-1, channels, -1, -1])
    rows = conv(pixels)  # [H*W, C, H', W']
    matrices = rows.flatten(2).transpose([1, 0, 2])
    products = paddle.bmm(x.flatten(2).transpose([1, 0, 2]), matrices)  # [C, M, H'*W']
    return products.transpose([1, 0, 2]).reshape([images, *rows.shape[1:]])


def _kaiming() -> paddle.ParamAttr:
    return paddle.ParamAttr(initializer=nn.initializer.KaimingNormal())
