"""dvc.yaml against the code: what a stage depends on is what it imports; and imports run downwards only."""

import subprocess
import sys
import tomllib

import pytest
from flows.graph import graph

from conftest import ROOT
from helpers.imports import SOURCE, imported_modules
from pptsm.cli import STAGES
from pptsm.params.schema import Index, Params

GRAPH = graph()


def test_every_stage_depends_on_its_own_code_and_on_no_source_file() -> None:
    """Stage `code` writes one file for each, from the source; the stage is given that file too."""
    written = [next(iter(out)) for out in GRAPH["code"]["outs"]]
    assert written == [f"data/code/{stage}.txt" for stage in GRAPH if stage != "code"]
    for name, stage in GRAPH.items():
        about_code = [dep for dep in stage["deps"] if dep.startswith(("src", "data/code"))]
        assert about_code == (["src/pptsm"] if name == "code" else [f"data/code/{name}.txt"])
        assert name == "code" or f" --code data/code/{name}.txt" in stage["cmd"]


def test_what_a_stage_of_code_writes_is_kept_by_no_run_cache() -> None:
    """The versions of libraries are none of its dependencies: what was written for others must not come back."""
    for out in GRAPH["code"]["outs"]:
        assert next(iter(out.values())) == {"cache": False, "persist": True}


def test_graph_and_command_have_the_same_stages_in_the_same_order() -> None:
    """Section, stage and module carry one name; the stage start has the section of its role, the baseline the
    student's, what checks the frames that of the validation."""
    assert list(dict.fromkeys(name.partition("@")[0] for name in GRAPH)) == list(STAGES)
    for name, stage in GRAPH.items():
        command, _, item = name.partition("@")
        assert stage["cmd"].startswith(f"pptsm {command} {f'--role {item} ' if item else ''}")
        if name == "code":
            continue
        others = {
            "baseline": "student",
            "package": "report",
            "also": "evaluate",
            "evaluate_also": "evaluate",
        }  # whose values are in another's section
        section = others.get(name) or item or command.removesuffix("_frames")
        if "params.yaml" in stage["deps"]:  # the whole file is its section
            continue
        assert section in {str(entry).split(".")[0] for entry in stage["params"]}
        assert section in {field.alias or key for key, field in Params.model_fields.items()}


@pytest.mark.parametrize("stage", GRAPH)
def test_every_parameter_that_a_stage_reads_is_one_of_its_params(stage: str) -> None:
    """`params.section` in the stage's own file must be hashed by DVC."""
    text = (SOURCE / "pptsm" / "stages" / f"{stage.partition('@')[0]}.py").read_text()
    listed = {str(name).split(".")[0] for name in GRAPH[stage].get("params", [])}
    if "params.yaml" in GRAPH[stage]["deps"]:
        return
    for section in (field.alias or key for key, field in Params.model_fields.items()):
        if section == "compute":  # changes no result
            continue
        if "@" in stage and section in ("teacher", "student"):  # one of them, by its option --role
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


def test_the_seed_of_the_training_draws_and_deals_nothing() -> None:
    """Three seeds are three trainings on one dataset: no stage before them runs again."""
    seeded = [name for name, stage in GRAPH.items() if "seed" in stage.get("params", [])]
    assert seeded == ["teacher", "student", "baseline", "report"]


def test_imports_run_downwards_only() -> None:
    """The layers that pyproject.toml names: nobody imports a package above their own."""
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_has_its_layer() -> None:
    """One that no layer names could import anything. Beside the packages there lie no modules but the command's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    named = [name.strip() for layer in contract["layers"] for name in layer.split(":")]
    found = [
        path for path in (SOURCE / "pptsm").iterdir() if path.name not in ("__pycache__", "py.typed", "__init__.py")
    ]
    assert sorted(named) == sorted([f"pptsm.{path.stem}" for path in found] + ["flows", "benchmarks"])
    assert sorted(path.name for path in found if path.is_file()) == ["__main__.py", "cli.py"]


def test_words_of_parameters_import_nothing() -> None:
    """So that they are read without Paddle, and by every package."""
    lines = (SOURCE / "pptsm/params/choices.py").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("import", "from"))] == ["from typing import Literal"]


def test_stage_paths_stand_in_the_graph_only() -> None:
    """No stage's file names a data or report path; what a person types has defaults, in the file of its command.

    An example in a docstring may name one.
    """
    for file in set((SOURCE / "pptsm").rglob("*.py")) - set((SOURCE / "pptsm" / "commands").iterdir()):
        lines = file.read_text().splitlines()
        text = "\n".join(line for line in lines if not line.lstrip().startswith(">>>"))
        for path in ("data/index.csv", "data/frames", "models/teacher", "models/student", "reports/evaluation"):
            assert path not in text, f"{file} names {path}"


def test_only_training_and_conversion_import_paddle() -> None:
    """Each other module is imported where there is no Paddle: prediction starts fast, and Great Expectations never
    meets Paddle's logging."""
    with_paddle = (
        "pptsm.model.",
        "pptsm.training.",
        "pptsm.crossval.run",
        "pptsm.distributed.",
        "pptsm.weights.card",
        "pptsm.weights.loading",
        "pptsm.data.loader",
        "pptsm.deploy.convert",
        "pptsm.deploy.export",
        "pptsm.deploy.published",
        "pptsm.deploy.others",
        "pptsm.evaluation.run",
    )
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


def test_data_metrics_report_and_prediction_do_without_networks() -> None:
    """Not even inside a function do they reach for Paddle's part of the package."""
    packages = ("data", "report", "serving")
    free = [file for name in packages for file in (SOURCE / "pptsm" / name).glob("*.py")]
    for file in [*free, SOURCE / "pptsm" / "evaluation" / "metrics.py"]:
        assert file.name == "loader.py" or "import paddle" not in file.read_text(), file  # its batches are tensors
        for module in imported_modules(file):
            assert not module.startswith(("pptsm.model.", "pptsm.weights", "pptsm.training")), (
                f"{file.name} imports {module}"
            )
