"""Names of networks and their parts, as params.yaml has them; imports nothing, so that it is read without Paddle."""

from typing import Literal

Network = Literal["pptsm", "tsm", "pptsm_v2"]
Depth = Literal[18, 34, 50, 101, 152]
Activation = Literal["leaky_relu", "relu"]

# How a report calls a network, and its trunk.
TITLES: dict[Network, str] = {"pptsm": "PP-TSM", "tsm": "TSM", "pptsm_v2": "PP-TSMv2"}
TRUNKS: dict[Network, str] = {"pptsm": "ResNet{depth}-vd", "tsm": "ResNet{depth}", "pptsm_v2": "LCNetV2"}
