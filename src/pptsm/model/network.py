"""PP-TSM and TSM: a 2-d residual network that mixes neighbouring frames.

Reads from top to bottom: a convolution, the two residual blocks, the trunk, the head, the whole network, and
`build_model`, the one public constructor; the trunks of PP-TSMv2 (`pptsm.model.lcnet`)
and TSM-Lite (`pptsm.model.lite`) have files of their own.

Shape legend: N clips, T frames per clip, S segments (frames that the shift mixes), C channels, H/W pixels,
K classes. The trunk sees all frames as one batch, [N*T, C, H, W].

Sources: the temporal shift is Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding"
(ICCV 2019), section 3; the vd trunk is He et al., "Bag of Tricks for Image Classification" (CVPR 2019),
section 4 (ResNet-D). The state dict of the 50-layer network has the names and shapes of PaddleVideo's
PP-TSM checkpoints, so that those load as they are.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Literal, get_args

import paddle
from paddle import nn

from pptsm.model.cost import count_parameters
from pptsm.model.input import CHANNELS, looked_at
from pptsm.model.layers import scaled, temporal_shift
from pptsm.model.lcnet import Block, LCNetV2
from pptsm.model.lite import EfficientNetLite
from pptsm.params.choices import ONE_DEPTH, Activation, Depth, Input, Network

BLOCKS_PER_STAGE: dict[Depth, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECK_DEPTHS = (50, 101, 152)
BOTTLENECK_EXPANSION = 4
STAGE_CHANNELS = (64, 128, 256, 512)
LEAKY_SLOPE = 0.01
# From this many blocks in the third stage on (R101, R152), plain TSM shifts every second block only.
TSM_SPARSE_SHIFT_FROM = 23


class ConvNorm(nn.Layer):
    """Convolution, batch norm and, where one is given, the activation: [M, C_in, H, W] -> [M, C_out, H', W'].

    `pool_stride` averages pixels before the convolution: the shortcut of ResNet-D.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        pool_stride: int = 1,
        activation: nn.Layer | None = None,
    ) -> None:
        super().__init__()
        # exclusive: pixels that ceil_mode adds beyond the border do not count in the average
        self.pool = nn.AvgPool2D(pool_stride, pool_stride, ceil_mode=True, exclusive=True) if pool_stride > 1 else None
        self._conv = nn.Conv2D(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            padding=(kernel - 1) // 2,
            bias_attr=False,
            weight_attr=paddle.ParamAttr(initializer=nn.initializer.KaimingNormal()),
        )
        self._batch_norm = nn.BatchNorm2D(channels_out, momentum=0.9, epsilon=1e-5)
        self.activation = activation

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.pool is not None:
            x = self.pool(x)
        x = self._batch_norm(self._conv(x))
        return x if self.activation is None else self.activation(x)


