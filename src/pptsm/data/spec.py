"""What decides which pixels a network sees, as one value: with it and a video file the views can be made again.

A card (`pptsm.model.card`) and an exported file carry it as JSON; docs/clip.md describes it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pptsm.data.names import Aspect, Crops, FrameRule, Sampling
from pptsm.params import Clip

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ClipSpec(BaseModel):
    """From a video's frames to a clip [S, 3, H, W]: which frames, which pixels, which numbers.

    Fields that params.yaml has too mean the same there (section clip).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    segments: int  # S, frames a clip
    sampling: Sampling  # how training draws frames, and what is looked at unless something else is asked for
    frame_rule: FrameRule
    crops: Crops
    dense_window: int
    dense_clips: int
    dense_crops: Crops
    resize_px: int
    crop_px: int  # in training
    test_crop_px: int
    aspect: Aspect
    average: Literal["logits", "probabilities"]
    filter: Literal["bilinear"] = "bilinear"  # Pillow's, which averages where it shrinks
    colour: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of values in 0..1
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(S, 3, H, W) of one view in evaluation, and of what an exported file takes."""
        return self.segments, 3, self.test_crop_px, self.test_crop_px


def clip_spec(clip: Clip, segments: int, sampling: Sampling) -> ClipSpec:
    """What params.yaml says of the pixels of a network with so many segments."""
    return ClipSpec(segments=segments, sampling=sampling, **clip.model_dump())
