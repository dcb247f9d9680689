"""The whole graph on a tiny dataset, through DVC, as a user runs it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import TINY, commit, copy_project, copy_tree, merged, params_with, run, write_params
from pptsm.ingest.motion import PAIRS, draw_video
from pptsm.training.state_file import read_state

pytestmark = pytest.mark.slow


def test_everything_is_made(tiny_project: Path) -> None:
    """Weights, ONNX, metrics, predictions, validation pages and both reports."""
    for name in (
        "data/index.csv",
        "models/teacher/weights.pdparams",
        "models/export/model.onnx",
        "models/export/teacher.onnx",
        "models/export/inference/model.pdiparams",
        "reports/validation/docs/index.html",
        "reports/validation/frames_docs/index.html",
        "reports/evaluation/metrics.json",
        "reports/evaluation/calibration.json",
        "reports/accuracy.md",
        "reports/confusion.csv",
        "reports/networks.csv",
    ):
        assert (tiny_project / name).stat().st_size > 0, name
    page = (tiny_project / "reports" / "index.html").read_text()
    assert 'src="http' not in page  # self-contained
    assert page.count('<svg role="img"') == 5  # reliability, two samplings, curves, classes
    assert "PP-TSM student" in page


def test_every_clip_is_scored_exactly_once(tiny_project: Path) -> None:
    """Predictions of each role and sampling are the test split."""
    index = pd.read_csv(tiny_project / "data" / "index.csv")
    test_ids = sorted(index.loc[index["split"] == "test", "id"])
    predictions = pd.read_csv(tiny_project / "reports" / "evaluation" / "predictions.csv")
    for _, group in predictions.groupby(["role", "sampling"]):
        assert sorted(group["id"]) == test_ids
    assert len(predictions) == 4 * len(test_ids)
    metrics = json.loads((tiny_project / "reports" / "evaluation" / "metrics.json").read_text())
    student = predictions[(predictions["role"] == "student") & (predictions["sampling"] == "dense")]
    assert metrics["student"]["dense"]["top1"] == pytest.approx((student["label"] == student["top1"]).mean(), abs=1e-6)


def test_served_accuracy_is_what_a_user_gets(tiny_project: Path) -> None:
    """`pptsm predict` over the original test videos, counted here; the evaluation's answers beside them."""
    predictions = pd.read_csv(tiny_project / "reports" / "evaluation" / "predictions.csv")
    headline = predictions[(predictions["role"] == "student") & (predictions["sampling"] == "uniform")]
    root = Path("data/raw/motion")
    done = run("pptsm", "predict", *(root / name for name in headline["id"]), "--json", cwd=tiny_project)
    served = [answer["top"][0]["label"] for answer in json.loads(done.stdout)]
    metrics = json.loads((tiny_project / "reports" / "evaluation" / "metrics.json").read_text())["student"]
    assert metrics["uniform"]["served_videos"] == len(headline)
    assert metrics["uniform"]["served_top1"] == pytest.approx((headline["label"] == served).mean(), abs=1e-6)
    assert metrics["uniform"]["served_agreement"] == pytest.approx((headline["top1"] == served).mean(), abs=1e-6)
    assert not {"served_top1", "served_agreement"} & set(metrics["dense"])  # nobody is served dense views here


