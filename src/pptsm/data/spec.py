"""What decides which pixels a network sees, as one value: with it and a video file the views can be made again.

A card (`pptsm.weights.card`) and an exported file carry it as JSON; docs/clip.md describes it.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pptsm.params.choices import Aspect, Crops, FrameRule, Input, Sampling
from pptsm.runtime.errors import UserError
from pptsm.video.imagenet import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from pptsm.params.schema import Clip

CROPS_OF_A_VIEW: dict[Crops, int] = {"center": 1, "three": 3, "ten": 10}
VERSION = 2  # raise it, and the type of the field, when a field is added or changes its meaning


# What a machine can do: a spec may come with a file from elsewhere.
Pixels = Annotated[int, Field(ge=1, le=16_384)]
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Std = Annotated[float, Field(ge=1e-4, le=1000)]


class ClipSpec(BaseModel):
    """From a video's frames to a clip [S, 3, H, W]: which frames, which pixels, which numbers.

    Fields that params.yaml has too mean the same there (section clip).

    Example:
        >>> from pptsm import ClipSpec, Predictor
        >>> spec = Predictor("model.onnx").metadata.clip
        >>> spec.shape
        (8, 3, 56, 56)
        >>> spec == ClipSpec.model_validate_json(spec.model_dump_json())
        True
        >>> print(*str(spec).split()[:4])  # fields that have their default, such as mean and std, are not shown
        segments=8 sampling='uniform' frame_rule='official' crops='center'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1, 2] = 1  # the first in which all can be said: 2 where `input` is not rgb
    segments: Annotated[int, Field(ge=1, le=4096)]  # S, frames per clip
    sampling: Sampling  # how training samples frames, and the default of evaluation
    frame_rule: FrameRule
    crops: Crops
    dense_window: Annotated[int, Field(ge=1, le=1 << 31)]
    dense_clips: Annotated[int, Field(ge=1, le=10_000)]
    dense_crops: Crops
    resize_px: Pixels
    crop_px: Pixels  # in training
    test_crop_px: Pixels
    aspect: Aspect
    average: Literal["logits", "probabilities"]
    input: Input = "rgb"  # what the network itself makes of a clip, before its first convolution
    filter: Literal["bilinear"] = "bilinear"  # Pillow's, which averages where it shrinks
    colour: Literal["RGB"] = "RGB"
    mean: tuple[Mean, Mean, Mean] = IMAGENET_MEAN  # of values in 0..1
    std: tuple[Std, Std, Std] = IMAGENET_STD

    @model_validator(mode="before")
    @classmethod
    def _known_version(cls, values: Any) -> Any:
        found = values.get("version", VERSION) if isinstance(values, dict) else VERSION
        if isinstance(found, int) and found > VERSION:
            raise UserError(
                f"its clip is described in version {found}, and this pptsm reads versions up to {VERSION}: a newer one "
                "wrote it. Update pptsm."
            )
        if isinstance(values, dict) and found in (1, 2):
            return values | {"version": 1 if values.get("input", "rgb") == "rgb" else 2}
        return values

    @model_validator(mode="after")
    def _crops_lie_in_the_frame(self) -> Self:
        if max(self.crop_px, self.test_crop_px) > self.resize_px:
            raise ValueError(f"crops of {self.crop_px} and {self.test_crop_px} px, of frames of {self.resize_px} px")
        return self

    @model_validator(mode="after")
    def _differences_have_two_frames(self) -> Self:
        if self.input != "rgb" and self.segments == 1:
            raise ValueError(f"clips of 1 frame, and input is {self.input}, but a difference is one of two frames")
        return self

    @model_serializer(mode="wrap")
    def _as_its_version_says_it(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Version 1 has no `input`: so older versions of this package read what they understand."""
        values: dict[str, Any] = handler(self)
        return values if self.input != "rgb" else {name: value for name, value in values.items() if name != "input"}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Fields with their default are left out: what is shown still makes the same value."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return ((name, value) for name, value in super().__repr_args__() if value != defaults.get(name or ""))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(S, 3, H, W) of one view in evaluation, and of what an exported file takes."""
        return self.segments, 3, self.test_crop_px, self.test_crop_px

    @property
    def views(self) -> dict[Sampling, tuple[int, int]]:
        """Sampling -> how many clips of a video evaluation looks at, and how many crops of each."""
        return {
            "uniform": (2 if self.frame_rule == "twice" else 1, CROPS_OF_A_VIEW[self.crops]),
            "dense": (self.dense_clips, CROPS_OF_A_VIEW[self.dense_crops]),
        }

    @property
    def seen(self) -> str:
        """What the network looks at, in words that follow "the"."""
        differences = "differences of neighbouring frames"
        return {"rgb": "frames", "difference": differences, "both": f"frames and {differences}"}[self.input]


def clip_spec(clip: "Clip", segments: int, sampling: Sampling) -> ClipSpec:
    """What params.yaml says of the pixels of a network with so many segments."""
    return ClipSpec(segments=segments, sampling=sampling, **clip.model_dump())


def official_spec(
    *,
    num_segments: int,
    resize_px: int,
    crop_px: int,
    keep_aspect: bool,
    dense_window: int,
    dense_clips: int,
    sampling: Sampling,
) -> ClipSpec:
    """The clip of PP-TSM's published evaluation, in the fields that exported files had before they had a version.

    What these leave out was fixed then. Frames were resized in their native size, and a square stood where distorted.
    """
    return ClipSpec(
        segments=num_segments,
        sampling=sampling,
        frame_rule="official",
        crops="center",
        dense_window=dense_window,
        dense_clips=dense_clips,
        dense_crops="three",
        resize_px=resize_px,
        crop_px=crop_px,
        test_crop_px=crop_px,
        aspect="kept" if keep_aspect else "distorted_2_2",
        average="logits",
    )


def read_spec(text: str, sampling: str | None) -> ClipSpec:
    """The clip that an exported file describes as JSON.

    Args:
        text: a ClipSpec, or the fields of `official_spec` without the sampling.
        sampling: what an older file says of it apart.

    Raises:
        ValueError: it is neither.
        UserError: it has a newer version.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("clip, which is no JSON object")
    try:
        if "version" in values:
            return ClipSpec.model_validate(values)
        return official_spec(**values, sampling="dense" if sampling == "dense" else "uniform")
    except TypeError as error:
        raise ValueError(f"clip ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(['clip', *map(str, first['loc'])])} ({first['msg']})") from None
