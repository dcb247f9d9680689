"""dvc.yaml against the code: what a stage depends on is what it imports; and imports run downwards only."""

import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from conftest import ROOT
from imports import NOT_DEPENDENCIES, SOURCE, code_run_by, imported_modules, path_of
from pptsm.cli import STAGES
from pptsm.params import Index, Params
from pptsm.training.state import code_of

GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("stage", GRAPH)
def test_deps_name_exactly_the_code_that_the_stage_runs(stage: str) -> None:
    """Otherwise a change would retrain for nothing, or not retrain at all."""
    listed = [dep for dep in GRAPH[stage]["deps"] if dep.startswith("src/")]
    assert sorted(listed) == code_run_by(stage)


def test_graph_and_command_have_the_same_stages_in_the_same_order() -> None:
    """Section, stage and module carry one name; of a start it is that of its role, of the baseline the
    student's, of what checks the frames that of the validation."""
    assert list(GRAPH) == list(STAGES)
    for name, stage in GRAPH.items():
        assert stage["cmd"].startswith(f"pptsm {name} ")
        section = "student" if name == "baseline" else name.removesuffix("_start").removesuffix("_frames")
        if "params.yaml" in stage["deps"]:  # the whole file is its section
            continue
        assert section in {str(entry).split(".")[0] for entry in stage["params"]}
        assert section in {field.alias or key for key, field in Params.model_fields.items()}


@pytest.mark.parametrize("stage", GRAPH)
def test_every_parameter_that_a_stage_reads_is_one_of_its_params(stage: str) -> None:
    """`params.section` in the stage's own file must be hashed by DVC."""
    text = (SOURCE / "pptsm" / "stages" / f"{stage}.py").read_text()
    listed = {str(name).split(".")[0] for name in GRAPH[stage].get("params", [])}
    if "params.yaml" in GRAPH[stage]["deps"]:
        return
    for section in (field.alias or key for key, field in Params.model_fields.items()):
        if section == "compute":  # changes no result
            continue
        if f"params.{section}" in text.replace("validate_", "validate").replace("params.yaml", ""):
            assert section in listed, f"{stage} reads {section}"


def test_lists_are_dependencies_by_their_content() -> None:
    """Each file that section index may name: an edited line makes the index run, not another name alone."""
    lists = [name for name, field in Index.model_fields.items() if field.annotation == str | None]
    assert len(lists) == 4
    assert set(GRAPH["index"]["deps"]) >= {f"${{index.{name}}}" for name in lists}


def test_no_stage_runs_again_for_how_fast_to_compute() -> None:
    """Section compute changes no result."""
    assert not [name for name, stage in GRAPH.items() if any("compute" in str(p) for p in stage.get("params", []))]


@pytest.mark.parametrize("role", ["teacher", "student", "baseline"])
def test_a_state_is_dropped_for_the_code_for_which_dvc_trains_again_and_no_other(role: str) -> None:
    """The key of a half-trained state hashes every file below the deps of the stage, as DVC does."""
    ignored = {"__pycache__"}
    files = set()
    for dep in (ROOT / name for name in GRAPH[role]["deps"] if name.startswith("src/")):
        below = [dep] if dep.is_file() else [path for path in dep.rglob("*") if path.is_file()]
        files |= {path for path in below if not ignored & set(path.parts)}
    assert set(code_of(role)) == {path.relative_to(SOURCE / "pptsm").as_posix() for path in files} | {"Paddle"}


def test_the_seed_of_the_training_draws_and_deals_nothing() -> None:
    """Three seeds are three trainings on one dataset: no stage before them runs again."""
    seeded = [name for name, stage in GRAPH.items() if "seed" in stage.get("params", [])]
    assert seeded == ["teacher", "student", "baseline", "report"]


NAMES = {"pptsm.data.names", "pptsm.model.names"}  # below everything: they import nothing

LEVELS = [
    {"params", "errors", "console", "files", "processor", "workers", "cluster", "prefect_access"},
    {"data", "model"},
    {"ingest", "evaluation"},
    {"deploy", "serving", "training", "report"},
    {"stages", "doctor", "presets", "arrivals", "prefect_names"},
    {"commands"},
    {"cli"},
]


def test_imports_run_downwards_only() -> None:
    """Nobody imports a wing above their own."""
    level = {name: number for number, names in enumerate(LEVELS) for name in names}
    for file in sorted((SOURCE / "pptsm").rglob("*.py")):
        own = file.relative_to(SOURCE / "pptsm").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for module in imported_modules(file) - NAMES:
            other = module.split(".")[1] if "." in module else own
            assert level[other] <= level[own], f"{file.name} imports {module}, which lies above it"


def test_modules_of_names_import_nothing() -> None:
    """So that params.yaml is read without Paddle, and by every wing."""
    for module in NAMES:
        file = path_of(module)
        assert file is not None
        assert [line for line in file.read_text().splitlines() if "import" in line][1:] == [
            "from typing import Literal"
        ]


def test_files_left_out_of_deps_exist() -> None:
    """The list of exceptions does not rot."""
    for name in NOT_DEPENDENCIES:
        assert (ROOT / name).is_file()


def test_stage_paths_stand_in_the_graph_only() -> None:
    """No stage's file names a data or report path; what a person types has defaults, in one file."""
    for file in set((SOURCE / "pptsm").rglob("*.py")) - {SOURCE / "pptsm" / "commands.py"}:
        text = file.read_text()
        for path in ("data/index.csv", "data/frames", "models/teacher", "models/student", "reports/evaluation"):
            assert path not in text, f"{file} names {path}"


def test_only_training_and_conversion_import_paddle() -> None:
    """Each other module is imported where there is no Paddle: prediction starts fast, and Great Expectations never
    meets Paddle's logging."""
    with_paddle = ("pptsm.model.", "pptsm.training.", "pptsm.data.loading", "pptsm.deploy.convert", "pptsm.doctor")
    files = sorted((SOURCE / "pptsm").rglob("*.py"))
    names = [".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in files if file.stem != "__init__"]
    free = [name for name in names if not name.startswith(with_paddle)]
    assert "pptsm.evaluation.scoring" in free
    program = f"""
import importlib, sys
sys.modules["paddle"] = None  # importing it fails from now on
for name in {free}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stopwatch_is_no_part_of_the_evaluation() -> None:
    """What gate and conversion measure may change without scoring again; what is served may not."""
    assert "src/pptsm/deploy" in code_run_by("export")
    assert "src/pptsm/deploy" not in code_run_by("evaluate")
    assert "src/pptsm/serving" in code_run_by("evaluate")


def test_data_metrics_report_and_prediction_do_without_networks() -> None:
    """Not even inside a function do they reach for Paddle's part of the package."""
    wings = ("data", "report", "serving")
    free = [file for wing in wings for file in (SOURCE / "pptsm" / wing).glob("*.py")]
    for file in [*free, SOURCE / "pptsm" / "evaluation" / "metrics.py"]:
        assert file.name == "loading.py" or "import paddle" not in file.read_text(), file  # its batches are tensors
        for module in imported_modules(file) - NAMES:
            assert not module.startswith(("pptsm.model", "pptsm.training")), f"{file.name} imports {module}"