def test_what_is_served_otherwise_than_evaluated_stops_the_evaluation(tmp_path: Path, tiny_project: Path) -> None:
    """Archives that the network knows, and originals that show other classes: named, and nothing written.

    One that knows nothing is spared: the same with labels that are all wrong.
    """
    project = copy_tree(tiny_project, tmp_path / "clone")
    inputs = ["--index", "data/index.csv", "--labels", "data/labels.txt", "--frames", "data/frames"]
    inputs += ["--teacher", "models/teacher", "--student", "models/student", "--baseline", "models/baseline"]
    inputs += ["--export", "models/export"]
    ids = pd.read_csv(project / "data" / "index.csv").set_index("split").loc["test", "id"].tolist()
    table = pd.read_csv(project / "data" / "index.csv")
    answers = pd.read_csv(project / "reports" / "evaluation" / "predictions.csv")
    answers = answers[(answers["role"] == "student") & (answers["sampling"] == "uniform")].set_index("id")
    names = (project / "data" / "labels.txt").read_text().splitlines()

    def label_by_answers(shift: int) -> None:
        """The labels of the index become what the network answers, or other ones: it is always right, or never."""
        found = table["id"].map(answers["top1"]).fillna(table["label"])
        table["label_index"] = [(names.index(label) + shift) % len(names) for label in found]
        table["label"] = [names[index] for index in table["label_index"]]
        table["group"] = table["id"]  # of the project's two groups none can be proven above chance
        table.to_csv(project / "data" / "index.csv", index=False)

    label_by_answers(0)
    write_params(project / "params.yaml", TINY, {"evaluate": {"served_videos": 8, "served_agreement": 0.5}})
    done = run("pptsm", "evaluate", *inputs, "--out", "one", cwd=project)
    assert "served from 8 original files" in done.stderr
    root = project / "data" / "raw" / "motion"
    for name in ids:  # every video is replaced by one that the network takes for something else
        other = next(other for other in ids if answers["top1"][other] != answers["top1"][name])
        shutil.copy(tiny_project / "data" / "raw" / "motion" / other, root / f"{name}.new")
    for name in ids:
        (root / f"{name}.new").replace(root / name)
    done = run("pptsm", "evaluate", *inputs, "--out", "two", cwd=project, check=False)
    assert done.returncode == 1
    assert "of 8 videos differently from the evaluation" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project / "one" / "metrics.json").exists()
    assert not (project / "two").exists()
    label_by_answers(1)
    run("pptsm", "evaluate", *inputs, "--out", "two", cwd=project)
    assert json.loads((project / "two" / "metrics.json").read_text())["student"]["uniform"]["served_agreement"] < 0.5


AFTER_EXPORT = ("package", "report")  # which show how long a clip took


def test_editing_a_stopwatch_does_not_evaluate_again(tmp_path: Path, tiny_project: Path) -> None:
    """The export runs, gives the same files, and the evaluation stands; a comment exports nothing."""
    project = copy_tree(tiny_project, tmp_path / "clone")
    for edit, expected in (
        ("\n# a comment\n", ["code"]),
        ("\nX = 1\n", ["code", "evaluate_also", "export", "package", "report"]),
    ):
        with (project / "src" / "pptsm" / "deploy" / "parity.py").open("a") as file:
            file.write(edit)
        lines = run("dvc", "repro", cwd=project).stdout.splitlines()
        assert sorted(line.split("'")[1] for line in lines if line.startswith("Running stage")) == sorted(expected)


def test_a_second_repro_does_nothing(tiny_project: Path) -> None:
    """And DVC calls everything up to date."""
    assert "Data and pipelines are up to date" in run("dvc", "repro", cwd=tiny_project).stdout
    assert json.loads(run("dvc", "status", "--json", cwd=tiny_project).stdout) == {}


def would_run(project: Path) -> list[str]:
    """The stages that `dvc repro` would run now, but for `check`: it looks at each params.yaml, and writes the same.

    What code each runs is written down first; DVC itself would say `code`.
    """
    run("dvc", "repro", "--single-item", "code", cwd=project)
    text = run("dvc", "repro", "--dry", cwd=project).stdout
    names = [line.split("'")[1] for line in text.splitlines() if line.startswith("Running stage")]
    return [name for name in names if name != "check"]


