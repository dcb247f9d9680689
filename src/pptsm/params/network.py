"""The arguments of a network, as params.yaml and the card of a trained network have them. No Paddle is needed here."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pptsm.params.choices import Activation, Depth, Network
from pptsm.params.section import Section


class NetworkArguments(Section):
    """What `pptsm.build_model` takes, but for the number of classes, which the labels decide."""

    network: Network
    depth: Depth
    width: Annotated[float, Field(gt=0, le=16)]
    num_segments: Annotated[int, Field(ge=1, le=1024)]
    shift: bool
    shift_ratio: Literal["auto"] | Annotated[float, Field(gt=0, lt=0.5)]
    attention: bool
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.attention and self.network != "pptsm_v2":
            raise ValueError(f"attention is true, but only network: pptsm_v2 has one, and network is {self.network}")
        return self
