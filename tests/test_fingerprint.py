"""The code that decides a result: what is in it, what is not, and that a stage runs no other."""

import ast
import hashlib
import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flows.graph import graph

from conftest import ROOT, run, write_params
from helpers.imports import SOURCE, imported_modules
from pptsm.params.reading import read_sections
from pptsm.runtime import fingerprint
from pptsm.runtime.errors import UserError
from pptsm.runtime.fingerprint import DECIDING, NOT_DECIDING, PLUMBING, of_files, of_stage, syntax_of

RUN = [stage for stage in graph() if stage != "code"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, whose files the fingerprint reads and a test may edit."""
    copy = shutil.copytree(SOURCE / "pptsm", tmp_path / "pptsm", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    for cached in (fingerprint._file_of, fingerprint._data_files, fingerprint._properties):
        cached.cache_clear()
        monkeypatch.setattr(fingerprint, cached.__name__, cached.__wrapped__)
    return copy


def changed_by(edit: Callable[[], object]) -> list[str]:
    """The stages whose code is another after an edit."""
    before = {stage: of_stage(stage) for stage in RUN}
    edit()
    return [stage for stage in RUN if of_stage(stage) != before[stage]]


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


TRAINED = ["teacher", "student", "baseline"]
COMPUTE = [*TRAINED, "export", "evaluate", "quantize", "evaluate_also", "explanations", "package"]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("video/scan.py", ["index"]),
        ("ingest/annotations/hmdb51.py", ["index"]),
        ("evaluation/tables.py", ["evaluate", "evaluate_also"]),
        ("evaluation/reliability.py", ["evaluate", "evaluate_also", "report"]),
        ("deploy/find_networks.py", ["also"]),
        ("presets/eval.yaml", ["also"]),
        ("training/loop.py", TRAINED),
        ("model/lcnet.py", [*TRAINED, "export", "evaluate", "evaluate_also"]),
        ("model/lite.py", [*TRAINED, "export", "evaluate", "evaluate_also"]),
        ("runtime/cores.py", COMPUTE),
        ("deploy/parity.py", ["export", "evaluate_also"]),
        ("distributed/ranks.py", [*TRAINED, "evaluate"]),
        ("distributed/launcher.py", []),
        ("report/page.py", ["report", "package"]),
        ("report/card.md", ["package"]),
        ("report/index.html", ["report"]),
        ("stages/teacher.py", ["teacher"]),
        ("commands/predict.py", []),
        ("stages/options.py", []),
    ],
)
def test_an_edit_changes_the_stages_that_run_the_file_and_no_others(
    package: Path, name: str, stages: list[str]
) -> None:
    """A comment changes none, nor does a docstring; a template has no comments."""
    file = package / name
    if file.suffix == ".py":
        assert changed_by(lambda: append(file, '\n# a comment\n\n\n"""A text."""\n')) == []
    assert changed_by(lambda: append(file, "\nX = 1\n")) == stages


def test_a_row_more_of_the_known_weights_changes_nothing_and_the_row_in_use_does(package: Path) -> None:
    """Where it is fetched from and what it must hash to; not what is said of it."""
    file, name = package / "weights/known_weights.yaml", "pptsm-r50-k400-uniform"
    before = of_stage("start@teacher", name)
    append(file, "another:\n  url: https://example.org/a.pdparams\n  note: of nobody\n")
    file.write_text(file.read_text().replace("PP-TSM, ResNet50-vd, uniform sampling", "better words"))
    assert of_stage("start@teacher", name) == before
    file.write_text(file.read_text().replace("ppTSM_k400_uniform.pdparams", "another.pdparams"))
    assert of_stage("start@teacher", name) != before
    assert of_stage("start@teacher", "own.pdparams") == of_stage("start@teacher")


def test_of_a_network_that_is_scored_all_that_is_known_counts(package: Path) -> None:
    """Its protocol too, by its name or by its file's; that of another network does not, nor for who starts from it."""
    file, name, renamed = (
        package / "weights/known_weights.yaml",
        "pptsm-r50-k400-uniform",
        "a/ppTSM_k400_uniform.pdparams",
    )
    before = [of_stage("also", name), of_stage("also", renamed)]
    others = [of_stage("also", "pptsm-r50-k400-dense"), of_stage("also"), of_stage("start@teacher", name)]
    text = file.read_text()
    file.write_text(text.replace("params: {clip: {aspect: distorted_2_1}}", "params: {clip: {aspect: kept}}", 1))
    assert before[0] != of_stage("also", name)
    assert before[1] != of_stage("also", renamed)
    assert others == [of_stage("also", "pptsm-r50-k400-dense"), of_stage("also"), of_stage("start@teacher", name)]


def test_a_property_of_the_parameters_counts_where_it_is_used(package: Path) -> None:
    """What checks the values decides nothing."""
    file = package / "params/schema.py"
    text = file.read_text()
    assert changed_by(lambda: file.write_text(text.replace("takes no more than", "has at most"))) == []
    assert changed_by(lambda: append(file, "\nX = 1\n")) == []
    assert changed_by(
        lambda: file.write_text(text.replace('return ["uniform", "dense"]', 'return ["dense", "uniform"]'))
    ) == ["evaluate"]


@pytest.mark.parametrize(
    ("library", "stages"),
    [
        ("av", [stage for stage in RUN if stage not in ("check", "start@teacher", "start@student", "also", "package")]),
        (
            "onnx",
            COMPUTE,
        ),  # what opens exported files lies beside what scores a network
        ("paddle2onnx", ["export", "evaluate_also"]),
        ("onnxruntime", COMPUTE),
        ("paddle", COMPUTE),
        ("jinja2", ["report", "package"]),
        ("great_expectations", ["validate", "validate_frames"]),
        ("typer", []),
        ("pebble", []),
    ],
)
def test_another_version_of_a_library_changes_the_stages_that_compute_with_it(
    monkeypatch: pytest.MonkeyPatch, library: str, stages: list[str]
) -> None:
    """Those alone; what only carries the work changes none."""
    distributions = DECIDING.get(library, (library,))
    known = importlib.metadata.version
    monkeypatch.setattr(fingerprint, "version", lambda name: "99" if name in distributions else known(name))
    after = {stage: of_stage(stage) for stage in RUN}
    monkeypatch.undo()
    assert [stage for stage in RUN if of_stage(stage) != after[stage]] == stages


def test_every_library_that_a_stage_imports_is_known_to_compute_or_not() -> None:
    """With a reason; and nothing is in both lists, or in one without being imported."""
    imported = set[str]()
    for file in (SOURCE / "pptsm").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    known = DECIDING.keys() | PLUMBING.keys()
    assert not DECIDING.keys() & PLUMBING.keys()
    assert known <= imported
    of_stages = set[str]()
    for stage in RUN:
        opened = {f"stages/{stage.partition('@')[0]}.py", *of_stage(stage)}
        for name in (name for name in opened if name.endswith(".py")):
            of_stages |= fingerprint._read(SOURCE / "pptsm" / name).libraries
    standard = set(sys.stdlib_module_names)
    assert of_stages - standard - known == set()


def test_imports_are_found_wherever_they_stand() -> None:
    """As the other reader of imports finds them; and no module is imported by a name made up at run time."""
    for file in (SOURCE / "pptsm").rglob("*.py"):
        found = {path for module in fingerprint._read(file).modules if (path := fingerprint._file_of(module))}
        for module in imported_modules(file):
            if "TYPE_CHECKING" not in file.read_text():
                assert fingerprint._file_of(module) in found, f"{file} imports {module}"
        assert "import_module(" not in file.read_text(), file
        assert "__import__(" not in file.read_text(), file


def test_files_that_decide_nothing_exist() -> None:
    """The list does not rot."""
    for name in NOT_DECIDING:
        assert (SOURCE / "pptsm" / name).is_file()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1", "x = 1  # one", True),
        ("x = (1)", "x = 1", True),
        ('def f():\n    "Says."\n    return 1', "def f():\n    return 1", True),
        ("class A:\n    x: int\n    'What x is.'", "class A:\n    x: int", True),
        ("if TYPE_CHECKING:\n    import a\nx = 1", "x = 1", True),
        ("x = 1", "x = 1.0", False),
        ("x = 1", "x = True", False),
        ("x = 'a'", "x = b'a'", False),
        ("if a:\n    b\n    c", "if a:\n    b\nc", False),
        ("if a:\n    b\nelse:\n    c", "if a:\n    b\n    c", False),
        ("def f(a, b=1): pass", "def f(a, *, b=1): pass", False),
        ("x = 'text'", "x = 'another'", False),
        ("f('text')", "f('another')", False),
        ("x = a - b", "x = b - a", False),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", "import b", False),
    ],
)
def test_syntax_is_all_that_runs_and_nothing_else(one: str, other: str, same: bool) -> None:
    """Comments, brackets and docstrings are not; values with their types, order and nesting are."""
    assert (syntax_of(one) == syntax_of(other)) is same