@pytest.mark.parametrize(
    ("file", "edit", "expected"),
    [
        ("video/scan.py", "\n# a comment\n", []),
        ("evaluation/tables.py", "\n# a comment\n", []),
        ("model/lcnet.py", "\n# a comment\n", []),
        ("weights/known_weights.yaml", "other:\n  url: https://example.org/a.pdparams\n  note: a row more\n", []),
        ("video/scan.py", "\nX = 1\n", ["index"]),
        ("evaluation/tables.py", "\nX = 1\n", ["evaluate", "evaluate_also"]),
        ("report/index.html", "<!-- -->", ["report"]),
        ("deploy/quantize.py", "\nX = 1\n", ["quantize"]),
        ("evaluation/order.py", "\nX = 1\n", ["explanations"]),
        ("deploy/package.py", "\nX = 1\n", ["package"]),
    ],
)
def test_an_edit_reruns_what_it_decides(tiny_project: Path, file: str, edit: str, expected: list[str]) -> None:
    """Until stage `code` has run, DVC calls that out of date, and never says that all is up to date."""
    edited = tiny_project / "src" / "pptsm" / file
    before = edited.read_text()
    edited.write_text(before + edit)
    try:
        assert list(json.loads(run("dvc", "status", "--json", cwd=tiny_project).stdout)) == ["code"]
        assert "Running stage 'code'" in run("dvc", "repro", "--dry", cwd=tiny_project).stdout
        assert would_run(tiny_project) == expected
        status = json.loads(run("dvc", "status", "--json", cwd=tiny_project).stdout)
        assert list(status) == expected
        assert all("data/code" in str(why) for why in status.values())
    finally:
        edited.write_text(before)
        run("dvc", "repro", "--single-item", "code", cwd=tiny_project)
    assert run("dvc", "status", "--quiet", cwd=tiny_project).returncode == 0


def test_editing_the_report_reruns_the_report_and_the_card(tiny_project: Path) -> None:
    """Exact dependencies: the card of a package is written by the same code."""
    file = tiny_project / "src" / "pptsm" / "report" / "page.py"
    before = file.read_text()
    file.write_text(before + "\nX = 1\n")
    try:
        assert sorted(would_run(tiny_project)) == ["package", "report"]
    finally:
        file.write_text(before)
        run("dvc", "repro", "--single-item", "code", cwd=tiny_project)


def test_dense_sampling_reruns_training_and_nothing_upstream(tiny_project: Path) -> None:
    """`-S sampling=dense` leaves videos, index and frames alone."""
    write_params(tiny_project / "params.yaml", TINY, {"sampling": "dense"})
    try:
        assert would_run(tiny_project)[0] == "teacher"
        follows = {"baseline", "export", "quantize", "evaluate", "also", "evaluate_also", "explanations", "package"}
        follows |= {"report"}
        assert set(would_run(tiny_project)) <= {"teacher", "student", *follows}
    finally:
        write_params(tiny_project / "params.yaml", TINY)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"student": {"start": {"weights": "models/teacher/weights.pdparams"}}},
            ["start@student", "student", "baseline", "report"],
        ),
        ({"student": {"network": {"width": 0.25}}}, ["student", "baseline", "report"]),
        ({"student": {"baseline": True}}, ["baseline", "report"]),
        ({"compute": {"workers": 1, "batch_views": 3, "device": "cpu"}}, []),
        ({"report": {"title": "Another"}}, ["report", "package"]),
        ({"quantize": {"max_drop": 1.0}}, ["quantize", "report"]),
        ({"evaluate": {"also": ["elsewhere.onnx"]}}, ["also", "report"]),
        ({"evaluate": {"temperature": True}}, ["evaluate", "report"]),
        ({"serving": {"precision": "float32"}}, ["quantize", "report"]),
        ({"serving": {"folder": "elsewhere"}}, ["report"]),
        ({"explanations": {"videos": 3}}, ["explanations", "report"]),
        ({"validate": {"near_duplicate_bits": 9}}, ["validate_frames", "report"]),
        ({"validate": {"max_imbalance": 9.0}}, ["validate", "report"]),
    ],
    ids=[
        "start of the student",
        "width of the student",
        "baseline",
        "compute",
        "title",
        "drop",
        "also",
        "temperature",
        "serving",
        "folder",
        "reversed",
        "looks",
        "imbalance",
    ],
)
def test_a_parameter_reruns_the_stages_whose_result_it_decides(
    tiny_project: Path, changes: dict, expected: list[str]
) -> None:
    """And no other: above all not the teacher for the student's sake. (What follows runs if an output is another.)"""
    write_params(tiny_project / "params.yaml", TINY, changes)
    try:
        assert sorted(would_run(tiny_project)) == sorted(expected)
    finally:
        write_params(tiny_project / "params.yaml", TINY)


