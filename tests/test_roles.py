"""Teacher, student and peer: what their stages train and write, and what is told of one at chance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pandas as pd
import pytest

from conftest import merged, params_with, write_params
from pptsm.data.clips import FrameSource
from pptsm.data.table import COLUMNS, in_split, load_index, save_index
from pptsm.data.video import write_video
from pptsm.errors import UserError
from pptsm.model.card import network_arguments
from pptsm.model.device import computed_with
from pptsm.model.pickles import read_weights, write_arrays
from pptsm.stages import evaluate as evaluate_stage
from pptsm.stages import export as export_stage
from pptsm.stages import student as student_stage
from pptsm.stages import teacher as teacher_stage
from pptsm.training import state as checkpoint_module
from pptsm.training.fit import Inputs, fit_role
from pptsm.training.optimizer import build_optimizer
from pptsm.training.state import Checkpoint, Progress
from pptsm.training.verdict import judge_network, sentence

SETTINGS: dict[str, Any] = {
    "index": {"root": "videos"},
    "frames": {"source": "video"},
    "clip": {"resize_px": 32, "crop_px": 32, "test_crop_px": 32, "dense_window": 8, "dense_clips": 2},
    "training": {"batch_size": 8, "warmup_epochs": 0, "precise_bn_batches": 2},
    "teacher": {"depth": 18, "width": 0.125, "segments": 4, "epochs": 1},
    "student": {"width": 0.125, "segments": 4, "epochs": 1},
}
MUTUAL = {"student": {"distillation": "mutual", "temperature": 1.0}, "training": {"label_smoothing": 0.0}}
STILL = {"training": {"base_lr": 1e-12}}  # weights stay where they start
LABELS = ["dark", "light"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight dark and eight light videos for training, and as many for validation, with index and labels."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for split in ("train", "val"):
        for label_index, label in enumerate(LABELS):
            for number in range(8):
                name = f"{label}/{split}{number}.mp4"
                path = tmp_path / "videos" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                grey = 30 + 180 * label_index + number
                write_video(path, np.full((8, 32, 32, 3), grey, dtype=np.uint8), 10, "mpeg4")
                row = {"id": name, "label": label, "label_index": label_index, "group": f"{label}{number}"}
                row |= {"split": split, "status": "ok", "num_frames": 8, "reason": "", "sha256": ""}
                rows.append(dict.fromkeys(COLUMNS, 0) | row)
    save_index(pd.DataFrame(rows), tmp_path / "index.csv")
    (tmp_path / "labels.txt").write_text("dark\nlight\n")
    (tmp_path / "pretrained").mkdir()
    paddle.set_device("cpu")
    return tmp_path


def fit(role: str, *changes: dict[str, Any], **options: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train one role with SETTINGS and `changes`: its card and its history."""
    settings = SETTINGS
    for change in changes:
        settings = merged(settings | {key: settings.get(key, {}) for key in change}, change)
    params = params_with(**settings)
    inputs = Inputs(Path("index.csv"), Path("labels.txt"), Path("none"), Path("pretrained"))
    if params.student.distillation == "mutual" and role == "student":
        options["peer"] = params.teacher
    fit_role(role, getattr(params, role), params, inputs, Path(role), Path(f"{role}.csv"), **options)
    return json.loads(Path(role, "card.json").read_text()), pd.read_csv(f"{role}.csv")


def weights_of(folder: str) -> dict[str, np.ndarray]:
    """Weights that learning moves (batch norm's statistics are measured anew)."""
    arrays = read_weights(Path(folder) / "weights.pdparams")
    return {name: array for name, array in arrays.items() if not name.endswith(("_mean", "_variance"))}


