"""Files that a stage reads and another wrote: missing or damaged, each is a sentence, whichever command meets it."""

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from flows.graph import graph
from typer.testing import CliRunner

from conftest import ROOT, good_index, moving_square, params_with, write_params
from pptsm.cli import app
from pptsm.data.spec import clip_spec
from pptsm.data.table import save_index, save_labels
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.evaluation.tables import class_rows, metric_values, prediction_rows
from pptsm.frames.store import write_archive
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import FILES as EXPORTED
from pptsm.serving.metadata import ModelMetadata
from pptsm.video.encode import write_video
from pptsm.weights.card import make_card, save_network
from pptsm.weights.state_dict import as_arrays

LABELS = ["jump", "run"]
SETTINGS = {
    "clip": {"resize_px": 32, "crop_px": 32, "test_crop_px": 32, "dense_window": 8, "dense_clips": 2},
    "training": {"warmup_epochs": 0},
    "teacher": {"network": {"depth": 18, "width": 0.125, "num_segments": 4}, "epochs": 1},
    "student": {"network": {"depth": 18, "width": 0.125, "num_segments": 4}, "epochs": 1},
}
GRAPH = graph()
COMMANDS = {stage: shlex.split(values["cmd"])[1:] for stage, values in GRAPH.items()}
COMMANDS["predict"] = ["predict", "any.mp4", "--model", "models/export/model.onnx"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages read, where dvc.yaml has it; two networks that were never trained, and six videos' rows."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("data/frames", "models/start/teacher", "models/start/student", "models/export", "reports/evaluation"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", folder)  # it says which folders are outputs, and may be replaced
    write_params(folder / "params.yaml", SETTINGS)
    params = params_with(**SETTINGS)
    save_index(good_index(), folder / "data/index.csv")
    save_labels(LABELS, folder / "data/labels.txt")
    networks = (("teacher", params.teacher), ("baseline", params.student), ("student", params.student))
    for role, section in networks:
        (folder / "models" / role).mkdir()
        spec = clip_spec(params.clip, section.network.num_segments, params.sampling)
        card = make_card(role, section, LABELS, spec, revision="1")
        model = card.network.build()
        save_network(folder / "models" / role, card, as_arrays(model.state_dict()))
        file = folder / "models/export" / EXPORTED[role]
        save_inference(model, folder / "models/export", spec.shape)
        convert_to_onnx(folder / "models/export", file, 17, ModelMetadata(LABELS, spec, "1").to_properties())
    videos, logits = good_index().iloc[[2, 5]], np.array([[5.0, 0.0], [0.0, 5.0]])
    write_video(folder / "shown.mp4", moving_square(30, size=64), 25, "h264")
    for name in videos["id"]:
        archive = folder / "data/frames" / f"{name}.zip"
        archive.parent.mkdir(exist_ok=True)
        write_archive(archive, folder / "shown.mp4", 30, params.frames)
    truth = np.array([0, 1])
    served = {"served_videos": 2, "served_top1": 1.0, "served_agreement": 1.0}
    figures = metric_values(logits, truth, ["c", "c"]) | served
    metrics = {role: dict.fromkeys(("uniform", "dense"), figures) for role in ("teacher", "student")}
    (folder / "reports/evaluation/metrics.json").write_text(json.dumps(metrics))
    uncalibrated = {"calibration": None, "reason": "there is no validation split", "reached": None}
    (folder / "reports/evaluation/calibration.json").write_text(json.dumps(uncalibrated))
    which = {"role": "student", "sampling": params.sampling}
    evaluation = folder / "reports/evaluation"
    prediction_rows(videos, logits, LABELS).assign(**which).to_csv(evaluation / "predictions.csv", index=False)
    class_rows(logits, truth, LABELS).assign(**which).to_csv(evaluation / "classes.csv", index=False)
    epochs = pd.DataFrame(
        {"epoch": [1], "lr": 0.1, "loss": 0.5, "train_top1": 0.9, "clips_per_sec": 20.0, "wait_share": 0.1}
    )
    for role, _ in networks:
        epochs.to_csv(folder / f"reports/{role}.csv", index=False)
    facts = {"videos": 6, "usable": 6, "status": {"ok": 6}, "splits": {"train": 2, "val": 2, "test": 2}, "groups": 3}
    facts |= {"classes": 2, "frames": 180, "hours": 0.1}
    (folder / "reports/validation").mkdir()
    checked = {"success": True, "expectations": 20, "suites": {"index": {"rules": 20, "faults": 0, "warnings": 0}}}
    checked |= {"faults": [], "warnings": [], "facts": facts, "unused": [], "coverage": None}
    frames = checked | {"facts": {"kept": 6, "bytes": 99, "compared": 6}}
    (folder / "reports/validation/result.json").write_text(json.dumps(checked))
    (folder / "reports/validation/frames.json").write_text(json.dumps(frames))
    exported = {"agreement": {"clips": 4, "max_relative_difference": 1e-7}, "parameters": 9, "macs_per_view": 9}
    exported |= {"onnx_bytes": 9, "latency_ms_per_view": 1.0, "revision": "1", "computed_with": "test"}
    (folder / "reports/export.json").write_text(json.dumps(exported))
    row = {"runtime": "onnxruntime", "precision": "float32", "difference": 0.0, "passed": True, "reason": ""}
    row |= dict.fromkeys(("top1", "top1_low", "top1_high", "agreement"), 1.0)
    row |= dict.fromkeys(("ms_p50", "ms_p95", "clips_per_sec", "start_sec", "size_mb"), 2.0)
    row |= dict.fromkeys(("difference_low", "difference_high"))
    runtimes = {"machine": "a", "sampling": "uniform", "videos": 2, "rows": [row]}
    (folder / "reports/runtimes.json").write_text(json.dumps(runtimes))
    (folder / "reports/also").mkdir()
    (folder / "reports/also/networks.json").write_text("[]")
    (folder / "reports/explanations.json").write_text(json.dumps({"mistakes": [], "order": None, "reason": "none"}))
    return folder


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def other(path: Path) -> None:
    """A file of the same format with something else in it."""
    if path.suffix == ".onnx":
        model = onnx.load(str(path))
        del model.metadata_props[:]
        onnx.save(model, str(path))
    else:
        path.write_text("a,b\n1,2\n" if path.suffix == ".csv" else '{"a": 1}\n')


def wrong_kind(path: Path) -> None:
    """Words where numbers are."""
    path.write_text(path.read_text().replace(",30,", ",many,").replace("0.5", "half").replace("0.993", "surely"))


FILES: dict[str, list[Callable[[Path], None]]] = {
    "data/index.csv": [remove, empty, binary, cut, other, wrong_kind],
    "data/labels.txt": [remove, empty, binary, cut],
    "data/frames": [remove],
    "models/teacher": [remove],
    "models/teacher/card.json": [remove, empty, binary, cut, other],
    "models/student/card.json": [remove, empty, binary, cut, other],
    "models/baseline/card.json": [remove, empty, binary, cut, other],
    "models/export/model.onnx": [remove, empty, binary, cut, other],
    "reports/validation/result.json": [remove, empty, binary, cut, other],
    "reports/validation/frames.json": [remove, empty, binary, cut, other],
    "reports/evaluation/metrics.json": [remove, empty, binary, cut, other],
    "reports/evaluation/calibration.json": [remove, empty, binary, cut, other],
    "reports/evaluation/predictions.csv": [remove, empty, binary, cut, other, wrong_kind],
    "reports/evaluation/classes.csv": [remove, empty, binary, cut, other],
    "reports/export.json": [remove, empty, binary, cut, other],
    "reports/runtimes.json": [remove, empty, binary, cut, other],
    "reports/explanations.json": [remove, empty, binary, cut, other],
    "reports/also/networks.json": [remove, empty, binary, other],
    "reports/student.csv": [remove, empty, binary, cut, other, wrong_kind],
}
READ = {
    "validate": ["data/index.csv", "data/labels.txt"],
    "frames": ["data/index.csv"],
    "validate_frames": ["data/index.csv", "data/frames"],
    "teacher": ["data/index.csv", "data/labels.txt", "data/frames"],
    "student": ["data/index.csv", "data/labels.txt", "data/frames", "models/teacher/card.json", "models/teacher"],
    "export": ["data/index.csv", "data/labels.txt", "data/frames", "models/teacher", "models/teacher/card.json"],
    "evaluate": ["data/index.csv", "data/labels.txt", "data/frames", "models/teacher", "models/baseline/card.json"],
    "explanations": ["data/index.csv", "data/frames", "models/export/model.onnx", "reports/evaluation/predictions.csv"],
    "predict": ["models/export/model.onnx"],
    "report": [name for name in FILES if name != "models/export/model.onnx"],
}
CASES = [(command, name, damage) for command, names in READ.items() for name in names for damage in FILES[name]]
CASES += [("export", "models/teacher/weights.pdparams", damage) for damage in (remove, empty, binary, cut)]
CASES += [("frames", "reports/validation/result.json", remove), ("report", "models/export/model.onnx", remove)]


@pytest.mark.parametrize(
    ("command", "name", "damage"), CASES, ids=[f"{command}-{name}-{damage.__name__}" for command, name, damage in CASES]
)
def test_a_file_that_cannot_be_used_is_a_sentence(
    whole: Path, tmp_path: Path, command: str, name: str, damage: Callable[[Path], None]
) -> None:
    """Naming the file and the command that makes it; nothing is written."""
    place = tmp_path / "place"
    shutil.copytree(whole, place)
    damage(place / name)
    before = {path for path in place.rglob("*") if ".pptsm" not in path.parts}
    with contextlib.chdir(place):
        done = CliRunner().invoke(app, COMMANDS[command])
    assert isinstance(done.exception, UserError), repr(done.exception)
    said = str(done.exception)
    assert name in said
    assert "`dvc repro" in said or "fetch it again" in said or "weights" in said
    assert {path for path in place.rglob("*") if ".pptsm" not in path.parts} == before


def test_the_report_is_written_of_whole_files(whole: Path, tmp_path: Path) -> None:
    """So that what the other cases refuse is their damage."""
    shutil.copytree(whole, tmp_path / "place")
    with contextlib.chdir(tmp_path / "place"):
        done = CliRunner().invoke(app, COMMANDS["report"])
        assert done.exception is None, repr(done.exception)
        assert Path("reports/index.html").is_file()