def test_what_is_in_a_label_file_decides_not_its_name_alone(tiny_project: Path) -> None:
    """A line edited, and the index is made anew; the file and params.yaml are called as before."""
    labels = (tiny_project / "data" / "labels.txt").read_text()
    project = copy_tree(tiny_project, tiny_project.parent / "labels")
    (project / "names.txt").write_text(labels)
    write_params(project / "params.yaml", TINY, {"index": {"label_file": "names.txt"}})
    run("dvc", "repro", "index", cwd=project)
    assert "index" not in would_run(project)
    (project / "names.txt").write_text("\n".join(reversed(labels.splitlines())) + "\n")
    assert "index" in would_run(project)


def test_the_shipped_model_can_be_fetched_from_elsewhere(tiny_project: Path, tmp_path: Path) -> None:
    """By its path of any revision, and as a registered version of an artifact, from git and a store of DVC's."""
    project, elsewhere = copy_tree(tiny_project, tmp_path / "project"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    repository = f"file://{tmp_path}/repository.git"
    run("git", "init", "-q", "--bare", tmp_path / "repository.git", cwd=tmp_path)
    run("dvc", "remote", "add", "-d", "store", tmp_path / "store", cwd=project)
    commit(project)
    run(
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "tag",
        "-am",
        "1",
        "classifier@v1.0.0",
        cwd=project,
    )
    run("dvc", "push", "-q", "models/package", cwd=project)
    run("git", "push", "-q", repository, "HEAD", "--tags", cwd=project)
    shipped = (project / "models/package/model.onnx").read_bytes()
    run("dvc", "artifacts", "get", repository, "classifier", cwd=elsewhere)
    run("dvc", "get", repository, "models/package/model.onnx", "-o", "by_path.onnx", cwd=elsewhere)
    assert [(elsewhere / name).read_bytes() for name in ("package/model.onnx", "by_path.onnx")] == [shipped, shipped]


def test_a_wrong_value_stops_an_experiment_before_training(tiny_project: Path) -> None:
    """`-S sampling=dens`: the sentence, no training."""
    done = run("dvc", "exp", "run", "-S", "sampling=dens", cwd=tiny_project, check=False)
    assert done.returncode != 0
    assert "sampling is 'dens', but should be 'uniform' or 'dense'" in done.stderr + done.stdout
    assert "epoch 1 of" not in done.stderr + done.stdout
    write_params(tiny_project / "params.yaml", TINY)


def test_an_experiment_is_shown_with_its_metrics(tiny_project: Path) -> None:
    """`dvc exp run -S KEY=VALUE`, then `dvc exp show`."""
    run("git", "add", "-A", cwd=tiny_project)
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "run", cwd=tiny_project)
    run("dvc", "exp", "run", "-n", "trial", "-S", "report.title=Trial", cwd=tiny_project)
    shown = run("dvc", "exp", "show", "--csv", "--no-pager", cwd=tiny_project).stdout
    assert "\ntrial," in shown
    assert "student.dense.top1" in shown
    run("git", "checkout", "-q", "--", ".", cwd=tiny_project)
    run("dvc", "checkout", "-q", cwd=tiny_project)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {
            "teacher": {"epochs": 6},
            "student": {"distillation": {"kind": "mutual", "temperature": 1.0}},
            "training": {"mix": "videomix", "label_smoothing": 0.0},
        },
    ],
    ids=["hinton", "mutual"],
)
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, tiny_project: Path, extra: dict
) -> None:
    """kill -9 in the middle of the student, then again with fewer or more processes: weights and cards byte-identical.

    As after a crash for want of memory: how clips are prepared is no part of what the state stands for.
    """
    settings = merged(
        TINY, {"student": {"network": {"width": 0.125}, "epochs": 6}, "compute": {"workers": 2 if extra else 0}}
    )
    settings = {**settings, **{key: {**settings.get(key, {}), **value} for key, value in extra.items()}}
    write_params(tmp_path / "params.yaml", settings)
    inputs = [
        "--index", tiny_project / "data/index.csv", "--labels", tiny_project / "data/labels.txt",
        "--frames", tiny_project / "data/frames", "--start", tiny_project / "models/start/student",
        "--teacher", tiny_project / "models/teacher", "--teacher-start", tiny_project / "models/start/teacher",
    ]  # fmt: skip

    def command(name: str) -> list[str]:
        return list(map(str, ["pptsm", "student", *inputs, "--out", name, "--history", f"{name}.csv"]))

    subprocess.run(command("whole"), cwd=tmp_path, check=True, capture_output=True)
    kept = [path.name for path in (tmp_path / ".pptsm" / "training").iterdir()]
    assert kept == ["student-finished"]  # no more, however many runs there were
    shutil.rmtree(tmp_path / ".pptsm" / "training" / "student-finished")  # or the next run would take it up

    process = subprocess.Popen(command("killed"), cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not [
        path
        for path in (tmp_path / ".pptsm" / "training").glob("student-*/state.safetensors")
        if kept[0] not in path.parts
    ]:
        assert time.monotonic() < deadline, "no state was saved"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()

    state = next(path for path in (tmp_path / ".pptsm" / "training").iterdir() if path.name not in kept)
    done = read_state(state / "state.safetensors")["progress"]["epochs_done"]
    write_params(tmp_path / "params.yaml", merged(settings, {"compute": {"workers": 1, "batch_views": 5}}))
    again = subprocess.run(command("killed"), cwd=tmp_path, check=True, capture_output=True, text=True)
    assert f"going on after epoch {done} of 6" in again.stderr
    outputs = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("[!.]*.*"))
    assert len(outputs) == (4 if extra else 2)  # weights and card, of the peer too
    for name in outputs:
        assert digest(tmp_path / "killed" / name) == digest(tmp_path / "whole" / name), name
    of_this_run = ["clips_per_sec", "wait_share"]
    histories = [pd.read_csv(tmp_path / f"{name}.csv").drop(columns=of_this_run) for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*histories)


