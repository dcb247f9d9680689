"""dvc.yaml's params against what each stage really reads of params.yaml in a tiny run."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from ruamel.yaml import YAML

from conftest import ROOT, TINY, write_params
from pptsm.cli import app
from pptsm.params.schema import Params, Section

pytestmark = pytest.mark.slow

GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
SECTIONS: dict[type[BaseModel], str] = {
    field.annotation: field.alias or name
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
SMALLEST: dict[str, Any] = {"teacher": {"epochs": 1}, "student": {"epochs": 1}, "training": {"warmup_epochs": 0}}
# A second run of a stage, where some of its keys are read under other settings only.
AGAIN: dict[str, dict[str, Any]] = {
    "validate": {"student": {"epochs": 0, "start": "any"}},
    "validate_frames": {"frames": {"source": "archive"}},
    "student": {"student": {"distillation": "mutual", "temperature": 1.0}, "training": {"label_smoothing": 0.0}},
    "baseline": {"student": {"baseline": True}},
    "export": {},  # with an index that has no validation split
}


def keys_in(section: type[BaseModel]) -> set[str]:
    """All keys of a section, or of the whole file, as DVC names them."""
    keys = set()
    for name, field in section.model_fields.items():
        if field.annotation in SECTIONS:
            keys |= keys_in(field.annotation)
        else:
            keys.add(f"{SECTIONS[section]}.{name}" if section in SECTIONS else name)
    return keys


def under(entry: str) -> set[str]:
    """The keys that an entry of dvc.yaml's params covers: a whole section, or one key."""
    return {key for key in keys_in(Params) if key == entry or key.startswith(f"{entry}.")}


@contextmanager
def reads_recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Every key of params.yaml that code in this process asks for; what checks the file itself does not count."""
    reads: set[str] = set()
    checking = False

    def get(self: Section, name: str) -> Any:
        fields = type.__getattribute__(type(self), "model_fields")
        if not checking and name in fields and fields[name].annotation not in SECTIONS:
            reads.add(f"{SECTIONS[type(self)]}.{name}" if type(self) in SECTIONS else name)
        return object.__getattribute__(self, name)

    def dump(self: Section, *, include: set[str] | None = None, exclude: set[str] | None = None) -> dict[str, Any]:
        for name in set(include or type(self).model_fields) - (exclude or set()):
            reads.update(under(name if isinstance(self, Params) else f"{SECTIONS[type(self)]}.{name}"))
        return BaseModel.model_dump(self, include=include, exclude=exclude)

    def validate(values: Any) -> Params:
        nonlocal checking
        checking = True
        try:
            return Params.__pydantic_validator__.validate_python(values)  # type: ignore[no-any-return]
        finally:
            checking = False

    with monkeypatch.context() as patch:
        patch.setattr(Section, "__getattribute__", get)
        patch.setattr(Section, "model_dump", dump)
        patch.setattr(Params, "model_validate", validate)
        yield reads


@pytest.fixture(scope="module")
def reads_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """What each stage reads while the commands of dvc.yaml run one after another, in this process."""
    command, found = typer.main.get_command(app), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reads"))
        patch.setenv("GX_ANALYTICS_ENABLED", "false")
        settings, index = [TINY, SMALLEST], Path("data/index.csv")
        for stage, entry in GRAPH.items():
            if stage not in STAGES:
                continue  # they take the whole of params.yaml, or the names of weights
            with reads_recorded(patch) as found[stage]:
                for changes in [{}] + ([AGAIN[stage]] if stage in AGAIN else []):
                    write_params(Path("params.yaml"), *settings, changes)
                    command.main(args=shlex.split(entry["cmd"])[1:], standalone_mode=False)
                    if stage == "export":
                        index.write_text(index.read_text().replace(",val,", ",train,"))
            if stage == "frames":  # from here on straight from the videos, whose folder is a parameter
                settings.append({"frames": {"source": "video"}})
        yield found


STAGES = [stage for stage in GRAPH if stage not in ("code", "check", "report")]


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_reads_is_among_its_params(stage: str, reads_of: dict[str, set[str]]) -> None:
    """Otherwise DVC would call its outputs up to date after the value has changed.

    Section compute changes none; nor does the limit of a decoder that hangs, but in the index, where it makes a row.
    """
    changes_none = under("compute") | (set() if stage == "index" else {"index.probe_timeout_sec"})
    listed = changes_none.union(*map(under, GRAPH[stage]["params"]))
    assert reads_of[stage] - listed == set()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_lists_it_reads(stage: str, reads_of: dict[str, set[str]]) -> None:
    """Otherwise a change would run it again for nothing; of a section that is listed whole, some key is read."""
    for entry in GRAPH[stage]["params"]:
        assert under(entry), f"{entry} is no key of params.yaml"
        with_a_start = {"student.min_coverage"}  # read where there are weights to start from, which this run has not
        assert under(entry) & (reads_of[stage] | with_a_start), f"{stage} never reads {entry}"


def test_the_report_depends_on_all_that_decides() -> None:
    """It shows params.yaml, so its reads tell nothing; section compute is not shown."""
    assert set(GRAPH["report"]["params"]) == {field.alias or name for name, field in Params.model_fields.items()} - {
        "compute"
    }
