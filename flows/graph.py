"""What the flows know of the project: where it is, the stages of dvc.yaml, and the keys of params.yaml.

The graph itself is told nowhere but in dvc.yaml.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides, to_hydra_overrides
from hydra.errors import HydraException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from pptsm.errors import ParamsError
from pptsm.params import check_params, load_params

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


def check_overrides(overrides: list[str]) -> dict[str, Any]:
    """params.yaml with overrides, as DVC will write it into an experiment's copy, checked as a whole.

    Raises:
        ParamsError: params.yaml is wrong already; an override is no `key=value` in the syntax of `dvc exp run -S`,
            names an unknown key, stands for several values, or sets a wrong value.
    """
    source = ROOT / "params.yaml"
    load_params(source)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / source.name
        shutil.copyfile(source, copy)
        for override in overrides:
            try:
                if any(parsed.is_sweep_override() for parsed in to_hydra_overrides([override])):
                    raise ParamsError(f"override {override!r} stands for several values; flow `sweep` takes several.")
                apply_overrides(copy, [override])
            except (InvalidArgumentError, HydraException) as error:
                raise ParamsError(
                    f"override {override!r}: expected section.key=value with a key of params.yaml, and quotes around a "
                    f"""value with special characters, such as "report.title='a, b'" ({_first_line(error)})"""
                ) from None
        values: dict[str, Any] = YAML(typ="safe").load(copy.read_text(encoding="utf-8"))
    check_params(values, f"params.yaml with {' '.join(overrides)}" if overrides else "params.yaml")
    return values


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).splitlines()[0]
