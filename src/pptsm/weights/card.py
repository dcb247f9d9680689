"""A network in a folder: its weights, and a card from which it is built again without any other file."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pptsm.data.spec import ClipSpec
from pptsm.distributed.device import computed_with
from pptsm.model.network import VideoNetwork, build_model, published_shift_ratio
from pptsm.params.choices import Input
from pptsm.params.network import NetworkArguments
from pptsm.params.schema import Role
from pptsm.runtime.errors import UserError, unusable
from pptsm.runtime.paths import StrPath, as_path
from pptsm.weights.adapters import Arrays
from pptsm.weights.loading import as_float32, load_weights
from pptsm.weights.state_dict import WEIGHTS, WeightsError, write_arrays

CARD = "card.json"
MOST_CLASSES = 1_000_000  # more is a slip, or made to fill memory
PEER = "peer"  # folder below the student's, of the network that learned beside it


class BuildableNetwork(NetworkArguments):
    """What `build_model` takes, but for `input`, which the clip says.

    A card may come from elsewhere, so each value has its bounds.
    """

    num_classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    shift_ratio: Annotated[float, Field(ge=0, lt=0.5)]
    attention: bool = False  # so in cards of older versions

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep the order of the fields that cards have always had, so that equal cards are equal files."""
        values: dict[str, Any] = handler(self)
        first = ("network", "depth", "num_classes", "num_segments")
        return {name: values[name] for name in (*first, *(name for name in values if name not in first))}

    def build(self, what: Input = "rgb") -> VideoNetwork:
        """The network with fresh weights, which looks at `what` (`ClipSpec.input`) of its clips."""
        return build_model(**self.model_dump(), input=what)


class Card(BaseModel):
    """What a folder of weights says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    role: str  # teacher, student, peer, or baseline: the student without a teacher
    network: BuildableNetwork
    classes: list[str]  # in the order of the logits
    clip: ClipSpec
    revision: str  # names the parameters and inputs of its training by their hash
    epochs: int  # 0: the weights are those it started from
    clips_per_step: int | None = None  # what a step learned from: training.batch_size, or an epoch that has fewer
    kept_epoch: int | None = None  # whose weights these are, counted from 1; None: not trained, or not said
    start: str | None  # what it started from; None: random weights
    distilled: bool = False  # whether another network had a part in its loss
    distillation: dict[str, Any] | None = None  # kind, weight, temperature of that part; None: none, or an older card
    verdict: dict[str, Any] | None = None  # whether it is above chance; None where that was not asked
    skipped: str | None = None  # why there are no weights
    computed_with: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.classes) != self.network.num_classes:
            raise ValueError(f"{len(self.classes)} classes, and a network of {self.network.num_classes}")
        if self.clip.segments != self.network.num_segments:
            raise ValueError(f"clips of {self.clip.segments} frames, and a network of {self.network.num_segments}")
        return self


def network_arguments(role: Role, num_classes: int) -> BuildableNetwork:
    """The network that a role's section of params.yaml describes."""
    return buildable(role.network, num_classes)


def buildable(network: NetworkArguments, num_classes: int) -> BuildableNetwork:
    """A network as parameters describe it, for so many classes; what is `auto` in them has its number."""
    values = network.model_dump()
    if values["shift_ratio"] == "auto":  # the card says the number
        values["shift_ratio"] = published_shift_ratio(network.network, network.num_segments)
    return BuildableNetwork(**values, num_classes=num_classes)


def make_card(role: str, section: Role, classes: list[str], clip: ClipSpec, **facts: Any) -> Card:
    """The card of a role, as its section of params.yaml and the outcome of its training (`facts`) have it."""
    network = network_arguments(section, len(classes))
    return Card(
        role=role,
        network=network,
        classes=classes,
        clip=clip,
        epochs=section.epochs,
        start=section.start.weights,
        computed_with=computed_with(),
        **facts,
    )


def save_network(folder: StrPath, card: Card, weights: Arrays | None) -> None:
    """Write weights, readable by `paddle.load`, and card into an existing folder; the same give the same bytes.

    Args:
        folder: where.
        card: what they are.
        weights: None where nothing was trained.

    Raises:
        UserError: an array holds what is not a number, so that nobody could use it.
    """
    folder = Path(folder)
    if weights is not None:
        try:
            values = {name: as_float32(name, array) for name, array in weights.items()}
        except WeightsError as error:
            raise UserError(f"the weights of the {card.role} cannot be kept: {error}") from None
        write_arrays(folder / WEIGHTS, values)
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: StrPath) -> Card:
    """The card that `save_network` wrote.

    Raises:
        UserError: there is none, it is damaged, or of an older version, from which no network can be built.
    """
    folder = Path(folder)
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        json.loads(text)
        return Card.model_validate_json(text)
    except OSError as error:  # where there is none, it is no folder that a training stage wrote
        raise unusable("the card of a network", folder / CARD, error.strerror or str(error), "student") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{folder / CARD} does not describe a network in full ({error.error_count()} fields are missing or wrong, "
            f"the first: {'.'.join(map(str, first['loc'])) or 'the card'}, {first['msg']}): it was written by an older "
            "version, or was changed. Train "
            "again (`dvc repro`), or name its weights as a role's `start`."
        ) from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON
        raise unusable("the card of a network", folder / CARD, f"it is damaged ({error})", "student") from None


def network_folders(teacher: Path, student: Path, baseline: Path) -> dict[str, Path]:
    """Role -> folder of each trained network: teacher, or the peer that learned beside the student; baseline; student.

    Raises:
        UserError: as `read_card`.
    """
    peer = {PEER: student / PEER} if (student / PEER).exists() else {}
    folders = {"teacher": teacher} | peer | {"baseline": baseline, "student": student}
    return {role: folder for role, folder in folders.items() if not read_card(folder).skipped}


def load_network(folder: StrPath) -> VideoNetwork:
    """The network of a folder with its weights, in evaluation mode; needs nothing but the folder.

    Args:
        folder: one that a training stage wrote.

    Raises:
        UserError: as `read_card`, or the folder has no weights, or `load_weights` refuses them.

    Example:
        >>> from pptsm import load_network
        >>> network = load_network("student")
        >>> network
        VideoNetwork(pptsm, 18 layers, width 0.25, 8 segments, 8 classes: 0.7 million parameters)
        >>> import paddle
        >>> network(paddle.zeros([2, 8, 3, 56, 56])).shape  # clips [N, T, 3, H, W] -> logits [N, K]
        [2, 8]
    """
    folder = as_path(folder, "the folder of a network")
    card = read_card(folder)
    if card.skipped:
        raise UserError(f"{folder} has no weights: {card.skipped}.")
    model = card.network.build(card.clip.input)
    load_weights(model, folder / WEIGHTS)
    model.eval()
    return model
