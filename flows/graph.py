"""What the flows know of dvc.yaml, the only place of the graph: stages, their order, and what `meta` says."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pptsm.experiments.graph import stages_at
from pptsm.runtime.errors import ParamsError

ROOT = Path(__file__).resolve().parent.parent


def graph() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml by name, in the order in which they need each other."""
    return stages_at(ROOT)


def said_of(stage: str, word: str) -> Any:
    """What dvc.yaml's `meta` says of a stage under a word; None where it says nothing."""
    return graph()[stage].get("meta", {}).get(word)


def _known(name: str) -> str:
    if name not in graph():
        raise ValueError(f"there is no stage {name!r}; dvc.yaml has {', '.join(graph())}")
    return name


# the list of names makes a drop-down menu of the parameter
StageName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(graph())})]


class Stages(BaseModel):
    """A range of stages, both ends included."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)

    first: StageName | None = Field(default=None, alias="from", description="Stage to begin with.")
    last: StageName | None = Field(default=None, alias="to", description="Stage to end with.")

    def names(self) -> list[str]:
        """The stages of the range, in order; before them what dvc.yaml says comes first whatever is run.

        Raises:
            ParamsError: it ends before it begins.
        """
        known = list(graph())
        chosen = known[known.index(self.first or known[0]) : known.index(self.last or known[-1]) + 1]
        if not chosen:
            raise ParamsError(f"stages: {self.first!r} comes after {self.last!r}; the order is {', '.join(known)}")
        return [name for name in known if name in chosen or said_of(name, "first")]


def page_of(path: str, experiment: str | None) -> Path:
    """Where an HTML page of the graph lies: in its place, or that of an experiment below reports/experiments."""
    return ROOT / "reports/experiments" / experiment / Path(path).name if experiment else ROOT / path
