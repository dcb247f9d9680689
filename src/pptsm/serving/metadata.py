"""What an exported file says of itself: written by the export, read by the prediction, without Paddle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from pptsm.data.spec import ClipSpec, read_spec
from pptsm.errors import UserError
from pptsm.evaluation.advice import Learning, figures, heading, next_steps

PREFIX = "pptsm."

# The file of each role below the folder of the export; the student's is the one that is shipped.
FILES = {"teacher": "teacher.onnx", "peer": "peer.onnx", "baseline": "baseline.onnx", "student": "model.onnx"}


@dataclass(frozen=True)
class ModelMetadata:
    """Everything needed to turn a video into class names with an exported network."""

    labels: list[str]
    clip: ClipSpec
    revision: str  # hash of the parameters and inputs of its training
    warning: str | None = None  # a sentence for everyone who asks it: why its answers are not to be trusted

    def to_properties(self) -> dict[str, str]:
        """As ONNX metadata properties."""
        properties = {
            f"{PREFIX}labels": json.dumps(self.labels, ensure_ascii=False),
            f"{PREFIX}clip": self.clip.model_dump_json(),
            f"{PREFIX}revision": self.revision,
            f"{PREFIX}preprocessing": (
                f"{self.clip.colour}, short side to clip.resize_px ({self.clip.filter}, anti-aliased), long side by "
                "clip.aspect, crops of clip.test_crop_px, /255, less clip.mean, by clip.std, layout [N, T, 3, H, W]"
            ),
        }
        return properties if self.warning is None else properties | {f"{PREFIX}warning": self.warning}

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession, file: Path) -> "ModelMetadata":
        """What the opened file says of itself; raises as `from_properties`."""
        return cls.from_properties(session.get_modelmeta().custom_metadata_map, str(file))

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], origin: str) -> "ModelMetadata":
        """From ONNX metadata properties; those of older versions are understood.

        Raises:
            UserError: it is no file of this project's export, or of a newer version.
        """
        try:
            return cls(
                labels=_read_labels(properties[f"{PREFIX}labels"]),
                clip=read_spec(properties[f"{PREFIX}clip"], properties.get(f"{PREFIX}sampling")),
                revision=properties[f"{PREFIX}revision"],
                warning=properties.get(f"{PREFIX}warning"),
            )
        except UserError as error:
            raise UserError(f"{origin} cannot be used: {error}") from None
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{origin} was not written by `pptsm export`: its metadata lack or garble {error}. "
                "Without them nobody knows its classes and its preprocessing. `dvc repro export` makes such a file, "
                "and `pptsm convert` one of published weights."
            ) from None


def _read_labels(text: str) -> list[str]:
    labels = json.loads(text)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels, which are no list of names")
    return labels


def chance_warning(verdict: Mapping[str, Any] | None) -> str | None:
    """The sentence for a network that was not proven to do better than chance when its training ended.

    Args:
        verdict: as its card has it; None (nothing was held out, or an older card) says nothing.
    """
    if verdict is None or verdict["above_chance"]:
        return None
    found = f"{heading('this model', verdict)}: at the end of its training, {figures(verdict, verdict['split'])}"
    trust = "Do not rely on its answers" if verdict["above_chance"] is False else "How it answers on others is unknown"
    learning = Learning.of(verdict)
    steps = next_steps("student", verdict, learning)[:1] if learning else []  # an older card says nothing of it
    return " ".join([f"{found}. {trust}.", *(f"To try first: {step}" for step in steps)])
