"""Names of the ways to take a clip from a video, as params.yaml has them (docs of each there); imports nothing."""

from typing import Literal

Sampling = Literal["uniform", "dense"]
FrameRule = Literal["official", "centred", "twice"]
Aspect = Literal["kept", "distorted_2_1", "distorted_2_2"]
Crops = Literal["center", "three", "ten"]
NUMBERED_FRAMES = r"([^%/\\]*)%(?:0([0-9]{1,2}))?d([^%/\\]*\.(?:jpg|jpeg|JPG|JPEG))"  # what img_%05d.jpg is like
Kept = Literal["archive", "short_gop"]  # forms in which frames are kept beside the videos
Source = Literal["archive", "short_gop", "video"]
