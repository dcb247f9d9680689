"""Words that parameters may have, as params.yaml has them (docs of each there); imports nothing heavy."""

from typing import Literal

Sampling = Literal["uniform", "dense"]
FrameRule = Literal["official", "centred", "twice"]
Aspect = Literal["kept", "distorted_2_1", "distorted_2_2"]
Crops = Literal["center", "three", "ten"]
Input = Literal["rgb", "difference", "both"]  # what a network looks at of a clip
NUMBERED_FRAMES = r"([^%/\\]*)%(?:0([0-9]{1,2}))?d([^%/\\]*\.(?:jpg|jpeg|JPG|JPEG))"  # what img_%05d.jpg is like
StoredAs = Literal["archive", "short_gop"]  # forms in which frames are kept beside the videos
Source = Literal["archive", "short_gop", "video"]

Runtime = Literal["onnxruntime", "openvino"]  # what computes an exported file
Precision = Literal["float32", "bfloat16", "int8"]  # what its convolutions are computed in

Network = Literal["pptsm", "tsm", "pptsm_v2", "tsm_lite"]
ONE_DEPTH: tuple[Network, ...] = ("pptsm_v2", "tsm_lite")  # to which `depth` says nothing
Depth = Literal[18, 34, 50, 101, 152]
Activation = Literal["leaky_relu", "relu"]

# How a report calls a network, and its trunk.
TITLES: dict[Network, str] = {"pptsm": "PP-TSM", "tsm": "TSM", "pptsm_v2": "PP-TSMv2", "tsm_lite": "TSM-Lite"}
TRUNKS: dict[Network, str] = {
    "pptsm": "ResNet{depth}-vd",
    "tsm": "ResNet{depth}",
    "pptsm_v2": "LCNetV2",
    "tsm_lite": "EfficientNet-Lite0",
}