class ResidualBlock(nn.Layer):
    """`activation(branch(shift(x)) + short(x))`: only the branch sees shifted frames.

    The branch is two 3x3 convolutions (depth 18 and 34) or 1x1, 3x3, 1x1 (deeper), the stride on the
    first 3x3.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int,
        *,
        bottleneck: bool,
        vd: bool,
        first: bool,
        shift: Callable[[paddle.Tensor], paddle.Tensor] | None,
        activation: nn.Layer,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.activation = activation
        if bottleneck:
            channels_out = channels * BOTTLENECK_EXPANSION
            self.conv0 = ConvNorm(channels_in, channels, 1, activation=activation)
            self.conv1 = ConvNorm(channels, channels, 3, stride=stride, activation=activation)
            self.conv2 = ConvNorm(channels, channels_out, 1)
            self.branch = [self.conv0, self.conv1, self.conv2]
        else:
            channels_out = channels
            self.conv0 = ConvNorm(channels_in, channels, 3, stride=stride, activation=activation)
            self.conv1 = ConvNorm(channels, channels_out, 3)
            self.branch = [self.conv0, self.conv1]
        self.short = None
        if first and (channels_in != channels_out or stride > 1 or vd):
            pooled = vd and stride > 1
            self.short = ConvNorm(
                channels_in,
                channels_out,
                1,
                stride=1 if pooled else stride,
                pool_stride=stride if pooled else 1,
            )
        self.channels_out = channels_out

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = x if self.shift is None else self.shift(x)
        for conv in self.branch:
            y = conv(y)
        return self.activation(y + (x if self.short is None else self.short(x)))


class Trunk(nn.Layer):
    """The residual network up to its last feature map: [N*T, C_in, H, W] -> [N*T, C, H/32, W/32]."""

    def __init__(
        self,
        network: Network,
        depth: Depth,
        num_segments: int,
        *,
        channels_in: int,
        width: float,
        shift: bool,
        shift_ratio: float,
        activation: nn.Layer,
    ) -> None:
        super().__init__()
        vd = network == "pptsm"
        blocks_per_stage = BLOCKS_PER_STAGE[depth]
        shift_every = 2 if network == "tsm" and blocks_per_stage[2] >= TSM_SPARSE_SHIFT_FROM else 1

        def shift_frames(frames: paddle.Tensor) -> paddle.Tensor:
            return temporal_shift(frames, num_segments, shift_ratio, backward_first=network == "tsm")

        stem = scaled(64, width)
        if vd:
            half = scaled(32, width)
            self.conv1_1 = ConvNorm(channels_in, half, 3, stride=2, activation=activation)
            self.conv1_2 = ConvNorm(half, half, 3, activation=activation)
            self.conv1_3 = ConvNorm(half, stem, 3, activation=activation)
            self.stem = [self.conv1_1, self.conv1_2, self.conv1_3]
        else:
            self.conv1 = ConvNorm(channels_in, stem, 7, stride=2, activation=activation)
            self.stem = [self.conv1]
        self.max_pool = nn.MaxPool2D(3, stride=2, padding=1)

        self.blocks, self.block_names = [], []
        channels_in = stem
        for stage, num_blocks in enumerate(blocks_per_stage):
            for index in range(num_blocks):
                block = ResidualBlock(
                    channels_in,
                    scaled(STAGE_CHANNELS[stage], width),
                    stride=2 if stage > 0 and index == 0 else 1,
                    bottleneck=depth in BOTTLENECK_DEPTHS,
                    vd=vd,
                    first=index == 0,
                    shift=shift_frames if shift and index % shift_every == 0 else None,
                    activation=activation,
                )
                self.block_names.append(f"bb_{stage}_{index}")
                self.blocks.append(self.add_sublayer(self.block_names[-1], block))
                channels_in = block.channels_out
        self.channels_out = channels_in
        in_order = iter(self.blocks)
        self.stages = [list(islice(in_order, number)) for number in blocks_per_stage]

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        for conv in self.stem:
            frames = conv(frames)
        frames = self.max_pool(frames)
        for block in self.blocks:
            frames = block(frames)
        return frames


class Head(nn.Layer):
    """Pool, drop out, classify: [N*T, C, H, W] -> logits [N, K].

    PP-TSM averages the frames' features and classifies once; TSM classifies each frame and averages the
    logits. Both give the same figure in evaluation, the layer being linear, but not under dropout.
    """

    def __init__(self, channels_in: int, num_classes: int, dropout: float, *, classify_each_frame: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.dropout = nn.Dropout(dropout)
        self.classify_each_frame = classify_each_frame
        self.fc = nn.Linear(
            channels_in,
            num_classes,
            weight_attr=paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01)),
            bias_attr=paddle.ParamAttr(initializer=nn.initializer.Constant(0.0)),
        )

    def forward(self, features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        features = self.dropout(self.pool(features).flatten(1))  # [N*T, C]
        if self.classify_each_frame:
            features = self.fc(features)
        features = features.reshape([-1, num_frames, features.shape[1]]).mean(axis=1)
        return features if self.classify_each_frame else self.fc(features)


class VideoNetwork(nn.Layer):
    """Trunk and head: clips [N, T, 3, H, W] -> logits [N, K], T a multiple of the number of segments.

    With T a larger multiple, the shift stays inside each group of segments and the mean goes over all
    frames, so several clips of one video can be scored together.

    `what` it looks at of them (`pptsm.model.input`) it computes itself. `classifier` names the last layer in the state
    dict; `head` is a layer, or a method of the trunk where that
    layer is the trunk's. `print(network.backbone)` shows the layers.
    """

    def __init__(
        self,
        backbone: Trunk | LCNetV2 | EfficientNetLite,
        head: Callable[[paddle.Tensor, int], paddle.Tensor],
        num_segments: int,
        classifier: str,
        description: str,
        what: Input,
    ) -> None:
        super().__init__()
        self.description = description
        self.backbone = backbone
        self.head = head
        self.num_segments = num_segments
        self.input = what
        self.head_names = [f"{classifier}.weight", f"{classifier}.bias"]

    def __repr__(self) -> str:
        """What network it is, in a line; Paddle's own has one for each of hundreds of layers."""
        return f"VideoNetwork({self.description}: {count_parameters(self) / 1e6:.1f} million parameters)"

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        _, num_frames, channels, height, width = clips.shape
        if num_frames % self.num_segments:
            raise ValueError(
                f"a clip of {num_frames} frames does not divide into groups of {self.num_segments} segments"
            )
        frames = clips.reshape([-1, channels, height, width])
        return self.head(self.backbone(looked_at(frames, self.num_segments, self.input)), num_frames)

    def fuse(self) -> None:
        """From now on compute with one convolution what is trained as several: for evaluation and export only."""
        for _, block in self.parallel_blocks():
            block.fuse()

    @property
    def stem_name(self) -> str:
        """The name in the state dict of the first convolution's weights, [C_out, C_in, k, k]."""
        name = next(name for name, layer in self.named_sublayers() if isinstance(layer, nn.Conv2D))
        return f"{name}.weight"

    @property
    def computed_names(self) -> list[str]:
        """Names in the state dict whose values follow from others'."""
        return [f"{name}.dw_conv.{part}" for name, _ in self.parallel_blocks() for part in ("weight", "bias")]

    def parallel_blocks(self) -> list[tuple[str, Block]]:
        """The blocks of PP-TSMv2 that `fuse` is about, with their names."""
        return [(name, layer) for name, layer in self.named_sublayers() if isinstance(layer, Block) and layer.parallel]


