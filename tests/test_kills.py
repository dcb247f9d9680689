"""A training that is stopped anywhere, by signals or without warning, ends with the same bytes as one that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from helpers.roles import fit, place, states
from pptsm.runtime.errors import Stopped
from pptsm.training import checkpoint as state_module
from pptsm.training.checkpoint import COLUMNS, STATE, Checkpoint, TrainState
from pptsm.training.epoch_metrics import EpochMetrics
from pptsm.training.state_file import read_state, write_state

__all__ = ["place"]  # a fixture

# Three epochs of four steps, in which all that is random is drawn: clips, mixing, dropout; the best epoch is kept.
RECIPE: dict[str, Any] = {
    "teacher": {"epochs": 3, "network": {"dropout": 0.5}},
    "training": {"batch_size": 4, "batch_norm_clips": 2, "mix": "videomix", "keep": "best", "precise_bn_every": 2},
}
STEPS = 12


def fit_with(save_every_min: float = 1000.0) -> pd.DataFrame:
    """Train; the history without times."""
    _, history = fit("teacher", RECIPE, {"compute": {"devices": 1, "workers": 0, "save_every_min": save_every_min}})
    return history.drop(columns=["clips_per_sec", "wait_share"])


def undisturbed() -> tuple[pd.DataFrame, bytes]:
    """History and weights of a run that nothing stops; its state goes, or the next run would take that up."""
    expected, whole = fit_with(), weights()
    shutil.rmtree(".pptsm/training/teacher-finished")
    return expected, whole


def weights() -> bytes:
    return Path("teacher/weights.pdparams").read_bytes()


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]) -> None:
    """Call `do` when so many steps of the next run are computed, the last one not yet counted."""
    add, steps = EpochMetrics.add, 0

    def add_or(self: EpochMetrics, *arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            do()
        add(self, *arguments)

    monkeypatch.setattr(EpochMetrics, "add", add_or)


class Died(BaseException):
    """Stands for a death without warning: nothing catches it."""


def die() -> None:
    raise Died


@pytest.mark.parametrize(
    ("asked", "code", "step", "reached"),
    [
        (signal.SIGINT, 130, 2, "epoch 0 and 3 steps"),
        (signal.SIGTERM, 143, 8, "epoch 1 and 4 steps"),  # the last step of an epoch: before batch norm and validation
    ],
)
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on_there(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: signal.Signals,
    code: int,
    step: int,
    reached: str,
) -> None:
    """One sentence, the shell's exit code, the next step is in; then weights and history as without the stop."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    expected, whole = undisturbed()
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), asked))
        with pytest.raises(Stopped, match=rf"teacher: stopped by {asked.name}; saved is {reached}, and") as stopped:
            fit_with()
    assert stopped.value.exit_code == code
    assert {number: signal.getsignal(number) for number in before} == before
    capsys.readouterr()
    pd.testing.assert_frame_equal(fit_with(), expected)
    epoch, steps = reached.removeprefix("epoch ").split(" and ")
    assert f"teacher: going on after epoch {epoch} of 3 and {steps}\n" in capsys.readouterr().err
    assert weights() == whole
    assert states() == ["teacher-finished"]


def test_a_second_ctrl_c_leaves_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the step under way; SIGTERM after Ctrl-C, as an orchestrator sends it, leaves the save its time."""

    def twice(second: signal.Signals) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), second)

    for second, reached in ((signal.SIGINT, "no step yet"), (signal.SIGTERM, "epoch 0 and 3 steps")):
        with monkeypatch.context() as patch:
            at_step(patch, 2, lambda second=second: twice(second))
            with pytest.raises(Stopped, match=f"saved is {reached}"):
                fit_with()


def test_a_signal_in_validation_leaves_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the steps before it are saved, and validation of 20,000 videos takes longer than an orchestrator waits."""
    expected, whole = undisturbed()
    with monkeypatch.context() as patch:
        scores = "pptsm.training.loop.validation_logits"
        patch.setattr(scores, lambda *_: os.kill(os.getpid(), signal.SIGTERM) or pytest.fail("it went on"))
        with pytest.raises(Stopped, match="saved is epoch 0 and 4 steps"):
            fit_with()
    pd.testing.assert_frame_equal(fit_with(), expected)
    assert weights() == whole


