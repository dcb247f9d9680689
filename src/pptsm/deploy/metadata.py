"""What an exported file says of itself: written by the export, read by the prediction, without Paddle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pptsm.errors import UserError
from pptsm.params import Clip, Sampling

PREFIX = "pptsm."


@dataclass(frozen=True)
class ModelMetadata:
    """Everything needed to turn a video into class names with an exported network."""

    labels: list[str]
    clip: Clip
    sampling: Sampling
    revision: str  # hash of the parameters and inputs of its training

    def to_properties(self) -> dict[str, str]:
        """As ONNX metadata properties."""
        return {
            f"{PREFIX}labels": json.dumps(self.labels, ensure_ascii=False),
            f"{PREFIX}clip": self.clip.model_dump_json(),
            f"{PREFIX}sampling": self.sampling,
            f"{PREFIX}revision": self.revision,
            f"{PREFIX}preprocessing": (
                "RGB, short side to clip.resize_px (bilinear, anti-aliased), crop clip.crop_px, /255, "
                "mean 0.485 0.456 0.406, std 0.229 0.224 0.225, layout [N, T, 3, H, W]"
            ),
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], origin: str) -> "ModelMetadata":
        """From ONNX metadata properties.

        Raises:
            UserError: it is no file of this project's export.
        """
        try:
            return cls(
                labels=json.loads(properties[f"{PREFIX}labels"]),
                clip=Clip.model_validate_json(properties[f"{PREFIX}clip"]),
                sampling="dense" if properties[f"{PREFIX}sampling"] == "dense" else "uniform",
                revision=properties[f"{PREFIX}revision"],
            )
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{origin} was not written by `pptsm export`: its metadata lack or garble {error}. "
                "Without them nobody knows its classes and its preprocessing."
            ) from None
