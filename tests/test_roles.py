"""Teacher, student and peer: what their stages train and write, and what is told of one at chance."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pandas as pd
import pytest

from conftest import merged, params_with, write_params
from helpers.roles import LABELS, SETTINGS, fit, place, states, weights_of
from pptsm.data.clips import FrameSource, TrainingClips
from pptsm.data.spec import clip_spec
from pptsm.data.table import in_split, load_index, save_index
from pptsm.distributed.device import computed_with
from pptsm.evaluation import scoring as scoring_module
from pptsm.runtime.errors import UserError
from pptsm.stages import baseline as baseline_stage
from pptsm.stages import evaluate as evaluate_stage
from pptsm.stages import export as export_stage
from pptsm.stages import student as student_stage
from pptsm.stages import teacher as teacher_stage
from pptsm.training import checkpoint as checkpoint_module
from pptsm.training import eta as forecast_module
from pptsm.training import fit as fit_module
from pptsm.training import loop as loop_module
from pptsm.training.chance_test import judge_network
from pptsm.training.checkpoint import Checkpoint, TrainState
from pptsm.training.optimizer import build_optimizer
from pptsm.training.out_of_memory import explain_oom
from pptsm.training.provenance import Provenance, code_of
from pptsm.training.run import Run
from pptsm.weights.card import load_network, network_arguments, read_card
from pptsm.weights.state_dict import read_weights, write_arrays

__all__ = ["place"]  # a fixture

MUTUAL = {"student": {"distillation": {"kind": "mutual", "temperature": 1.0}}, "training": {"label_smoothing": 0.0}}
STILL = {"training": {"base_lr": 1e-12}}  # weights stay where they start


def write_start(role: str, seed: int, width: float, head_bias: list[float] | None = None) -> None:
    """A weights file to start from, as a stage of starts leaves it; with `head_bias` it says that of any clip."""
    paddle.seed(seed)
    params = params_with(**merged(SETTINGS, {role: {"network": {"width": width}}}))
    arrays = {
        name: value.numpy() for name, value in network_arguments(getattr(params, role), 2).build().state_dict().items()
    }
    if head_bias is not None:
        arrays["head.fc.weight"] *= 0
        arrays["head.fc.bias"] = np.array(head_bias, dtype=np.float32)
    Path("start", role).mkdir(parents=True, exist_ok=True)
    write_arrays(Path("start", role, "weights.pdparams"), arrays)


def test_without_a_teacher_the_loss_is_the_cross_entropy(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two columns of the history, and both in the line that is printed after an epoch."""
    card, history = fit("teacher")
    assert history["loss"].tolist() == history["cross_entropy"].tolist()
    assert "teacher: epoch 1 of 1: " in capsys.readouterr().err.split("cross_entropy")[0]
    assert card["distilled"] is False


def test_the_cross_entropy_of_a_distilled_student_is_that_of_the_labels_alone(place: Path) -> None:
    """With all the weight on the teacher's part the loss is another thing; the column stays comparable."""
    fit("teacher", STILL)
    plain, distilled = {"student": {"distillation": {"weight": 0.0}}}, {"student": {"distillation": {"weight": 1.0}}}
    _, alone = fit("student", plain, STILL)
    card, taught = fit("student", distilled, STILL, teacher=Path("teacher"))
    assert taught["cross_entropy"].tolist() == pytest.approx(alone["cross_entropy"].tolist(), rel=1e-4)
    assert abs(taught["loss"][0] - taught["cross_entropy"][0]) > 0.1
    assert card["distilled"] is True


def test_training_top1_under_mixing_counts_both_labels(place: Path) -> None:
    """Each of the 16 clips counts by its labels' shares: no whole number of them, as plain counting would give."""
    _, plain = fit("teacher", STILL)  # the start from params.yaml's seed tells the classes apart, the wrong way round
    _, mixed = fit("teacher", {"training": {"mix": "mixup", "mixup_alpha": 2.0}}, STILL)
    right = [table["train_top1"][0] * 16 for table in (plain, mixed)]
    assert right[0] == round(right[0])
    assert abs(right[1] - round(right[1])) > 0.01