def write_start(role: str, seed: int, width: float, head_bias: list[float] | None = None) -> None:
    """A weights file to start from, as the stage `pretrained` leaves it; with `head_bias` it says that of any clip."""
    paddle.seed(seed)
    params = params_with(**merged(SETTINGS, {role: {"width": width}}))
    arrays = {
        name: value.numpy() for name, value in network_arguments(getattr(params, role), 2).build().state_dict().items()
    }
    if head_bias is not None:
        arrays["head.fc.weight"] *= 0
        arrays["head.fc.bias"] = np.array(head_bias, dtype=np.float32)
    write_arrays(Path("pretrained") / f"{role}.pdparams", arrays)


def test_without_a_teacher_the_loss_is_the_cross_entropy(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two columns of the history, and both in the line that is printed after an epoch."""
    card, history = fit("teacher")
    assert history["loss"].tolist() == history["cross_entropy"].tolist()
    assert "teacher: epoch 1 of 1: " in capsys.readouterr().err.split("cross_entropy")[0]
    assert card["distilled"] is False


def test_the_cross_entropy_of_a_distilled_student_is_that_of_the_labels_alone(place: Path) -> None:
    """With all the weight on the teacher's part the loss is another thing; the column stays comparable."""
    fit("teacher", STILL)
    plain, distilled = {"student": {"distillation_weight": 0.0}}, {"student": {"distillation_weight": 1.0}}
    _, alone = fit("student", plain, STILL)
    card, taught = fit("student", distilled, STILL, teacher=Path("teacher"))
    assert taught["cross_entropy"].tolist() == pytest.approx(alone["cross_entropy"].tolist(), rel=1e-4)
    assert abs(taught["loss"][0] - taught["cross_entropy"][0]) > 0.1
    assert card["distilled"] is True


def test_training_top1_under_mixing_counts_both_labels(place: Path) -> None:
    """Each of the 16 clips counts by its labels' shares: no whole number of them, as plain counting would give."""
    _, plain = fit("teacher", STILL)  # the start from params.yaml's seed tells the classes apart, the wrong way round
    _, mixed = fit("teacher", {"training": {"mix": "mixup", "mix_alpha": 1.0}}, STILL)
    right = [table["train_top1"][0] * 16 for table in (plain, mixed)]
    assert right[0] == round(right[0])
    assert abs(right[1] - round(right[1])) > 0.01


def test_mutual_learning_begins_with_the_weights_of_each_and_saves_both(place: Path) -> None:
    """The student's own start, and beside it a network as wide as the teacher with the teacher's."""
    write_start("teacher", 1, 0.25)
    write_start("student", 2, 0.125)
    card, history = fit("student", MUTUAL, STILL, {"teacher": {"width": 0.25}})
    for role, folder in (("student", "student"), ("teacher", "student/peer")):
        start = read_weights(Path("pretrained") / f"{role}.pdparams")
        for name, array in weights_of(folder).items():
            np.testing.assert_allclose(array, start[name], atol=1e-9, err_msg=name)
    peer = json.loads(Path("student/peer/card.json").read_text())
    assert card["verdict"]["train_top1"] == pytest.approx(history["train_top1"][0], abs=1e-6)
    assert peer["verdict"]["train_top1"] == pytest.approx(history["peer_train_top1"][0], abs=1e-6)
    assert (peer["role"], peer["width"], peer["distilled"]) == ("peer", 0.25, True)
    assert (card["role"], card["width"], card["distilled"]) == ("student", 0.125, True)
    assert set(peer["verdict"]) == set(card["verdict"])


def test_in_mutual_learning_two_random_starts_differ_and_both_learn(place: Path) -> None:
    """Same depth and width: not the same weights twice."""
    fit("student", MUTUAL, STILL)
    before = [weights_of("student"), weights_of("student/peer")]
    fit("student", MUTUAL)
    after = [weights_of("student"), weights_of("student/peer")]
    name = "backbone.conv1_1._conv.weight"
    assert not np.array_equal(before[0][name], before[1][name])
    for network in (0, 1):
        assert not np.array_equal(before[network][name], after[network][name])


def test_the_curve_of_mutual_learning_is_the_students_own(place: Path) -> None:
    """Its cross entropy and the divergence, not the sum of both networks."""
    factor = {"student": {"distillation_weight": 1.0}}
    _, whole = fit("student", MUTUAL, STILL, factor)
    _, half = fit("student", MUTUAL, STILL, {"student": {"distillation_weight": 0.5}})
    divergence = whole["loss"][0] - whole["cross_entropy"][0]
    assert 0 < divergence < 0.5 * whole["cross_entropy"][0]  # the peer's own cross entropy would make it more
    assert half["loss"][0] - half["cross_entropy"][0] == pytest.approx(divergence / 2, rel=1e-3)


def stage_options(stage: str) -> dict[str, Path]:
    """The stage's arguments, all files below the working folder."""
    names = {"index": "index.csv", "labels": "labels.txt", "frames": "none", "pretrained": "pretrained"}
    names |= {"out": stage, "history": f"{stage}.csv", "params_path": "params.yaml"}
    if stage == "student":
        names["teacher"] = "teacher"
    return {name: Path(path) for name, path in names.items()}


def test_under_mutual_learning_the_teacher_stage_trains_nothing_and_says_so(place: Path) -> None:
    """A card with the reason, no weights, a history without rows; the student stage needs no more."""
    write_params(Path("params.yaml"), SETTINGS, MUTUAL)
    teacher_stage.run(**stage_options("teacher"))
    card = json.loads(Path("teacher/card.json").read_text())
    assert "learns together with the student" in card["skipped"]
    assert card["verdict"] is None
    assert not Path("teacher/weights.pdparams").exists()
    assert pd.read_csv("teacher.csv").empty
    student_stage.run(**stage_options("student"))
    assert Path("student/peer/weights.pdparams").exists()


def set_verdict(above_chance: bool | None) -> None:
    """Write into the teacher's card what its stage would have found."""
    path = Path("teacher/card.json")
    card = json.loads(path.read_text())
    card["verdict"] = None if above_chance is None else card["verdict"] | {"above_chance": above_chance}
    path.write_text(json.dumps(card))


@pytest.mark.parametrize("above_chance", [True, None])
def test_a_teacher_that_is_not_known_to_be_at_chance_teaches(place: Path, above_chance: bool | None) -> None:
    """Above chance, or published weights that nobody judged."""
    fit("teacher")
    set_verdict(above_chance)
    write_params(Path("params.yaml"), SETTINGS, {"student": {"weak_teacher": "stop"}})
    student_stage.run(**stage_options("student"))
    assert json.loads(Path("student/card.json").read_text())["distilled"] is True


def test_a_teacher_at_chance_stops_the_student_before_its_training(place: Path) -> None:
    """One sentence: what it knows, what chance is, which parameter to change; nothing is written."""
    fit("teacher")
    set_verdict(False)
    write_params(Path("params.yaml"), SETTINGS, {"student": {"weak_teacher": "stop"}})
    with pytest.raises(
        UserError, match=r"has nothing to teach\.\nteacher: NOT ABOVE CHANCE: .*\n.*student\.weak_teacher"
    ):
        student_stage.run(**stage_options("student"))
    assert not Path("student").exists()
    assert not Path("student.csv").exists()


def test_a_student_goes_on_without_a_teacher_at_chance(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the labels alone, which the log and the card say."""
    fit("teacher")
    set_verdict(False)
    write_params(Path("params.yaml"), SETTINGS, {"student": {"weak_teacher": "without"}})
    student_stage.run(**stage_options("student"))
    history = pd.read_csv("student.csv")
    assert history["loss"].tolist() == history["cross_entropy"].tolist()
    assert json.loads(Path("student/card.json").read_text())["distilled"] is False
    assert "student: trains on the labels alone" in capsys.readouterr().err


def test_the_verdict_is_on_the_card_and_a_bad_one_in_the_log(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that cannot move from "always light"."""
    write_start("teacher", 1, 0.125, head_bias=[0.0, 1.0])
    card, _ = fit("teacher", STILL)
    verdict = card["verdict"]
    assert (verdict["split"], verdict["videos"], verdict["groups"], verdict["top1"]) == ("val", 16, 16, 0.5)
    assert (verdict["guessing"], verdict["largest_class"], verdict["train_top1"]) == (0.5, 0.5, 0.5)
    assert verdict["above_chance"] is False
    assert "teacher: NOT ABOVE CHANCE: 50.0% of 16 validation videos" in capsys.readouterr().err


def test_the_gate_looks_at_clips_of_all_classes(place: Path) -> None:
    """Two clips of sixteen: one of each class, though the table is sorted by class."""
    fit("student", {"student": {"distillation_weight": 0.0}}, STILL)
    settings = {"export": {"check_clips": 2, "latency_runs": 1, "tolerance": 0.01}, "teacher": {"enabled": False}}
    write_params(Path("params.yaml"), SETTINGS, settings, {"student": {"distillation_weight": 0.0}})
    teacher_stage.run(**stage_options("teacher"))
    options = stage_options("student")
    options = {name: options[name] for name in ("index", "labels", "frames", "teacher", "params_path")}
    export_stage.run(**options, student=Path("student"), out=Path("export"), card=Path("export.json"))
    agreement = json.loads(Path("export.json").read_text())["agreement"]
    assert (agreement["clips"], agreement["classes"]) == (2, 2)


def test_the_best_epochs_weights_are_kept_and_judged(place: Path) -> None:
    """It says "dark", and validation is dark; a second epoch on light videos alone ruins it: the first is kept."""
    table = load_index(Path("index.csv"))
    save_index(table[(table["split"] == "val") == (table["label"] == "dark")], Path("index.csv"))
    write_start("teacher", 1, 0.125, head_bias=[0.1, 0.0])
    ruin = {"schedule": "piecewise", "step_epochs": [1], "step_factor": 1e12, "base_lr": 1e-12, "keep": "best"}
    card, history = fit("teacher", {"teacher": {"epochs": 2}, "student": {"epochs": 2}, "training": ruin})
    assert history["val_top1"].tolist() == [1.0, 0.0]
    assert card["verdict"]["top1"] == 1.0
    assert read_weights(Path("teacher/weights.pdparams"))["head.fc.bias"].argmax() == 0


def test_student_and_peer_are_scored_under_their_names(place: Path) -> None:
    """Export and evaluation take the peer from the student's folder, in the teacher's place; either engine alike."""
    fit("student", MUTUAL, {"teacher": {"width": 0.25}})
    settings = {"teacher": {"width": 0.25}, "export": {"check_clips": 2, "latency_runs": 1, "tolerance": 0.01}}
    options = stage_options("student")
    options = {name: options[name] for name in ("index", "labels", "frames", "teacher", "params_path")}
    options["student"] = Path("student")
    write_params(Path("params.yaml"), SETTINGS, MUTUAL, settings)
    teacher_stage.run(**stage_options("teacher"))
    export_stage.run(**options, out=Path("export"), card=Path("export.json"))
    assert sorted(path.name for path in Path("export").iterdir()) == ["inference", "model.onnx", "peer.onnx"]
    assert json.loads(Path("export.json").read_text())["peer"]["agreement"]["clips"] == 2
    losses = []
    for engine in ("onnx", "paddle"):
        write_params(Path("params.yaml"), SETTINGS, MUTUAL, settings, {"evaluate": {"split": "val", "engine": engine}})
        evaluate_stage.run(**options, export=Path("export"), out=Path("evaluation"))
        metrics = json.loads(Path("evaluation/metrics.json").read_text())
        losses.append([metrics[role]["dense"]["loss"] for role in ("peer", "student")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] != losses[0][1]
    assert list(json.loads(Path("evaluation/metrics.json").read_text())) == ["peer", "student"]
    assert set(pd.read_csv("evaluation/predictions.csv")["role"]) == {"peer", "student"}


def test_a_role_that_is_not_trained_has_no_verdict(place: Path) -> None:
    """Published weights are taken as they are."""
    write_start("teacher", 1, 0.125)
    card, _ = fit("teacher", {"teacher": {"epochs": 0, "start": "start"}})
    assert card["verdict"] is None


class Brightness(paddle.nn.Layer):
    """Knows light from dark, and nothing else; it counts what it is shown."""

    views = 0

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        """[N, T, 3, H, W] -> [N, 2]."""
        Brightness.views += len(clips)
        mean = clips.mean(axis=[1, 2, 3, 4])
        return paddle.stack([-mean, mean], axis=1)


def judged(table: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    """The verdict on `Brightness`."""
    Brightness.views = 0
    params = params_with(**{**SETTINGS, **changes})
    source = FrameSource("video", Path("videos"))
    train, val = in_split(table, "train"), in_split(table, "val")
    return judge_network(Brightness(), "teacher", params, LABELS, train, val, source, 0.75)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sampling", "views"), [("uniform", 1), ("dense", 6)])
def test_a_network_that_knows_is_above_chance(place: Path, sampling: str, views: int) -> None:
    """16 of 16 validation videos, each its own group, seen in all views of the evaluation."""
    verdict = judged(load_index(Path("index.csv")), sampling=sampling)
    assert (verdict["split"], verdict["top1"], verdict["above_chance"]) == ("val", 1.0, True)
    assert verdict["train_top1"] == 0.75
    assert Brightness.views == 16 * views


def test_few_groups_prove_nothing(place: Path) -> None:
    """All right, but two groups only: it may be luck."""
    table = load_index(Path("index.csv"))
    verdict = judged(table.assign(group=table["label"]))
    assert (verdict["groups"], verdict["top1"], verdict["above_chance"]) == (2, 1.0, False)


def test_without_validation_videos_training_videos_are_judged_once_each(place: Path) -> None:
    """However many clips an epoch draws from a video, and however many views evaluation would take."""
    table = load_index(Path("index.csv"))
    training = SETTINGS["training"] | {"clips_per_video": 3}
    verdict = judged(table[table["split"] == "train"], training=training, sampling="dense")
    assert Brightness.views == 16
    assert (verdict["split"], verdict["videos"], verdict["above_chance"]) == ("train", 16, True)


@pytest.mark.parametrize(
    ("split", "train_top1", "advice"),
    [("val", 0.73, "nothing beyond them"), ("val", 0.71, "not even learned"), ("train", 0.95, "not even learned")],
)
def test_the_advice_follows_from_the_training_accuracy(split: str, train_top1: float, advice: str) -> None:
    """By heart, or not learned at all."""
    verdict = {"split": split, "videos": 59, "groups": 6, "top1": 0.559, "low": 0.3, "guessing": 0.5}
    text = sentence("student", verdict | {"largest_class": 0.52, "above_chance": False, "train_top1": train_top1})
    assert "student: NOT ABOVE CHANCE: 55.9% of 59" in text
    assert "chance is 52.0% (guessing 50.0%, always the largest class 52.0%)" in text
    assert f"Training accuracy {train_top1:.1%}" in text
    assert advice in text


def test_the_card_says_what_computed_it_and_a_state_of_another_machine_goes_on_with_a_word(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels decide the last digits of a result: it is told, and nothing is lost."""
    card, _ = fit("teacher")
    assert card["computed_with"] == computed_with()
    assert "Paddle 3" in card["computed_with"]
    model = network_arguments(params_with(**SETTINGS).teacher, 2).build()
    optimizer, scaler = build_optimizer([model], params_with().training), paddle.amp.GradScaler(enable=False)
    reached = Progress(epochs_done=3, history=[], best_top1=0.5, best_weights=None)
    Checkpoint("one").save(reached, [model], optimizer, scaler)
    assert Checkpoint("one").load([model], optimizer, scaler) == reached
    assert "byte for byte" not in capsys.readouterr().err
    monkeypatch.setattr(checkpoint_module, "computed_with", lambda: "another machine")
    assert Checkpoint("one").load([model], optimizer, scaler) == reached
    assert "these with another machine" in capsys.readouterr().err