def published_shift_ratio(network: Network, num_segments: int) -> float:
    """The share of the channels that is moved in each direction: one segment's; in TSM and TSM-Lite an eighth.

    Of two segments or one it is a quarter: Paddle's shift takes less than a half, and some channels must stay.
    """
    return 1 / 8 if network in ("tsm", "tsm_lite") else 1 / num_segments if num_segments > 2 else 1 / 4


def build_model(
    network: Network = "pptsm",
    depth: Depth = 50,
    num_classes: int = 400,
    num_segments: int = 8,
    *,
    width: float = 1.0,
    shift: bool = True,
    shift_ratio: float | Literal["auto"] = "auto",
    attention: bool = False,
    activation: Activation | None = None,
    dropout: float | None = None,
    input: Input = "rgb",
) -> VideoNetwork:
    """Build a video classifier.

    Args:
        network: "pptsm" (ResNet-vd, leaky ReLU, every block shifted), "tsm" (plain ResNet as
            mit-han-lab and mmaction2 train it: 7x7 stem, ReLU, opposite shift direction; every second
            block shifted where the third stage has 23 blocks or more), "pptsm_v2" (PP-LCNetV2, ReLU,
            one shift before the third stage) or "tsm_lite" (EfficientNet-Lite0, every block shifted that
            has a shortcut).
        depth: 18, 34, 50, 101 or 152 layers; of no effect in "pptsm_v2" and "tsm_lite", which have one depth.
        num_classes: K.
        num_segments: S, the frames that the shift mixes.
        width: multiplies every channel count of the trunk; below 1 for small runs. In "tsm_lite" the stem and
            the last layer keep theirs, as published.
        shift: False takes the temporal shift out: the same network without any sense of order.
        shift_ratio: share of the channels shifted in each direction, in (0, 0.5); "auto" is the published
            one, 1/S (in "tsm" and "tsm_lite" 1/8).
        attention: weigh the frames before the shift ("pptsm_v2" only).
        activation: "leaky_relu" (slope 0.01) or "relu"; None is the network's own. Of no effect in
            "tsm_lite", which has ReLU6.
        dropout: probability of dropping a feature before the linear layer, in training only; None is the
            network's own, 0.5, in "pptsm_v2" and "tsm_lite" 0.2.
        input: what the network looks at of its clips: "rgb", "difference" (of neighbouring frames) or "both"; with
            differences S must be at least 2.

    Returns:
        A layer whose `forward` takes [N, T, 3, H, W] (normalised RGB, T a multiple of S) and returns
        logits [N, K].

    Raises:
        ValueError: for an unknown network, depth, activation or input, a number out of range, attention where there
            is none, or differences of one frame.

    Example:
        >>> from pptsm import build_model
        >>> build_model("pptsm", depth=50, num_classes=400, num_segments=8)
        VideoNetwork(pptsm, 50 layers, width 1, 8 segments, 400 classes: 24.3 million parameters)
        >>> build_model("pptsm", depth=18, num_classes=8, width=0.25, shift=False)  # no sense of order
        VideoNetwork(pptsm, 18 layers, width 0.25, no shift, 8 segments, 8 classes: 0.7 million parameters)
    """
    if network not in get_args(Network):
        raise ValueError(f'network is "{network}"; known are {", ".join(get_args(Network))}')
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"depth is {depth}; known are {', '.join(map(str, BLOCKS_PER_STAGE))}")
    if activation not in (None, *get_args(Activation)):
        raise ValueError(f'activation is "{activation}"; known are {", ".join(get_args(Activation))}')
    if num_classes < 1 or num_segments < 1 or not 0 < width < math.inf:
        raise ValueError("num_classes and num_segments must be at least 1, width a number above 0")
    if input not in get_args(Input):
        raise ValueError(f'input is "{input}"; known are {", ".join(get_args(Input))}')
    if input != "rgb" and num_segments == 1:
        raise ValueError(f"input is {input}, but num_segments is 1, and a difference is one of two frames")
    if shift_ratio == "auto":
        shift_ratio = published_shift_ratio(network, num_segments)
    if not 0 < shift_ratio < 0.5:
        raise ValueError(f"shift_ratio is {shift_ratio}; it must be above 0 and below 0.5")
    if attention and network != "pptsm_v2":
        raise ValueError(f"attention is a part of pptsm_v2; {network} has none")
    if activation is None:
        activation = "leaky_relu" if network == "pptsm" else "relu"
    if dropout is None:
        dropout = 0.2 if network in ONE_DEPTH else 0.5
    chosen = nn.LeakyReLU(LEAKY_SLOPE) if activation == "leaky_relu" else nn.ReLU()
    layers = [] if network in ONE_DEPTH else [f"{depth} layers"]
    unusual = [*(["attention"] if attention else []), *([] if shift else ["no shift"])]
    unusual += [] if input == "rgb" else [f"input {input}"]
    sizes = [f"{num_segments} segments", f"{num_classes} classes"]
    description = ", ".join([network, *layers, f"width {width:g}", *unusual, *sizes])
    shared: dict[str, Any] = {"shift": shift, "shift_ratio": shift_ratio, "channels_in": CHANNELS[input]}
    if network == "pptsm_v2":
        lcnet = LCNetV2(
            num_classes, num_segments, width=width, attention=attention, activation=chosen, dropout=dropout, **shared
        )
        return VideoNetwork(lcnet, lcnet.classify, num_segments, "backbone.fc", description, input)
    if network == "tsm_lite":
        move = partial(temporal_shift, num_segments=num_segments, ratio=shift_ratio) if shift else None
        lite = EfficientNetLite(CHANNELS[input], width=width, shift=move)
        head = Head(lite.channels_out, num_classes, dropout, classify_each_frame=False)
        return VideoNetwork(lite, head, num_segments, "head.fc", description, input)
    trunk = Trunk(network, depth, num_segments, width=width, activation=chosen, **shared)
    head = Head(trunk.channels_out, num_classes, dropout, classify_each_frame=network == "tsm")
    return VideoNetwork(trunk, head, num_segments, "head.fc", description, input)