def test_a_stage_refuses_to_run_other_code_than_its_dependency_says(tmp_path: Path) -> None:
    """With what differs and the remedy, before it computes; by the command as DVC types it."""
    write_params(tmp_path / "params.yaml")
    run("pptsm", "code", "--out", "code", cwd=tmp_path)
    file = tmp_path / "code" / "motion.txt"
    text = file.read_text()
    assert sorted(each.stem for each in (tmp_path / "code").iterdir()) == sorted(RUN)
    for name in RUN:
        fingerprint.require(name, tmp_path / "code" / f"{name}.txt", read_sections(tmp_path / "params.yaml"))
    file.write_text(text.replace(f"{importlib.metadata.version('av')} av", "1.0 av"))
    done = run("pptsm", "motion", "--out", "drawn", "--code", file, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"differs in av (1.0 there, {importlib.metadata.version('av')} here)" in done.stderr
    assert "dvc repro --force --single-item code" in done.stderr
    assert not (tmp_path / "drawn").exists()
    for damaged in (b"", b"\xff", b"one\n"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"dvc repro --force"):
            fingerprint.require("motion", file, read_sections(tmp_path / "params.yaml"))


def test_what_is_the_same_as_before_is_left_as_it_is(tmp_path: Path) -> None:
    """So DVC hashes nothing anew; a file of a stage that is no more goes."""
    write_params(tmp_path / "params.yaml")
    run("pptsm", "code", "--out", "code", cwd=tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "code").iterdir()}
    shutil.copy(tmp_path / "code" / "check.txt", tmp_path / "code" / "gone.txt")  # as after a change of versions
    (tmp_path / "dvc.yaml").write_text("stages: {code: {cmd: x, outs: [code/check.txt: {persist: true}]}}")
    run("pptsm", "code", "--out", "code", cwd=tmp_path)
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "code").iterdir()} == before
    (tmp_path / "code" / "mine.txt").write_text("what nobody should remove\n")
    done = run("pptsm", "code", "--out", "code", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "would be replaced with all that is in it" in done.stderr
    assert (tmp_path / "code" / "mine.txt").exists()


def test_all_stages_take_less_than_the_time_of_a_second_look(tmp_path: Path) -> None:
    """Each file is parsed once, whatever number of stages runs it."""
    program = "import time; from pptsm.runtime import fingerprint as f; t = time.process_time(); "
    program += f"[f.of_stage(stage) for stage in {RUN}]; print(time.process_time() - t); "
    program += "print(f._read_once.cache_info().misses, f._tree.cache_info().misses)"
    done = run("python", "-c", program, cwd=ROOT)
    took, counted = done.stdout.splitlines()
    parsed = [int(number) for number in counted.split()]
    files = {name for stage in RUN for name in of_stage(stage) if name.endswith(".py")}
    assert len(files) <= parsed[0] <= len(files) + 20  # packages without code beside them
    assert parsed[1] == parsed[0] + 1  # the parameters
    assert float(took) < 5  # 0.25 s alone


def test_files_of_the_package_by_name() -> None:
    """A name that is given counts whatever it is: a cluster compares what carries its jobs."""
    assert "runtime/pool.py" in of_files("runtime/pool.py")
    assert "runtime/pool.py" not in of_files("frames/extract.py")


# What later versions of Python parse otherwise, or give more fields: names of types, texts in texts, patterns.
SYNTAX = """
'''A docstring.'''
from typing import Generic

class Box(Generic[T], metaclass=Meta):
    size: int = 3

    @property
    async def half(self, *, by: float = 0.5) -> str | None:
        '''Another.'''
        match self.size:
            case {"a": [first, *_]} | Box(size=first) if first:
                return f"{first!r:>{self.size}} {'x' + 'y'!s} {{}} {first:} {first:{self.size}}" "z"
        try:
            return await (lambda n, /: n ** 2)(by) if (m := by) else b"\\x00"
        except* ValueError as error:
            raise error from None
"""


def test_both_pythons_see_the_same_syntax() -> None:
    """The key of a result is the same on each: what was trained on one is not trained anew on the other."""
    assert hashlib.sha256(syntax_of(SYNTAX).encode()).hexdigest()[:16] == "c2a509f3a8cab7b2"
