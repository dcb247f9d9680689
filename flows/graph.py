"""What the flows know of the project: where it is, the stages of dvc.yaml, and the keys of params.yaml.

The graph itself is told nowhere but in dvc.yaml.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from pptsm.errors import ParamsError
from pptsm.params import check_params

ROOT = Path(__file__).parent.parent


def stage_names() -> list[str]:
    """The stages in the order of dvc.yaml, which is the order in which they need each other."""
    return list(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"])


def _known(name: str) -> str:
    if name not in stage_names():
        raise ValueError(f"there is no stage {name!r}; dvc.yaml has {', '.join(stage_names())}")
    return name


# the list of names makes a drop-down menu of the parameter
StageName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": stage_names()})]


class Stages(BaseModel):
    """A range of stages, both ends included."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)

    first: StageName | None = Field(default=None, alias="from", description="Stage to begin with.")
    last: StageName | None = Field(default=None, alias="to", description="Stage to end with.")

    def names(self) -> list[str]:
        """The stages of the range, in order.

        Raises:
            ParamsError: it ends before it begins.
        """
        known = stage_names()
        chosen = known[known.index(self.first or known[0]) : known.index(self.last or known[-1]) + 1]
        if not chosen:
            raise ParamsError(f"stages: {self.first!r} comes after {self.last!r}; the order is {', '.join(known)}")
        return chosen


def check_overrides(overrides: list[str]) -> None:
    """Apply overrides to params.yaml in memory and check the whole.

    Raises:
        ParamsError: an override is no `key=value`, names an unknown key, or sets a wrong value.
    """
    yaml = YAML(typ="safe")
    values: dict[str, Any] = yaml.load((ROOT / "params.yaml").read_text())
    for override in overrides:
        key, equals, text = override.partition("=")
        *sections, leaf = key.split(".")
        place: Any = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or leaf not in place:
            raise ParamsError(f"override {override!r}: expected section.key=value with a key of params.yaml")
        place[leaf] = yaml.load(text)
    check_params(values, f"params.yaml with {' '.join(overrides)}" if overrides else "params.yaml")
