"""Cross-validation: how groups are divided, what finished folds say together, and a run that is stopped and goes on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import merged, write_params
from helpers.roles import SETTINGS, place
from pptsm.commands.crossval import crossval
from pptsm.crossval import child, summary
from pptsm.crossval.folds import Fold, divide, require_groups, split_videos
from pptsm.crossval.run import Asked, Places, prepare
from pptsm.runtime.errors import UserError

__all__ = ["place"]  # a fixture


def videos_of(groups: int, classes: int = 3, each: int = 2) -> pd.DataFrame:
    """So many videos of each class in each group."""
    columns = ["id", "group", "label", "label_index"]
    rows = [
        {"id": f"{group}-{label}-{number}", "group": f"g{group}", "label": f"c{label}", "label_index": label}
        for group in range(groups)
        for label in range(classes)
        for number in range(each)
    ]
    return pd.DataFrame(rows, columns=columns).assign(split="train")


def test_folds_divide_groups_and_keep_classes_even() -> None:
    """Each group in one fold, none empty; classes that groups share unevenly are as even as groups allow."""
    videos = videos_of(20)
    place = divide(videos, 5, seed=1)
    assert sorted(place) == sorted(set(videos["group"]))
    assert [list(place.values()).count(fold) for fold in range(5)] == [4] * 5
    assert place == divide(videos.sample(frac=1, random_state=3), 5, seed=1)
    assert place != divide(videos, 5, seed=2)
    one_class_each = videos[(videos["group"].str[1:].astype(int) % 3) == videos["label_index"]]
    counts = pd.crosstab(one_class_each["group"].map(divide(one_class_each, 3, seed=1)), one_class_each["label"])
    assert counts.to_numpy().max() - counts.to_numpy().min() <= 2  # a group's videos
    assert set(divide(videos_of(5, classes=1), 5, seed=0).values()) == set(range(5))


def test_every_video_is_tested_once_for_a_seed_and_no_group_is_divided() -> None:
    """Validation groups only where the recipe asks for them; a smaller part of the training groups is in the larger."""
    videos = videos_of(12)
    tested = []
    for number in range(4):
        fold = split_videos(videos, Fold(7, number), 4, val_share=0.25)
        assert (fold.groupby("group")["split"].nunique() == 1).all()
        assert set(fold["split"]) == {"train", "val", "test"}
        tested += fold.loc[fold["split"] == "test", "id"].tolist()
        whole = split_videos(videos, Fold(7, number), 4, val_share=0.0)
        assert set(whole["split"]) == {"train", "test"}
        parts = [
            set(of.loc[of["split"] == "train", "group"])
            for of in (split_videos(videos, Fold(7, number, share), 4, 0.0) for share in (25, 50, 100))
        ]
        assert parts[0] < parts[1] < parts[2]
        assert len(parts[2]) == 9
        part = split_videos(videos, Fold(7, number, 25), 4, val_share=0.0)
        assert set(part.loc[part["split"] == "test", "id"]) == set(whole.loc[whole["split"] == "test", "id"])
    assert sorted(tested) == sorted(videos["id"])


@pytest.mark.parametrize(
    ("videos", "folds", "curve", "said"),
    [
        (videos_of(3), 5, False, r"at least 5 groups, and the index has 3 \(g0, g1, g2\) in 18 videos"),
        (videos_of(0), 2, False, r"has 0 \(none\)"),
        (videos_of(1, classes=3).assign(group=lambda t: t["label"]), 2, False, "each of the 3 classes has one group"),
        (videos_of(6), 3, True, "some fold has 4"),
    ],
)
def test_too_few_groups_are_refused_with_their_number(videos: pd.DataFrame, folds: int, curve: bool, said: str) -> None:
    """And what groups are; a learning curve needs four in each fold."""
    if "has 4" in said:
        require_groups(videos, folds, curve)  # four are enough
        videos = videos_of(5)
        said = "some fold has 3"
    with pytest.raises(UserError, match=said) as refused:
        require_groups(videos, folds, curve)
    assert "index.group_file" in str(refused.value)


def finished(answers: dict[int, list[str]], share: int = 100) -> list[tuple[Fold, dict[str, Any], pd.DataFrame]]:
    """Two folds of two videos each for each seed, with what was answered; the labels are a, b, a, b."""
    found = []
    for seed, of_seed in answers.items():
        for number in range(2):
            names = [f"v{2 * number}", f"v{2 * number + 1}"]
            table = pd.DataFrame({"id": names, "label": ["a", "b"], "top1": of_seed[2 * number : 2 * number + 2]})
            table = table.assign(score1=0.9, role="student", sampling="uniform")
            values = {"top1": float((table["label"] == table["top1"]).mean()), "top5": 1.0, "loss": 0.5}
            result = {
                "counted": {"train_videos": 2, "train_groups": 1, "test_videos": 2, "test_groups": 1},
                "metrics": {"student": {"uniform": values | {"mean_class_accuracy": 0.5}}},
                "verdicts": {"student": {"train_top1": 0.75}},
            }
            found.append((Fold(seed, number, share), result, table))
    return found


GROUPS = {"v0": "x", "v1": "x", "v2": "y", "v3": "y"}


def test_seeds_are_averaged_and_narrow_no_interval() -> None:
    """Means of videos, classes and confusions by hand; ten equal seeds say no more than one."""
    folds = finished({1: ["a", "b", "a", "b"], 2: ["a", "a", "a", "b"]})
    table = summary.pooled(folds, GROUPS, "student", "uniform")
    found = summary.figures(table, ["a", "b"])
    assert found["by_seed"] == {1: 1.0, 2: 0.75}
    assert found["top1"] == 0.875
    assert (found["videos"], found["groups"], found["chance"]) == (4, 2, 0.5)
    assert found["classes"] == {"a": {"videos": 2, "top1": 1.0}, "b": {"videos": 2, "top1": 0.75}}
    assert found["confusion"] == [[4, 0], [1, 3]]
    one, ten = (
        summary.figures(
            summary.pooled(
                finished({seed: ["a", "b", "b", "b"] for seed in range(seeds)}), GROUPS, "student", "uniform"
            ),
            ["a", "b"],
        )
        for seeds in (1, 10)
    )
    assert one["low"] == pytest.approx(ten["low"])
    assert one["high"] == pytest.approx(ten["high"])
    assert one["low"] < one["low_by_video"] < one["top1"] < one["high_by_video"] < one["high"]
    assert summary.fold_rows(folds)["train_top1"].tolist() == [0.75] * 4


def test_labels_that_all_seeds_contradict() -> None:
    """By one and the same other name, and by two seeds at least; how often seeds agree is compared with chance."""
    table = summary.pooled(finished({1: ["a", "a", "b", "b"], 2: ["a", "a", "a", "b"]}), GROUPS, "student", "uniform")
    assert summary.doubtful(table)["id"].tolist() == ["v1"]
    assert summary.agreement(table) == 0.75
    assert summary.by_chance(table) == pytest.approx((5 / 8) ** 2 + (3 / 8) ** 2)
    alone = table[table["seed"] == 1]
    assert summary.doubtful(alone).empty
    assert summary.agreement(alone) is None


def test_the_learning_curve_is_by_training_groups() -> None:
    """The least share first; without parts there is none."""
    whole = finished({1: ["a", "b", "a", "b"]})
    assert summary.curve(whole, GROUPS, "uniform", ["a", "b"]) == []
    rows = summary.curve([*whole, *finished({1: ["a", "a", "a", "b"]}, share=25)], GROUPS, "uniform", ["a", "b"])
    assert [(row["share"], row["top1"], row["train_top1"]) for row in rows] == [(25, 0.75, 0.75), (100, 1.0, 0.75)]


SHORT: dict[str, Any] = {
    "teacher": {"enabled": False},
    "student": {"epochs": 2, "distillation": {"weight": 0.0}},
    "evaluate": {"sampling": "uniform"},
}


def places() -> Places:
    return Places(*map(Path, ("params.yaml", "index.csv", "labels.txt", "none", "start", "kept")))


FILES = {
    "index": "index.csv",
    "labels": "labels.txt",
    "frames": "none",
    "starts": "start",
    "kept": "kept",
    "out": "out",
}


def command() -> list[str]:
    named = [word for name, path in FILES.items() for word in (f"--{name}", path)]
    return [sys.executable, "-m", "pptsm", "crossval", "--folds", "2", "--seeds", "1", *named]


def here() -> None:
    """The same in this process, which has imported Paddle already."""
    crossval(folds=2, seeds=1, **{name: Path(path) for name, path in FILES.items()})


def test_a_run_that_is_stopped_goes_on_and_another_recipe_begins_anew(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C after a fold: a sentence, the shell's code, nothing left running; then only the other fold is trained."""
    write_params(place / "params.yaml", merged(SETTINGS | {"evaluate": {}}, SHORT))
    with Path("log.txt").open("w") as log, subprocess.Popen(command(), stderr=log, stdout=log) as process:
        until = time.monotonic() + 600
        while "crossval: 1 of 2: " not in (said := Path("log.txt").read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 128 + signal.SIGINT
    said = Path("log.txt").read_text()
    (first,) = Path("kept").glob(f"*/seed-*-fold-0-*/{child.RESULT}")
    assert "crossval: stopped by SIGINT in seed 2026, fold 2 of 2" in said
    assert "crossval: 2 trainings to do, about" in said  # how long they take
    assert json.loads(Path("out/crossval.json").read_text())["unfinished"] == 1
    written = first.stat().st_mtime_ns

    here()
    captured = capsys.readouterr()
    assert "1 of 2 are finished already" in captured.err
    assert first.stat().st_mtime_ns == written
    assert "95 % interval" in captured.out
    rows = pd.read_csv("out/crossval.csv")
    assert rows[["fold", "role", "sampling", "test_videos"]].to_numpy().tolist() == [
        [1, "student", "uniform", 16],
        [2, "student", "uniform", 16],
    ]
    found = json.loads(Path("out/crossval.json").read_text())
    assert found["summary"]["student"]["uniform"]["top1"] == pytest.approx(rows["top1"].mean(), abs=1e-6)
    assert (found["unfinished"], found["groups"], found["videos"]) == (0, 16, 32)
    assert "What cross-validation is not" in Path("out/index.html").read_text(encoding="utf-8")
    left = {path.name for path in first.parent.iterdir()}
    assert not left & {"student", "state"}  # weights and states are gone
    assert not Path(".pptsm/training").exists()  # the pipeline's own states are not touched

    write_params(place / "params.yaml", merged(SETTINGS | {"evaluate": {}}, SHORT), {"student": {"epochs": 3}})
    prepare(Asked(2, 1), places())
    assert "starts anew, because the last one, kept/crossval-" in (said := capsys.readouterr().err)
    assert "student.epochs (was 2, is 3)" in said


def test_held_out_groups_may_stay_out(place: Path) -> None:
    """With --keep-test no video of a test group takes part; without it all do; and what is missing is named."""
    write_params(place / "params.yaml", merged(SETTINGS | {"evaluate": {}}, SHORT))
    table = pd.read_csv("index.csv")
    table.loc[table["group"].isin(["dark1", "light1"]) & (table["split"] == "val"), "split"] = "test"
    table.to_csv("index.csv", index=False)
    with pytest.raises(UserError, match=r"class names|index"):
        prepare(Asked(2, 1), Places(Path("params.yaml"), Path("index.csv"), Path("nowhere"), *[Path("none")] * 3))
    assert len(prepare(Asked(2, 1), places()).videos) == 32
    kept = prepare(Asked(2, 1, keep_test=True), places())
    assert (len(kept.videos), kept.left_out) == (28, 4)
    assert not set(kept.videos["group"]) & {"dark1", "light1"}


def test_a_fold_that_fails_names_its_reason_and_its_log(place: Path) -> None:
    """A video that is no more: the clip, the fold, the log; the exit code is that of a mistake."""
    write_params(place / "params.yaml", merged(SETTINGS | {"evaluate": {}}, SHORT))
    for path in Path("videos/dark").glob("*.mp4"):
        path.unlink()
    with pytest.raises(UserError, match=r"crossval: seed 2026, fold 1 of 2: clip 'dark/.*\n.*log\.txt") as failed:
        here()
    assert failed.value.exit_code == 1
    assert not Path("out").exists()
