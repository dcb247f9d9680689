"""dvc.yaml against the code: what a stage depends on is what it imports; and imports run downwards only."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from conftest import ROOT
from imports import NOT_DEPENDENCIES, SOURCE, code_run_by, imported_modules
from pptsm.cli import STAGES
from pptsm.params import Params

GRAPH = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("stage", GRAPH)
def test_deps_name_exactly_the_code_that_the_stage_runs(stage: str) -> None:
    """Otherwise a change would retrain for nothing, or not retrain at all."""
    listed = [dep for dep in GRAPH[stage]["deps"] if dep.startswith("src/")]
    assert sorted(listed) == code_run_by(stage)


def test_graph_and_command_have_the_same_stages_in_the_same_order() -> None:
    """Section, stage and module carry one name."""
    assert list(GRAPH) == list(STAGES)
    for name, stage in GRAPH.items():
        assert stage["cmd"].startswith(f"pptsm {name} ")
        assert name in stage.get("params", [name])  # report depends on the whole of params.yaml
        assert name in {field.alias or key for key, field in Params.model_fields.items()}


@pytest.mark.parametrize("stage", GRAPH)
def test_every_parameter_that_a_stage_reads_is_one_of_its_params(stage: str) -> None:
    """`params.section` in the stage's own file must be hashed by DVC."""
    text = (SOURCE / "pptsm" / "stages" / f"{stage}.py").read_text()
    listed = {str(name).split(".")[0] for name in GRAPH[stage].get("params", [])}
    if "params.yaml" in GRAPH[stage]["deps"]:
        return
    for section in (field.alias or key for key, field in Params.model_fields.items()):
        if f"params.{section}" in text.replace("validate_", "validate").replace("params.yaml", ""):
            assert section in listed, f"{stage} reads {section}"


def test_the_seed_of_the_training_draws_and_deals_nothing() -> None:
    """Three seeds are three trainings on one dataset: no stage before them runs again."""
    assert {name for name, stage in GRAPH.items() if "seed" in stage.get("params", [])} == {"teacher", "student"}


LEVELS = [
    {"params", "presets", "errors", "console", "files", "processor", "workers"},
    {"data", "model"},
    {"ingest", "evaluation"},
    {"deploy", "training", "report"},
    {"stages", "doctor", "arrivals"},
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
        for module in imported_modules(file):
            other = module.split(".")[1] if "." in module else own
            assert level[other] <= level[own], f"{file.name} imports {module}, which lies above it"


def test_files_left_out_of_deps_exist() -> None:
    """The list of exceptions does not rot."""
    for name in NOT_DEPENDENCIES:
        assert (ROOT / name).is_file()


def test_stage_paths_stand_in_the_graph_only() -> None:
    """No stage's file names a data or report path (the default of `pptsm predict` is the one exception)."""
    for file in (SOURCE / "pptsm").rglob("*.py"):
        text = file.read_text()
        for path in ("data/index.csv", "data/frames", "models/teacher", "models/student", "reports/evaluation"):
            assert path not in text, f"{file} names {path}"


def test_data_metrics_report_and_prediction_work_without_paddle() -> None:
    """Prediction starts fast, and Great Expectations never meets Paddle's logging."""
    free = [*Path(SOURCE / "pptsm" / "data").glob("*.py"), *(SOURCE / "pptsm" / "report").glob("*.py")]
    free += [SOURCE / "pptsm" / name for name in ("evaluation/metrics.py", "deploy/predictor.py", "deploy/metadata.py")]
    for file in free:
        assert "import paddle" not in file.read_text(), file
        for module in imported_modules(file):
            assert not module.startswith(("pptsm.model", "pptsm.training")), f"{file.name} imports {module}"
