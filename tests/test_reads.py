"""dvc.yaml's params against what each stage really reads of params.yaml in a tiny run."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from flows.graph import graph
from pydantic import BaseModel

from conftest import TINY, write_params
from pptsm.cli import app
from pptsm.params.schema import Params
from pptsm.params.section import Section
from pptsm.training import workload

pytestmark = pytest.mark.slow

GRAPH = graph()
SMALLEST: dict[str, Any] = {"teacher": {"epochs": 1}, "student": {"epochs": 1}, "training": {"warmup_epochs": 0}}
# A second run of a stage, where some of its keys are read under other settings only.
AGAIN: dict[str, dict[str, Any]] = {
    "validate": {"student": {"epochs": 0, "start": {"weights": "any"}}},
    "validate_frames": {"frames": {"source": "archive"}},
    "student": {
        "student": {"distillation": {"kind": "mutual", "temperature": 1.0}},
        "training": {"label_smoothing": 0.0},
    },
    "baseline": {"student": {"baseline": True}},
    "export": {},  # with an index that has no validation split
    "also": {"evaluate": {"also": ["models/export/teacher.onnx", "models/teacher"]}},
}


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def keys_in(section: type[Section], prefix: str = "") -> set[str]:
    """All keys of a section and of those in it, or of the whole file, as DVC names them."""
    keys = set()
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        keys |= keys_in(field.annotation, f"{key}.") if is_section(field.annotation) else {key}  # type: ignore[arg-type]
    return keys


def under(entry: str) -> set[str]:
    """The keys that an entry of dvc.yaml's params covers: a whole section, or one key."""
    return {key for key in keys_in(Params) if key == entry or key.startswith(f"{entry}.")}


def sections_in(section: Section, prefix: str = "") -> dict[str, Section]:
    """This section and all in it, each under the beginning of its keys."""
    found = {prefix: section}
    for name, field in type(section).model_fields.items():
        if is_section(field.annotation):
            found |= sections_in(object.__getattribute__(section, name), f"{prefix}{field.alias or name}.")
    return found


def says_the_time() -> bool:
    """Whether what reads a key only reckons how long trainings will take: a stage says that of later ones, too."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == workload.__file__:
            return True
    return False


@contextmanager
def reads_recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Every key of params.yaml that code in this process asks for; what checks the file itself does not count."""
    reads: set[str] = set()
    known: list[tuple[str, Section]] = []  # two roles have sections of one class, so that each object counts
    checking = False

    def prefix_of(section: Section) -> str | None:
        same = (prefix for prefix, one in known if one is section)
        alike = (prefix for prefix, one in known if type(one) is type(section))  # a changed copy
        return next(same, next(alike, None))  # None: of a card

    def get(self: Section, name: str) -> Any:
        fields = type.__getattribute__(type(self), "model_fields")
        counts = not checking and name in fields and not is_section(fields[name].annotation) and not says_the_time()
        if counts and (prefix := prefix_of(self)) is not None:
            reads.add(f"{prefix}{fields[name].alias or name}")
        return object.__getattribute__(self, name)

    def dump(self: Section, *, include: set[str] | None = None, exclude: set[str] | None = None) -> dict[str, Any]:
        if not says_the_time() and (prefix := prefix_of(self)) is not None:
            for name in set(include or type(self).model_fields) - (exclude or set()):
                reads.update(under(f"{prefix}{name}"))
        return BaseModel.model_dump(self, include=include, exclude=exclude)

    def validate(values: Any) -> Params:
        nonlocal checking
        checking = True
        try:
            params: Params = Params.__pydantic_validator__.validate_python(values)
            known[:0] = sections_in(params).items()
            return params
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
        with_a_start = {"student.start.min_coverage"}  # read only where there are weights to start from
        assert under(entry) & (reads_of[stage] | with_a_start), f"{stage} never reads {entry}"


def test_the_report_depends_on_all_that_decides() -> None:
    """It shows params.yaml, so its reads tell nothing; section compute is not shown."""
    assert set(GRAPH["report"]["params"]) == {field.alias or name for name, field in Params.model_fields.items()} - {
        "compute"
    }
