"""What an exported file says of itself: written by the export, read by the prediction, without Paddle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pptsm.data.spec import ClipSpec, read_spec
from pptsm.evaluation.calibration import Calibration
from pptsm.evaluation.diagnosis import Learning, figures, heading, next_steps
from pptsm.evaluation.engines import open_session
from pptsm.evaluation.model_file import REMEDY
from pptsm.params.choices import Precision
from pptsm.runtime.errors import UserError

if TYPE_CHECKING:
    import onnxruntime

PREFIX = "pptsm."
CALIBRATION = f"{PREFIX}calibration"  # of packaged files

# The file of each role below the folder of the export; the student's is the one that is shipped.
FILES = {"teacher": "teacher.onnx", "peer": "peer.onnx", "baseline": "baseline.onnx", "student": "model.onnx"}


@dataclass(frozen=True)
class ModelMetadata:
    """Everything needed to turn a video into class names with an exported network."""

    labels: list[str]
    clip: ClipSpec
    revision: str  # hash of the parameters and inputs of its training
    warning: str | None = None  # a sentence for everyone who asks it: why its answers are not to be trusted
    precision: Precision = "float32"  # what its convolutions are computed in, as the file is
    reduced_range: bool = False  # of int8: weights of 7 bits, for processors that add 8-bit products in 16 bits
    calibration: Calibration | None = None  # what it may be besides; None: not packaged, or no validation videos

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
        if self.precision != "float32":
            properties |= {
                f"{PREFIX}precision": self.precision,
                f"{PREFIX}reduced_range": json.dumps(self.reduced_range),
            }
        if self.calibration is not None:
            properties[CALIBRATION] = self.calibration.to_json()
        return properties if self.warning is None else properties | {f"{PREFIX}warning": self.warning}

    @classmethod
    def of_file(cls, file: Path) -> "ModelMetadata":
        """What an ONNX file says of itself.

        Raises:
            UserError: as `open_session` and `of`.
        """
        return cls.of(open_session(file), file)

    @classmethod
    def of(cls, session: "onnxruntime.InferenceSession", file: Path) -> "ModelMetadata":
        """What the opened file says of itself.

        Raises:
            UserError: as `from_properties`, or the network in it takes other clips or gives another number of logits.
        """
        try:
            properties = session.get_modelmeta().custom_metadata_map
        except ValueError as error:  # no UTF-8
            raise _garbled(str(file), error) from None
        found = cls.from_properties(properties, str(file))
        if fault := _misfit(session, found):
            raise UserError(f"{file} cannot be used: {fault}. Its metadata are those of another file. {REMEDY}")
        return found

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], origin: str) -> "ModelMetadata":
        """From ONNX metadata properties; those of older versions are understood.

        Raises:
            UserError: it is no file of this project's export, or of a newer version.
        """
        try:
            labels = _read_labels(properties[f"{PREFIX}labels"])
            calibration = properties.get(CALIBRATION)
            return cls(
                labels=labels,
                calibration=None if calibration is None else Calibration.of_json(calibration, len(labels)),
                clip=read_spec(properties[f"{PREFIX}clip"], properties.get(f"{PREFIX}sampling")),
                revision=properties[f"{PREFIX}revision"],
                warning=properties.get(f"{PREFIX}warning"),
                precision=_read_precision(properties.get(f"{PREFIX}precision", "float32")),
                reduced_range=properties.get(f"{PREFIX}reduced_range") == "true",
            )
        except UserError as error:
            raise UserError(f"{origin} cannot be used: {error}") from None
        except (KeyError, ValueError, RecursionError) as error:
            raise _garbled(origin, error) from None


def _garbled(origin: str, error: Exception) -> UserError:
    return UserError(
        f"{origin} was not written by `pptsm export`: its metadata lack or garble {str(error)[:200]}. "
        "Without them nobody knows its classes and its preprocessing. `dvc repro export` makes such a file, "
        "and `pptsm convert` one of published weights."
    )


def _misfit(session: "onnxruntime.InferenceSession", said: ModelMetadata) -> str | None:
    """How the network in a file differs from what its metadata say; a size of None is any."""
    clips, logits = session.get_inputs(), session.get_outputs()
    for values, name, shape in (
        (clips, "clips", (None, *said.clip.shape)),
        (logits, "logits", (None, len(said.labels))),
    ):
        if [(value.name, value.type) for value in values] != [(name, "tensor(float)")]:
            shown = ", ".join(f"{value.name!a} of {value.type}" for value in values[:3])
            return f"its {'input' if values is clips else 'output'} should be {name!r} of tensor(float), and is {shown}"
        found = [size if isinstance(size, int) else None for size in values[0].shape]
        if found != list(shape):
            return f"its {name} are {_in_words(found)}, and its metadata describe {_in_words(shape)}"
    return None


def _in_words(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _read_precision(text: str) -> Precision:
    if text not in get_args(Precision):
        raise ValueError(f"precision, which is {text[:40]!a}")
    precision: Precision = text  # type: ignore[assignment]
    return precision


def _read_labels(text: str) -> list[str]:
    labels = json.loads(text)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels) or not labels:
        raise ValueError("labels, which are no list of names")
    for label in labels:
        label.encode()  # half a character cannot be written anywhere: a ValueError
    return labels


def chance_warning(verdict: Mapping[str, Any] | None, role: str = "student") -> str | None:
    """The sentence for a network that was not proven to do better than chance when its training ended.

    Args:
        verdict: as its card has it; None (nothing was held out, or an older card) says nothing.
        role: whose keys of params.yaml the advice names.
    """
    if verdict is None or verdict["above_chance"]:
        return None
    found = f"{heading('this model', verdict)}: at the end of its training, {figures(verdict, verdict['split'])}"
    trust = "Do not rely on its answers" if verdict["above_chance"] is False else "How it answers on others is unknown"
    learning = Learning.of(verdict)
    steps = next_steps(role, verdict, learning)[:1] if learning else []  # an older card says nothing of it
    return " ".join([f"{found}. {trust}.", *(f"To try first: {step}" for step in steps)])
