"""What all sections of params.yaml have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen values of exactly the kinds that its fields name; no other keys, and no infinities."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)
