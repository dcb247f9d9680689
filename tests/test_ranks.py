"""How many processes train decides nothing: the same bytes come out, whatever the recipe draws, mixes and measures."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import merged, params_with, write_params
from helpers.roles import SETTINGS, fit, place, weights_of
from pptsm.distributed.launcher import SIZE
from pptsm.runtime import cores as processor
from pptsm.runtime.errors import UserError
from pptsm.training.groups import divided, most_processes, number_of_groups
from pptsm.weights.state_dict import read_weights

__all__ = ["place"]  # a fixture

# Two steps an epoch of 14 clips in groups of 4, 5 and 5; clips, mixing and dropout draw, statistics are measured anew.
RECIPE: dict[str, Any] = {
    "teacher": {"epochs": 2, "network": {"dropout": 0.3}},
    "student": {"epochs": 2, "network": {"dropout": 0.3}},
    "training": {
        "batch_size": 14,
        "batch_norm_clips": 4,
        "clips_per_video": 2,
        "mix": "videomix",
        "precise_bn_every": 1,
        "clip_norm": 1.0,
    },
}
MUTUAL: dict[str, Any] = {
    "student": {"distillation": {"kind": "mutual", "temperature": 1.0, "weight": 1.0}},
    "training": {"label_smoothing": 0.0},
}
COMMANDS = {
    "teacher": [],
    "student": ["--teacher", "teacher", "--teacher-start", "start"],
}


def trained(role: str, devices: int, *changes: dict[str, Any]) -> tuple[dict[str, bytes], pd.DataFrame, str]:
    """Weights by file, history without times, and what was said, of a training by so many processes of one thread."""
    settings = SETTINGS
    for change in (RECIPE, *changes, {"compute": {"devices": devices, "workers": 0}}):
        settings = merged(settings | {key: settings.get(key, {}) for key in change}, change)
    write_params(Path("params.yaml"), settings)
    out = Path(f"{role}-{devices}")
    command = ["pptsm", role, "--index", "index.csv", "--labels", "labels.txt", "--frames", "none", "--start", "start"]
    command += [*COMMANDS[role], "--out", str(out), "--history", f"{out}.csv"]
    environment = os.environ | {processor.THREADS: "1", "PPTSM_STATE": str(Path(f"state-{devices}").resolve())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    weights = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("weights.pdparams")}
    return weights, pd.read_csv(f"{out}.csv").drop(columns=["clips_per_sec", "wait_share"]), done.stderr


@pytest.mark.parametrize(("role", "changes"), [("teacher", {}), ("student", MUTUAL)], ids=["labels", "mutual"])
def test_any_number_of_processes_trains_the_same_bytes(place: Path, role: str, changes: dict[str, Any]) -> None:
    """One, two and sixteen, of which the three groups keep three busy; what is validated agrees to rounding."""
    alone, history, _ = trained(role, 1, changes)
    assert len(alone) == (2 if changes else 1)
    assert history["loss"].nunique() == 2
    for devices in (2, 16):
        weights, other, said = trained(role, devices, changes)
        assert f"{role}: computes on {min(devices, 3)} processes" in said
        assert ("(compute.devices, of 16: there is no more to share at a time)" in said) == (devices == 16)
        assert weights == alone
        pd.testing.assert_frame_equal(other, history, rtol=1e-5)


def test_a_launcher_may_not_start_more_processes_than_groups(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Three groups of a batch, four processes: a sentence before they wait for each other."""
    monkeypatch.setenv(SIZE, "4")
    with pytest.raises(UserError, match=r"4 processes were launched, but at most 3 .*training\.batch_norm_clips"):
        fit("teacher", RECIPE)


def test_batch_norm_and_mixing_look_at_their_group_only(place: Path) -> None:
    """Another number of clips in a group is another training: it belongs to the recipe, and to the key of its state."""
    first, _ = fit("teacher", RECIPE)
    weights = weights_of("teacher")
    second, _ = fit("teacher", RECIPE, {"training": {"batch_norm_clips": 7}})
    assert first["revision"] != second["revision"]
    assert any((weights_of("teacher")[name] != array).any() for name, array in weights.items())
    third, _ = fit("teacher", RECIPE, {"compute": {"batch_views": 3}})
    assert third["revision"] == first["revision"]


@pytest.mark.parametrize(
    ("clips", "asked", "sizes"),
    [(16, 8, [8, 8]), (20, 8, [10, 10]), (14, 4, [4, 5, 5]), (5, 8, [5]), (8, 8, [8]), (15, 8, [15]), (1, 1, [1])],
)
def test_a_group_never_has_fewer_clips_than_asked(clips: int, asked: int, sizes: list[int]) -> None:
    """Unless there are no more; groups differ by one clip at most, and together they are the batch in its order."""
    recipe = params_with(training={"batch_norm_clips": asked, "batch_size": 16}).training
    groups = divided(list(range(clips)), number_of_groups(clips, recipe))
    assert [len(group) for group in groups] == sizes
    assert [number for group in groups for number in group] == list(range(clips))
    assert most_processes(clips, recipe, on_gpu=False) == most_processes(clips, recipe, on_gpu=True) == len(sizes)


def test_a_synchronised_batch_is_one_group_on_a_cpu() -> None:
    """As Paddle synchronises on GPUs only; there each has a part, however many they are."""
    recipe = params_with(training={"batch_norm": "synchronised", "batch_size": 16, "batch_norm_clips": 4}).training
    assert most_processes(16, recipe, on_gpu=False) == number_of_groups(16, recipe) == 1
    assert most_processes(16, recipe, on_gpu=True) == 16
    assert number_of_groups(16, recipe, gpus=8) == 8


def test_running_statistics_are_the_mean_of_all_groups_not_of_the_last(place: Path) -> None:
    """Weighted by their clips: those of the first norm, whose input no norm touches, are then those of the batch."""
    still = {"training": {"base_lr": 1e-12, "precise_bn_every": 0, "mix": "none"}, "teacher": {"epochs": 1}}
    fit("teacher", RECIPE, still)
    one_by_one = read_weights(Path("teacher/weights.pdparams"))
    fit("teacher", RECIPE, still, {"training": {"batch_norm_clips": 14}})
    at_once = read_weights(Path("teacher/weights.pdparams"))
    name = "backbone.conv1_1._batch_norm._mean"
    np.testing.assert_allclose(one_by_one[name], at_once[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lr_for_batch", [64, 0])
def test_an_epoch_of_few_clips_is_a_small_batch_with_rates_to_match(
    place: Path, lr_for_batch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sixteen clips where a batch of 64 is asked for: a quarter of the rates said for 64; log and card say sixteen."""
    piecewise = {"schedule": "piecewise", "step_epochs": [1], "step_factor": 0.1, "base_lr": 0.08}
    few = piecewise | {"batch_size": 64, "lr_for_batch": lr_for_batch}
    card, history = fit("teacher", {"teacher": {"epochs": 2}, "training": few, "student": {"epochs": 2}})
    rates = [0.02, 0.002] if lr_for_batch else [0.08, 0.008]
    assert history["lr"].tolist() == pytest.approx(rates)
    said = "rates are 16/64 of those" if lr_for_batch else "rates stay as they are"
    assert (
        f"teacher: a step learns from 16 clips, all that an epoch has, not from 64 (training.batch_size); {said}"
        in (capsys.readouterr().err)
    )
    assert card["clips_per_step"] == 16
