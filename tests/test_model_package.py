"""The folder to hand on: its card, Triton's configuration, its model with the calibration, and checksums."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from conftest import good_index, write_params
from helpers.exported import CLIP, LABELS, exported
from pptsm.data.table import save_index, save_labels
from pptsm.evaluation.calibrate import calibrate
from pptsm.report.model_card import model_card, triton_config
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.predictor import Predictor
from pptsm.stages import package
from test_calibration import drawn

ODD = ["a|b", '"quoted": yes', "<script>", "# no heading", "---", "$x$", "ünï 走"]
FIGURES = {
    "videos": 60, "groups": 6, "classes": 7, "top1": 0.5625, "top1_low": 0.43, "top1_high": 0.68, "top5": 0.9,
    "top1_low_by_group": 0.31, "top1_high_by_group": 0.75, "mean_class_accuracy": 0.5, "loss": 0.7,
    "macro_f1": 0.5, "calibration_error": 0.1,
    "chance": 0.525, "largest_class": 0.525, "above_chance": False,
    "served_videos": 60, "served_top1": 0.55, "served_agreement": 0.98,
}  # fmt: skip
EXPORTED = {
    "agreement": {"clips": 4, "max_relative_difference": 1e-6}, "parameters": 1000, "macs_per_view": 1e6,
    "onnx_bytes": 1000, "latency_ms_per_view": 1.5, "revision": "r", "computed_with": "x",
}  # fmt: skip
UNCALIBRATED = {"calibration": None, "reason": "there is no validation split", "reached": None}
ROW = {"runtime": "onnxruntime", "precision": "int8", "difference": 0.0, "passed": True, "reason": ""}
ROW |= dict.fromkeys(("top1", "top1_low", "top1_high", "agreement"), 1.0)
ROW |= dict.fromkeys(("ms_p50", "ms_p95", "clips_per_sec", "start_sec", "size_mb"), 1.5)
ROW |= {"difference_low": None, "difference_high": None, "top1": 0.5, "agreement": 0.99, "ms_p50": 2.5}
RUNTIMES = {"machine": "a", "sampling": "uniform", "videos": 2, "rows": [ROW]}


def values(**changes: Any) -> dict[str, Any]:
    found = {
        "title": 'My "best": model | <b>', "root": "videos", "split": "test", "sampling": "uniform", "labels": ODD,
        "splits": {"train": 2, "val": 2, "test": 2}, "groups": 3, "metrics": {"uniform": FIGURES}, "best": FIGURES,
        "exported": EXPORTED, "clip": CLIP, "revision": "student-0", "warning": "NOT ABOVE <CHANCE>",
        "calibrated": UNCALIBRATED, "runtimes": [ROW], "licence": "Apache-2.0",
    }  # fmt: skip
    return found | changes


def test_the_head_is_yaml_and_has_the_measured_figures() -> None:
    """As Hugging Face reads it, whatever is in the title."""
    _, head, text = model_card(values()).split("---\n", 2)
    found = YAML(typ="safe").load(head)
    assert (found["license"], found["library_name"], found["pipeline_tag"]) == (
        "apache-2.0",
        "onnx",
        "video-classification",
    )
    (entry,) = found["model-index"]
    assert entry["name"] == 'My "best": model | <b>'
    (result,) = entry["results"]
    assert result["dataset"] == {"name": "videos", "type": "videos", "split": "test"}
    assert [(each["type"], each["value"]) for each in result["metrics"]] == [("accuracy", 0.5625), ("accuracy", 0.9)]
    assert "56.25, not above chance | 43.0–68.0 | 31.0–75.0 |" in text
    assert "| onnxruntime | int8 | 50.00 | 99.00 | 2.50 | yes |" in text
    assert "not calibrated: there is no validation split" in text


def test_no_text_of_a_user_is_markup() -> None:
    """Neither in the title nor in classes nor in the warning."""
    text = model_card(values()).split("---\n", 2)[2]
    assert "<b>" not in text
    assert "<script>" not in text
    assert "NOT ABOVE &lt;CHANCE&gt;" in text
    assert r"0. a\|b" in text
    assert r"3. \# no heading" in text


def test_triton_reads_the_configuration() -> None:
    """By Triton's own definition of the file."""
    service = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    found = text_format.Parse(triton_config((8, 3, 56, 56), 8), service.ModelConfig())
    assert (found.backend, list(found.input[0].dims), list(found.output[0].dims)) == (
        "onnxruntime",
        [8, 3, 56, 56],
        [8],
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stage reads."""
    monkeypatch.chdir(tmp_path)
    write_params(Path("params.yaml"), {"index": {"root": "/home/me/videos"}})
    table = good_index()
    save_index(table, Path("index.csv"))
    save_labels(["jump", "run"], Path("labels.txt"))
    Path("export").mkdir()
    exported(Path("export"))
    Path("evaluation").mkdir()
    made = json.loads(calibrate(drawn(12, 6, len(LABELS), 4), None, "uniform", chose=False).to_json())
    calibrated = {"calibration": made, "reason": None, "reached": {"coverages": [], "false_alarms": None}}
    Path("evaluation/calibration.json").write_text(json.dumps(calibrated))
    Path("evaluation/metrics.json").write_text(json.dumps({"student": {"uniform": FIGURES}}))
    Path("export.json").write_text(json.dumps(EXPORTED))
    return tmp_path


def run(**more: Path) -> None:
    files = [Path(name) for name in ("index.csv", "labels.txt", "export", "evaluation", "export.json")]
    package.run(*files, Path("package"), **more)


def test_the_package_is_whole(project: Path) -> None:
    """Checksums hold, the model carries its calibration, and the card does not say where the videos lay."""
    run()
    assert {file.name for file in Path("package").glob("[!.]*")} == {
        "README.md", "config.pbtxt", "labels.txt", "model.onnx", "SHA256SUMS",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd="package", check=True, capture_output=True)
    said = ModelMetadata.of_file(Path("package/model.onnx"))
    assert said.calibration is not None
    assert said.calibration.levels.groups == 12
    assert Predictor(Path("package/model.onnx")).has_digest
    assert "/home/me" not in Path("package/README.md").read_text()


def test_what_quantize_made_is_taken_too(project: Path) -> None:
    """The file of int8 if it was kept, with the calibration, and the table of runtimes."""
    Path("quantized").mkdir()
    Path("runtimes.json").write_text(json.dumps(RUNTIMES))
    run(quantized=Path("quantized"), runtimes=Path("runtimes.json"))
    assert not Path("package/model.int8.onnx").exists()
    assert "| int8 |" in Path("package/README.md").read_text()
    Path("quantized/model.int8.onnx").write_bytes(Path("export/model.onnx").read_bytes())
    run(quantized=Path("quantized"), runtimes=Path("runtimes.json"))
    assert ModelMetadata.of_file(Path("package/model.int8.onnx")).calibration is not None
    assert "model.int8.onnx" in Path("package/SHA256SUMS").read_text()


@pytest.mark.parametrize("content", ["{", '{"calibration": {"version": 1}, "reason": null, "reached": null}'])
def test_a_damaged_calibration_leaves_the_package_there_was(project: Path, content: str) -> None:
    run()
    before = Path("package/SHA256SUMS").read_text()
    Path("evaluation/calibration.json").write_text(content)
    with pytest.raises(UserError, match="calibration"):
        run()
    assert Path("package/SHA256SUMS").read_text() == before