def test_the_embedded_dataset_is_the_same_every_time(tmp_path: Path, tiny_project: Path) -> None:
    """Byte by byte."""
    write_params(tmp_path / "params.yaml", TINY)
    run("pptsm", "motion", "--out", tmp_path / "again", "--params", tmp_path / "params.yaml", cwd=tiny_project)
    first = tiny_project / "data" / "raw" / "motion"
    names = sorted(path.relative_to(first) for path in first.rglob("*.mp4"))
    assert len(names) == 8 * 6
    for name in names:
        assert digest(first / name) == digest(tmp_path / "again" / name)


@pytest.mark.parametrize(("forward", "backward"), PAIRS.items())
def test_each_class_of_the_embedded_dataset_is_another_ones_frames_in_reverse_order(
    forward: str, backward: str
) -> None:
    """Pixel by pixel, but for the noise: only the order of the frames tells the two apart."""
    motion = params_with(motion={"noise": 0.0, "frame_px": 32}).motion
    one, other = (
        draw_video(name, motion, np.random.default_rng(1), np.random.default_rng(2)) for name in (forward, backward)
    )
    np.testing.assert_array_equal(one, other[::-1])
    assert not np.array_equal(one, other)


def test_a_broken_dataset_stops_before_training(tmp_path: Path) -> None:
    """Two classes of texts for videos: `dvc repro` ends with the rows, and no frames are made."""
    project = copy_project(tmp_path / "clone")
    write_params(project / "params.yaml", TINY, {"motion": {"videos_per_class": 0}, "index": {"root": "data/raw/mine"}})
    for name in ("one/a_1.mp4", "two/b_1.mp4", "two/c_1.mp4"):
        (project / "data" / "raw" / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "data" / "raw" / "mine" / name).write_text("text")
    done = run("dvc", "repro", cwd=project, check=False)
    assert done.returncode != 0
    assert "at most 2.0% of the files that take part are unreadable or cut off" in done.stderr + done.stdout
    assert not (project / "data" / "frames").exists()