def test_twenty_deaths_at_random_steps_change_no_byte(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a state after every step, or between epochs alone, a run that dies again and again ends the same."""
    expected, whole = undisturbed()
    rng, deaths = np.random.default_rng(7), 0
    while deaths < 20:
        every_step = deaths % 4 > 0
        with monkeypatch.context() as patch:
            at_step(patch, int(rng.integers(1, 5)), die)
            try:
                found = fit_with(0.0 if every_step else 1000.0)
            except Died:
                deaths += 1
                continue
        pd.testing.assert_frame_equal(found, expected)
        assert weights() == whole
        shutil.rmtree(".pptsm/training/teacher-finished")
    pd.testing.assert_frame_equal(fit_with(), expected)
    assert weights() == whole
    assert "and 1 steps" in capsys.readouterr().err


def test_a_death_while_a_state_is_written_leaves_the_one_before(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of it stands beside under another name, until the next state takes its place."""
    expected, whole = undisturbed()

    def half(path: Path, state: dict[str, Any]) -> None:
        write_state(path, state)
        if state["progress"]["sums"] and state["progress"]["sums"]["steps"] == 3:
            os.truncate(path, path.stat().st_size // 2)
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "write_state", half)
        with pytest.raises(Died):
            fit_with(0.0)
    (state,) = Path(".pptsm/training").glob(f"teacher-*/{STATE}")
    assert read_state(state)["progress"]["sums"]["steps"] == 2
    pd.testing.assert_frame_equal(fit_with(), expected)
    assert weights() == whole


def test_within_an_epoch_a_state_is_due_by_the_clock(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After every step, or never: then before and after what ends an epoch."""
    saved: list[int] = []
    save = Checkpoint.save

    def save_and_count(self: Checkpoint, progress: Any, *others: Any) -> None:
        saved.append(progress.sums["steps"] if progress.sums else 0)
        save(self, progress, *others)

    monkeypatch.setattr(Checkpoint, "save", save_and_count)
    fit_with(0.0)
    assert saved == [1, 2, 3, 4, 4, 0] * 3
    saved.clear()
    shutil.rmtree(".pptsm/training/teacher-finished")
    fit_with(1000.0)
    assert saved == [4, 0] * 3


def test_a_state_is_arrays_and_json(tmp_path: Path) -> None:
    """Read back bit for bit: types, shapes, numbers that JSON has no name for; the same values, the same bytes."""
    state = {
        "a": {"x": np.array(2.5), "y": [np.arange(6, dtype=np.int64).reshape(2, 3).T, {"z": np.zeros((0, 2), "f4")}]},
        "b": [0.1, float("inf"), None, "text", {}],
    }
    write_state(tmp_path / "one", state)
    write_state(tmp_path / "two", state)
    found = read_state(tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert found["b"] == state["b"]
    (x, (y, z)), (x_, (y_, z_)) = state["a"].values(), found["a"].values()  # type: ignore[union-attr]
    for one, other in ((x, x_), (y, y_), (z["z"], z_["z"])):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        assert one.shape == other.shape
    header = (tmp_path / "one").read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert json.loads(header[8 : 8 + length])["a.y.0"]["shape"] == [3, 2]


def test_the_table_of_epochs_grows_with_the_training(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row after each epoch, and again after a death and what DVC removes then; `kept` is what it is up to there."""
    expected = fit_with()
    shutil.rmtree(".pptsm/training/teacher-finished")
    table, rows = Path("teacher.csv"), []
    for step in (6, 1, 5):  # of each run, which goes on after the last whole epoch
        table.unlink()
        with monkeypatch.context() as patch:
            at_step(patch, step, die)
            with pytest.raises(Died):
                fit_with()
        found = pd.read_csv(table)
        rows.append(len(found))
        same = found.drop(columns=["clips_per_sec", "wait_share", "kept"])
        pd.testing.assert_frame_equal(same, expected.head(len(found)).drop(columns="kept"))
        best = found.loc[found["val_top1"] == found["val_top1"].max(), "epoch"].max()
        assert found.loc[found["kept"] == 1, "epoch"].tolist() == [best]
    assert rows == [1, 1, 2]
    pd.testing.assert_frame_equal(fit_with(), expected)


def test_without_a_best_epoch_the_last_one_is_kept() -> None:
    """Of as many as there are; of none the columns alone."""
    state = TrainState(epochs_done=2, history=[{"epoch": 1}, {"epoch": 2}], best_top1=-1.0, best_weights=None)
    assert state.table()["kept"].tolist() == [0, 1]
    assert TrainState(0, [], -1.0, None).table().columns.tolist() == COLUMNS


@pytest.mark.slow
def test_sigkill_of_the_tree_or_of_what_prepares_clips(tmp_path: Path) -> None:
    """Real ones, at random moments, and signals that ask: the benchmark compares bytes and looks for partial files."""
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 " in done.stdout
