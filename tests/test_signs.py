"""Why a set is not learned: each reason appears where its figures were measured, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.roles import LABELS, fit
from pptsm.data.table import COLUMNS, save_index
from pptsm.evaluation.diagnosis import Learning
from pptsm.evaluation.signs import Evidence, evidence_of, pairs_not_told_apart, signs
from pptsm.video.encode import write_video
from test_advice import LEARNING, VERDICT

# Two classes, 100 videos of 20 groups, all recognised by a network from random weights that learned its clips.
GOOD = Evidence(
    top1=0.97, low=0.9, high=0.99, low_by_video=0.92, chance=0.5, videos=100, groups=20, train_top1=0.99, rising=False,
    random_start=True, segments=8, crop_px=64,
)  # fmt: skip
NOTHING = replace(GOOD, top1=0.5, low=0.38, high=0.62, low_by_video=0.4)
FLAT = ((25, 4.0, 0.52), (50, 8.0, 0.47), (100, 16.0, 0.5))
RISING = ((25, 4.0, 0.52), (50, 8.0, 0.6), (100, 16.0, 0.72))


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (GOOD, []),
        (replace(GOOD, curve=RISING), []),  # what is recognised needs no reason
        (replace(GOOD, low=None, high=None, groups=1), ["too few groups"]),
        # above chance if videos were independent
        (replace(NOTHING, top1=0.62, low=0.45, high=0.75, low_by_video=0.52, train_top1=0.6), ["too few groups"]),
        (replace(NOTHING, top1=0.72, low=0.6, low_by_video=0.62, curve=RISING), ["too few groups", "needs custom"]),
        # learned by heart: one training cannot tell why, a learning curve can
        (NOTHING, ["memorised"]),
        (replace(NOTHING, curve=RISING), ["too few groups", "needs custom"]),
        (replace(NOTHING, random_start=False), ["memorised"]),
        (replace(NOTHING, curve=FLAT), ["labels that disagree"]),
        (replace(GOOD, top1=0.9, low=0.8, doubtful=6), ["labels that disagree"]),
        (replace(GOOD, top1=0.9, low=0.8, doubtful=4), []),
        # not learned at all
        (replace(NOTHING, train_top1=0.55), ["not told apart"]),
        (replace(NOTHING, train_top1=0.55, rising=True), []),  # it only ended too early
        (replace(GOOD, top1=0.9, low=0.8, pairs=["a and b"]), ["not told apart"]),
        (replace(GOOD, top1=0.8, low=0.7, high=0.88), ["needs custom"]),
        (replace(GOOD, top1=0.8, low=0.7, high=0.88, random_start=False), []),
        (replace(NOTHING, train_top1=None), []),  # nothing was trained here
    ],
)
def test_each_reason_has_its_measure(found: Evidence, kinds: list[str]) -> None:
    """By training accuracy, interval, learning curve, seeds and confusions."""
    assert [sign.kind for sign in signs(found)] == kinds


def test_the_figures_are_in_the_sentence() -> None:
    """Whoever doubts the reason sees what it rests on."""
    (sign,) = signs(replace(NOTHING, curve=FLAT, agreement=0.54, agreement_by_chance=0.5))
    for figure in ("99.0%", "4 training groups (52.0%)", "16 (50.0%; chance 50.0%)", "54.0%", "(by chance 50.0%)"):
        assert figure in sign.text
    (sign,) = signs(replace(NOTHING, train_top1=0.55))
    assert "8 frames of 64 px" in sign.text


def test_a_training_alone_is_evidence() -> None:
    """Of a card's verdict, or of a row of the evaluation, whose interval is that by group."""
    learned = Learning(**vars(LEARNING) | {"train_top1": 0.95})
    card = evidence_of(VERDICT | {"top1": 0.5, "low_by_video": 0.38}, learned)
    assert (card.low, card.high, card.chance, card.learned) == (0.31, None, 0.525, True)
    assert [sign.kind for sign in signs(card)] == ["memorised"]
    row = {"top1": 0.8, "top1_low": 0.7, "top1_low_by_group": 0.6, "top1_high_by_group": 0.97, "chance": 0.5}
    found = evidence_of(row | {"videos": 60, "groups": 6}, learned)
    assert (found.low, found.high, found.low_by_video) == (0.6, 0.97, 0.7)
    assert signs(found) == []  # its training clips are within the interval


def test_pairs_that_are_taken_for_each_other() -> None:
    """Told from a third class, at chance between themselves; with few videos, or told apart, nothing is said."""
    names = ["left", "right", "up"]
    mixed = [[20, 18, 2], [19, 21, 0], [1, 0, 39]]
    (pair,) = pairs_not_told_apart(mixed, names, seeds=1)
    assert pair == "left and right: of 78 videos that were called one of the two 41 were called rightly"
    assert pairs_not_told_apart([[8, 6, 0], [6, 8, 0], [0, 0, 14]], names, seeds=4) == []  # seven videos: too few
    assert pairs_not_told_apart([[32, 8, 0], [8, 32, 0], [0, 0, 40]], names, seeds=1) == []
    assert pairs_not_told_apart([[20, 20], [20, 20]], names[:2], seeds=1) == []  # that is chance
    assert pairs_not_told_apart([[10, 9, 21], [9, 10, 21], [0, 0, 40]], names, seeds=1) == []  # a mess, no pair


def test_labels_without_sense_are_learned_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real training on textures, each labelled by the toss of a coin: known by heart, and of others it knows nothing.

    In one group, the same says nothing of others at all.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    rng, rows = np.random.default_rng(3), []
    for number in range(56):
        name = f"{number}.mp4"
        texture = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        write_video(tmp_path / "videos" / name, np.repeat(texture[None], 8, axis=0), 10, "mpeg4")
        label = int(rng.integers(2))
        row = {"id": name, "path": name, "label": LABELS[label], "label_index": label, "group": name}
        row |= {"split": "train" if number < 16 else "val", "status": "ok", "num_frames": 8, "reason": "", "sha256": ""}
        rows.append(dict.fromkeys(COLUMNS, 0) | row)
    save_index(pd.DataFrame(rows), tmp_path / "index.csv")
    (tmp_path / "labels.txt").write_text("dark\nlight\n")
    card, history = fit(
        "teacher", {"teacher": {"epochs": 10}, "training": {"clips_per_video": 2, "label_smoothing": 0}}
    )
    verdict = card["verdict"]
    found = evidence_of(verdict, Learning(**verdict["learning"]))
    assert history["train_top1"].iloc[-1] > 0.8
    assert [sign.kind for sign in signs(found)] == ["memorised"]
    alone = evidence_of(verdict | {"groups": 1, "above_chance": None}, Learning(**verdict["learning"]))
    assert signs(alone)[0].kind == "too few groups"