def test_mutual_learning_begins_with_the_weights_of_each_and_saves_both(place: Path) -> None:
    """The student's own start, and beside it a network as wide as the teacher with the teacher's."""
    write_start("teacher", 1, 0.25)
    write_start("student", 2, 0.125)
    card, history = fit("student", MUTUAL, STILL, {"teacher": {"network": {"width": 0.25}}})
    for role, folder in (("student", "student"), ("teacher", "student/peer")):
        start = read_weights(Path("start", role, "weights.pdparams"))
        for name, array in weights_of(folder).items():
            np.testing.assert_allclose(array, start[name], atol=1e-9, err_msg=name)
    peer = json.loads(Path("student/peer/card.json").read_text())
    assert peer["verdict"]["top1"] != card["verdict"]["top1"] == pytest.approx(history["val_top1"][0], abs=1e-6)
    assert card["verdict"]["train_top1"] == pytest.approx(history["train_top1"][0], abs=1e-6)
    assert peer["verdict"]["train_top1"] == pytest.approx(history["peer_train_top1"][0], abs=1e-6)
    assert (peer["role"], peer["network"]["width"], peer["distilled"]) == ("peer", 0.25, True)
    assert (card["role"], card["network"]["width"], card["distilled"]) == ("student", 0.125, True)
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
    factor = {"student": {"distillation": {"weight": 1.0}}}
    _, whole = fit("student", MUTUAL, STILL, factor)
    _, half = fit("student", MUTUAL, STILL, {"student": {"distillation": {"weight": 0.5}}})
    divergence = whole["loss"][0] - whole["cross_entropy"][0]
    assert 0 < divergence < 0.5 * whole["cross_entropy"][0]  # the peer's own cross entropy would make it more
    assert half["loss"][0] - half["cross_entropy"][0] == pytest.approx(divergence / 2, rel=1e-3)


def stage_options(stage: str) -> dict[str, Path]:
    """The stage's arguments, all files below the working folder."""
    start = "start/student" if stage == "baseline" else f"start/{stage}"
    names = {"index": "index.csv", "labels": "labels.txt", "frames": "none", "start": start}
    names |= {"out": stage, "history": f"{stage}.csv", "params_path": "params.yaml"}
    if stage == "scored":
        names |= {"teacher": "teacher", "baseline": "baseline"}
    if stage == "student":
        names |= {"teacher": "teacher", "teacher_start": "start/teacher"}
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
    write_params(Path("params.yaml"), SETTINGS, {"student": {"distillation": {"weak_teacher": "stop"}}})
    student_stage.run(**stage_options("student"))
    assert json.loads(Path("student/card.json").read_text())["distilled"] is True


def test_a_teacher_at_chance_stops_the_student_before_its_training(place: Path) -> None:
    """One sentence: what it knows, what chance is, which parameter to change; nothing is written."""
    fit("teacher")
    set_verdict(False)
    write_params(Path("params.yaml"), SETTINGS, {"student": {"distillation": {"weak_teacher": "stop"}}})
    with pytest.raises(
        UserError, match=r"has nothing to teach\.\nteacher: NOT ABOVE CHANCE: .*\n.*student\.distillation\.weak_teacher"
    ):
        student_stage.run(**stage_options("student"))
    assert not Path("student").exists()
    assert not Path("student.csv").exists()


def test_a_student_goes_on_without_a_teacher_at_chance(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the labels alone, which the log and the card say."""
    fit("teacher")
    set_verdict(False)
    write_params(Path("params.yaml"), SETTINGS, {"student": {"distillation": {"weak_teacher": "without"}}})
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
    fit("student", {"student": {"distillation": {"weight": 0.0}}}, STILL)
    settings = {"export": {"check_clips": 2, "latency_runs": 1, "tolerance": 0.01}, "teacher": {"enabled": False}}
    write_params(Path("params.yaml"), SETTINGS, settings, {"student": {"distillation": {"weight": 0.0}}})
    teacher_stage.run(**stage_options("teacher"))
    baseline_stage.run(**stage_options("baseline"))
    options = stage_options("scored")
    options = {name: options[name] for name in ("index", "labels", "frames", "teacher", "baseline", "params_path")}
    export_stage.run(**options, student=Path("student"), out=Path("export"), card=Path("export.json"))
    agreement = json.loads(Path("export.json").read_text())["agreement"]
    assert (agreement["clips"], agreement["classes"]) == (2, 2)


def test_the_best_epochs_weights_are_kept_and_judged(place: Path) -> None:
    """It says "dark", and validation is dark; a second epoch on light videos alone ruins it: the first is kept."""
    table = load_index(Path("index.csv"))
    save_index(table[(table["split"] == "val") == (table["label"] == "dark")], Path("index.csv"))
    write_start("teacher", 1, 0.125, head_bias=[0.1, 0.0])
    ruin = {
        "schedule": "piecewise",
        "step_epochs": [1],
        "step_factor": 1000,
        "base_lr": 1e-9,
        "head_bias_lr": 1000,
        "keep": "best",
    }
    card, history = fit("teacher", {"teacher": {"epochs": 2}, "student": {"epochs": 2}, "training": ruin})
    assert history["val_top1"].tolist() == [1.0, 0.0]
    assert card["verdict"]["top1"] == 1.0
    assert read_weights(Path("teacher/weights.pdparams"))["head.fc.bias"].argmax() == 0
    assert (card["kept_epoch"], history["kept"].tolist()) == (1, [1, 0])


@pytest.mark.parametrize("keep", ["last", "best"])
def test_of_equally_good_epochs_the_last_is_kept_and_named(
    place: Path, keep: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says "dark" of every clip, after each of three epochs; card, history and log say whose weights are kept."""
    write_start("teacher", 1, 0.125, head_bias=[0.1, 0.0])
    card, history = fit("teacher", {"teacher": {"epochs": 3}, "training": {"keep": keep}}, STILL)
    assert set(history["val_top1"]) == {0.5}
    assert (card["kept_epoch"], history["kept"].tolist()) == (3, [0, 0, 1])
    said = "teacher: keeps the weights of epoch 3 of 3: validation top-1 50.0% (best)"
    assert (said in capsys.readouterr().err) == (keep == "best")


def test_student_and_peer_are_scored_under_their_names(place: Path) -> None:
    """Export and evaluation take the peer from the student's folder, in the teacher's place; either engine alike."""
    fit("student", MUTUAL, {"teacher": {"network": {"width": 0.25}}})
    settings = {
        "teacher": {"network": {"width": 0.25}},
        "export": {"check_clips": 2, "latency_runs": 1, "tolerance": 0.01},
    }
    options = stage_options("scored")
    options = {name: options[name] for name in ("index", "labels", "frames", "teacher", "baseline", "params_path")}
    options["student"] = Path("student")
    write_params(Path("params.yaml"), SETTINGS, MUTUAL, settings)
    teacher_stage.run(**stage_options("teacher"))
    baseline_stage.run(**stage_options("baseline"))
    export_stage.run(**options, out=Path("export"), card=Path("export.json"))
    assert {path.name for path in Path("export").glob("[a-z]*")} == {"inference", "model.onnx", "peer.onnx"}
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


def test_the_baseline_is_the_student_that_learns_without_a_teacher(place: Path) -> None:
    """Byte for byte the student of a training without distillation; whatever its teacher would be."""
    fit("student", {"student": {"distillation": {"weight": 0.0}}})
    write_params(
        Path("params.yaml"),
        SETTINGS,
        {"student": {"baseline": True, "distillation": {"temperature": 5.0}}, "teacher": {"network": {"width": 0.25}}},
    )
    baseline_stage.run(**stage_options("baseline"))
    card = read_card(Path("baseline"))
    assert (card.role, card.distilled, card.epochs) == ("baseline", False, 1)
    assert Path("baseline/weights.pdparams").read_bytes() == Path("student/weights.pdparams").read_bytes()


def test_a_baseline_that_is_not_asked_for_says_so(place: Path) -> None:
    """A card with the reason, a history without rows, and no weights."""
    write_params(Path("params.yaml"), SETTINGS)
    baseline_stage.run(**stage_options("baseline"))
    assert read_card(Path("baseline")).skipped == "student.baseline is false"
    assert pd.read_csv("baseline.csv").empty
    assert not Path("baseline/weights.pdparams").exists()


def test_what_distillation_brought_is_told_with_an_interval(place: Path) -> None:
    """Eight videos are dark and four light; the student always says "dark", the baseline "light": a third is gained."""
    fit("teacher", STILL)
    fit("student", {"training": {"precise_bn_every": 0}}, STILL, teacher=Path("teacher"))
    settings = {"student": {"baseline": True}, "export": {"check_clips": 2, "latency_runs": 1, "tolerance": 0.01}}
    settings |= {"evaluate": {"split": "val", "sampling": "uniform", "served_agreement": 0.0}}
    write_params(Path("params.yaml"), SETTINGS, STILL, settings)
    baseline_stage.run(**stage_options("baseline"))
    for role, bias in (("student", [9, 0]), ("baseline", [0, 9])):
        weights = read_weights(Path(role, "weights.pdparams"))
        write_arrays(Path(role, "weights.pdparams"), weights | {"head.fc.bias": np.array(bias, dtype=np.float32)})
    table = load_index(Path("index.csv"))
    save_index(table[~table["id"].isin([f"light/val{number}.mp4" for number in range(4)])], Path("index.csv"))
    options = stage_options("scored")
    options = {name: options[name] for name in ("index", "labels", "frames", "teacher", "baseline", "params_path")}
    options["student"] = Path("student")
    export_stage.run(**options, out=Path("export"), card=Path("export.json"))
    evaluate_stage.run(**options, export=Path("export"), out=Path("evaluation"))
    metrics = json.loads(Path("evaluation/metrics.json").read_text())
    assert list(metrics) == ["teacher", "baseline", "student"]
    found = metrics["student"]["uniform"]
    assert found["gain"] == pytest.approx(1 / 3)
    assert found["gain"] == pytest.approx(found["top1"] - metrics["baseline"]["uniform"]["top1"], abs=1e-5)
    assert found["gain_low"] <= found["gain"] <= found["gain_high"]
    assert "gain" not in metrics["baseline"]["uniform"]


def test_a_role_that_is_not_trained_has_no_verdict(place: Path) -> None:
    """Published weights are taken as they are."""
    write_start("teacher", 1, 0.125)
    card, _ = fit("teacher", {"teacher": {"epochs": 0, "start": {"weights": "start"}}})
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
    spec = clip_spec(params.clip, 4, params.sampling)
    history = pd.DataFrame({"epoch": range(1, 11), "val_top1": 0.5, "train_top1": 0.75})
    run = Run(params, spec, LABELS, train, val, source)
    return judge_network(Brightness(), "teacher", params.teacher, history, run)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_a_network_that_knows_is_above_chance(place: Path, sampling: str) -> None:
    """16 of 16 validation videos, each its own group and seen in one view, however many the evaluation takes."""
    verdict = judged(load_index(Path("index.csv")), sampling=sampling)
    assert (verdict["split"], verdict["top1"], verdict["above_chance"]) == ("val", 1.0, True)
    assert verdict["train_top1"] == 0.75
    assert Brightness.views == 16


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


@pytest.mark.parametrize(("keep", "compared"), [("last", 1), ("best", 10)])
def test_videos_that_chose_the_epoch_are_judged_as_the_best_of_all_epochs(
    place: Path, keep: str, compared: int
) -> None:
    """Ten epochs were compared; training videos choose none."""
    table = load_index(Path("index.csv"))
    verdict = judged(table, training=SETTINGS["training"] | {"keep": keep})
    assert verdict["compared"] == compared
    assert verdict["low"] < 0.8 or compared == 1
    alone = judged(table[table["split"] == "train"], training=SETTINGS["training"] | {"keep": keep})
    assert alone["compared"] == 1


def test_the_card_says_what_bears_on_the_next_step(place: Path) -> None:
    """Epochs, clips, whether the floor of clips decided, the curve, start, flip, and what it was trained on."""
    table = load_index(Path("index.csv"))
    found = judged(table, training=SETTINGS["training"] | {"min_clips": 160, "flip": "horizontal"})["learning"]
    assert (found["epochs"], found["clips_per_video"], found["floor_decides"]) == (10, 1, True)
    assert (found["rising"], found["random_start"], found["mirrored"]) == (False, True, True)
    assert (found["videos"], found["train_top1"]) == (16, 0.75)
    assert judged(table)["learning"]["floor_decides"] is False


def test_the_card_says_what_computed_it_and_a_state_of_another_machine_goes_on_with_a_word(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels decide the last digits of a result: it is told, and nothing is lost."""
    card, _ = fit("teacher")
    assert card["computed_with"] == computed_with()
    assert "Paddle 3" in card["computed_with"]
    model = network_arguments(params_with(**SETTINGS).teacher, 2).build()
    optimizer, scaler = build_optimizer([model], params_with().training), paddle.amp.GradScaler(enable=False)
    reached = TrainState(epochs_done=3, history=[], best_top1=0.5, best_weights=None)
    checkpoint = Checkpoint("teacher", Provenance({"teacher.epochs": 9}, {}, {}))
    checkpoint.save(reached, [model], optimizer, scaler)
    assert checkpoint.load([model], optimizer, scaler) == reached
    assert "byte for byte" not in capsys.readouterr().err
    monkeypatch.setattr(checkpoint_module, "computed_with", lambda: "another machine")
    assert checkpoint.load([model], optimizer, scaler) == reached
    assert "these with another machine" in capsys.readouterr().err


PIECEWISE = {"training": {"schedule": "piecewise", "step_epochs": [1], "step_factor": 0.5, "base_lr": 0.01}}


def epochs(number: int, **training: Any) -> dict[str, Any]:
    """Both roles with so many epochs (as params.yaml asks where step_epochs are near the end)."""
    return {"teacher": {"epochs": number}, "student": {"epochs": number}, "training": training}


def test_a_training_says_how_long_it_takes_and_what_it_is_at(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time to go, for each run from where it begins; a bar for all that may take longer than a moment."""
    monkeypatch.setenv("PPTSM_CACHE", str(place / "nothing remembered"))
    monkeypatch.setattr(forecast_module, "SECONDS", 0.0)  # else so short a training says nothing
    bars = []
    for module in (loop_module, scoring_module):
        bar = module.progress
        monkeypatch.setattr(module, "progress", lambda *a, bar=bar, **more: (bars.append(a[1]), bar(*a, **more))[1])
    fit("teacher", PIECEWISE, epochs(2))
    assert bars == [
        "teacher",
        *["teacher: batch norm statistics", "teacher: validation"] * 2,
        "teacher: is it above chance",
    ]
    assert "seconds to go for 2 epochs of 16 clips (" in capsys.readouterr().err
    fit("teacher", PIECEWISE, epochs(3))
    said = capsys.readouterr().err
    assert "seconds to go for 1 epochs of 16 clips, as fast as before on this machine; then student about" in said


def test_a_loss_that_is_no_number_leaves_nothing(place: Path) -> None:
    """A rate beyond all numbers: one sentence that names the videos, no outputs, no state."""
    with pytest.raises(UserError, match=r"teacher: the loss became \w+ in epoch 1, step 2 .*(dark|light)/train\d\.mp4"):
        fit("teacher", {"training": {"base_lr": 1e29}})
    assert not Path("teacher").exists()
    assert states() == []


WITH_LITTLE_MEMORY = """
import os, resource, sys
from pathlib import Path
import pptsm.training.fit
from pptsm.cli import main

used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv.pop(1)), -1))
main()
"""


def test_a_training_that_needs_more_memory_than_there_is_ends_in_a_sentence(place: Path) -> None:
    """Clips of 320 px in 0.85 GB: exit code 1, the settings to lower, no trace; in parts of one clip it works."""
    large = {"clip": {"resize_px": 320, "crop_px": 320}, "training": {"precise_bn_every": 0, "min_clips": 0}}
    options = stage_options("teacher")
    del options["params_path"]
    words = [word for name, path in options.items() for word in (f"--{name}", str(path))]

    def train(**training: int) -> subprocess.CompletedProcess[str]:
        changes = merged(large, {"training": training, "compute": {"workers": 0, "device": "cpu"}})
        write_params(place / "params.yaml", SETTINGS, changes)
        command = [sys.executable, "-c", WITH_LITTLE_MEMORY, "850000000", "teacher", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    failed = train(batch_norm_clips=8)
    assert failed.returncode == 1, failed.stderr
    error = failed.stderr[failed.stderr.index("error: ") :]
    assert "teacher: the memory of cpu ran out, with training.batch_norm_clips 8, clips of 4 frames" in error
    assert "Lower training.batch_norm_clips" in error
    assert "Traceback" not in failed.stderr
    assert not (place / "teacher").exists()
    in_parts = train(batch_norm_clips=1)
    assert in_parts.returncode == 0, in_parts.stderr
    assert (place / "teacher" / "weights.pdparams").exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("(External) CUDNN_STATUS_ALLOC_FAILED"),
        OSError("(External) CUDA error(2), out of memory."),
        MemoryError("(ResourceExhausted) Out of memory error on GPU 0."),
    ],
    ids=["cuDNN", "CUDA", "Paddle"],
)
def test_what_a_gpus_libraries_say_of_memory_is_understood(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision is advised too; any other error stays what it is."""
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    params = params_with(**SETTINGS)
    advice = r"memory of gpu:0 ran out.* or take training\.amp \(fp16 or bf16\), a smaller clip"
    with pytest.raises(UserError, match=advice), explain_oom("student", params, 4):
        raise error
    with pytest.raises(RuntimeError, match="something else"), explain_oom("student", params, 4):
        raise RuntimeError("something else")


def test_few_videos_are_drawn_from_until_the_floor_of_clips_is_reached(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """16 videos, 2 epochs, 100 clips: four of each an epoch, which the checkpoint's key holds."""
    drawn = set()
    init = TrainingClips.__init__

    def spied(clips: TrainingClips, *arguments: Any) -> None:
        init(clips, *arguments)
        drawn.add(len(clips))

    monkeypatch.setattr(TrainingClips, "__init__", spied)
    fit("teacher", {"training": {"min_clips": 100}}, epochs(2))
    assert drawn == {64}
    assert "teacher: 4 clips of each video per epoch, because of training.min_clips" in capsys.readouterr().err
    provenance = json.loads(Path(".pptsm/training/teacher-finished/provenance.json").read_text())
    assert provenance["parameters"]["training.clips_per_video"] == 4


def test_a_piecewise_training_is_made_longer_from_where_it_ended(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two epochs, then four with a step beyond the second: the weights of four at once; one state is kept."""
    fit("teacher", PIECEWISE, epochs(2))
    capsys.readouterr()
    _, history = fit("teacher", PIECEWISE, epochs(4, step_epochs=[1, 3]))
    said = capsys.readouterr().err
    assert "teacher: going on after epoch 2 of 4" in said
    assert "epoch 2 of 4: lr" not in said
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert states() == ["teacher-finished"]
    longer = read_weights(Path("teacher/weights.pdparams"))
    Path(".pptsm").rename("elsewhere")
    fit("teacher", PIECEWISE, epochs(4, step_epochs=[1, 3]))
    assert "going on" not in capsys.readouterr().err
    for name, array in read_weights(Path("teacher/weights.pdparams")).items():
        np.testing.assert_array_equal(array, longer[name], err_msg=name)


def test_a_cosine_that_is_made_longer_starts_anew_and_says_why(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its rates would have been others from the first step on."""
    fit("teacher", epochs(1))
    capsys.readouterr()
    fit("teacher", epochs(2))
    said = capsys.readouterr().err
    assert "the last run's 1 epochs are of no use to a run of more: a cosine's learning rates depend on" in said
    assert "teacher: epoch 1 of 2" in said


@pytest.mark.parametrize("other", [{"step_epochs": [2]}, {"base_lr": 0.02}])
def test_another_rate_or_an_earlier_step_does_not_make_a_training_longer(
    place: Path, capsys: pytest.CaptureFixture[str], other: dict[str, Any]
) -> None:
    """What is done would not have been done so."""
    fit("teacher", PIECEWISE, epochs(2))
    capsys.readouterr()
    fit("teacher", PIECEWISE, epochs(3, **other))
    assert "teacher: epoch 1 of 3" in capsys.readouterr().err


def stop_after_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next training ends as a killed one, with its first epoch in the state."""
    save = Checkpoint.save

    def save_and_die(self: Checkpoint, *arguments: Any) -> None:
        save(self, *arguments)
        if arguments[0].epochs_done:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        fit("teacher", epochs(2))
    monkeypatch.setattr(Checkpoint, "save", save)


def test_a_state_of_another_parameter_is_not_dropped_in_silence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run starts anew and says which parameter had which value; put back, the old one goes on."""
    stop_after_the_first_epoch(monkeypatch)
    capsys.readouterr()
    fit("teacher", epochs(2, base_lr=0.03))
    said = capsys.readouterr().err
    assert "teacher: starts anew, because the unfinished training in .pptsm/training/teacher-" in said
    assert "differs from this one in training.base_lr (was 0.02, is 0.03)." in said
    assert checkpoint_module.OTHER_CODE not in said
    assert "epoch 1 of 2" in said
    fit("teacher", epochs(2))
    assert "going on after epoch 1 of 2" in capsys.readouterr().err


def test_a_state_of_other_code_names_the_files_and_the_way_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anew unless the user wants it otherwise; then the epochs that are done count, and no state is left behind."""
    code = code_of("teacher", "video")
    monkeypatch.setattr(fit_module, "code_of", lambda *_: code | {"training/losses.py": "another"})
    stop_after_the_first_epoch(monkeypatch)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    capsys.readouterr()
    stop = pytest.MonkeyPatch()
    stop.setattr(fit_module, "train", lambda *given: given[3].load([], None, None) or sys.exit(5))
    with pytest.raises(SystemExit):
        fit("teacher", epochs(2))
    stop.undo()
    said = capsys.readouterr().err
    assert "differs from this one in training/losses.py." in said
    assert "set PPTSM_OTHER_CODE=1 to go on with the code as it is" in said
    monkeypatch.setenv(checkpoint_module.OTHER_CODE, "1")
    fit("teacher", epochs(2))
    said = capsys.readouterr().err
    assert "with other code, as PPTSM_OTHER_CODE says: training/losses.py" in said
    assert "going on after epoch 1 of 2" in said
    assert states() == ["teacher-finished"]


def test_a_card_of_an_older_version_is_refused_with_a_sentence(place: Path) -> None:
    """One that names no network in full, as cards did before they could rebuild it."""
    Path("old").mkdir()
    Path("old/card.json").write_text(json.dumps({"role": "student", "width": 0.25, "revision": "a", "epochs": 8}))
    with pytest.raises(
        UserError, match=r"does not describe a network in full .*older version, or was changed\. Train again .*`start`"
    ):
        load_network(Path("old"))


def test_a_weights_folder_rebuilds_its_network_without_params_yaml(place: Path) -> None:
    """Shape and answers: another width, another activation, no shift."""
    changes = {"teacher": {"network": {"width": 0.25, "activation": "relu", "shift": False, "dropout": 0.3}}}
    fit("teacher", changes, STILL)
    model = load_network(Path("teacher"))
    arguments = read_card(Path("teacher")).network
    assert (arguments.width, arguments.activation, arguments.shift) == (0.25, "relu", False)
    expected = read_weights(Path("teacher/weights.pdparams"))
    own = model.state_dict()
    assert set(own) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(own[name].numpy(), array)
    assert not model.training


def test_a_student_may_be_of_another_kind_than_its_teacher(place: Path) -> None:
    """Network, width, depth and activation are each role's own; the clip and its segments are shared."""
    fit("teacher")
    other = {"network": "tsm", "depth": 34, "width": 0.0625, "activation": "relu"}
    card, _ = fit("student", {"student": {"network": other}}, teacher=Path("teacher"))
    assert {name: card["network"][name] for name in other} == other
    assert card["distilled"] is True
