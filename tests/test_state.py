"""The state of a training: one run at a time has it, and a damaged one is no dead end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from helpers.states import PARAMETERS, learner
from pptsm.training.checkpoint import OTHER_CODE, STATE, Checkpoint, TrainState
from pptsm.training.provenance import PROVENANCE, Provenance
from pptsm.training.state_file import read_state

HOLDER = """
import sys, time
from pathlib import Path
from helpers.states import PARAMETERS, learner
from pptsm.training.checkpoint import Checkpoint, Provenance, TrainState
checkpoint = Checkpoint("student", Provenance(PARAMETERS, {}, {}))
with checkpoint.lock():
    checkpoint.save(TrainState(2, [], 0.5, None), *learner())
    Path("begun").touch()
    while not Path("go on").exists():
        time.sleep(0.01)
    checkpoint.finish()
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Of a run in a folder of its own, in which nothing was trained yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OTHER_CODE, raising=False)
    return Checkpoint("student", Provenance(PARAMETERS, {}, {}))


@pytest.fixture
def holder(checkpoint: Checkpoint, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the same training, its last epoch saved; it finishes when there is a file `go on`."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen([sys.executable, "-c", HOLDER], env={**os.environ, "PYTHONPATH": path}) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield process
        process.kill()


def epochs_of(progress: TrainState | None) -> int | None:
    return None if progress is None else progress.epochs_done


def test_a_second_run_waits_and_takes_the_result(
    checkpoint: Checkpoint, holder: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says who holds the state, and what to do; when the first is done, nothing is left to train."""
    later = threading.Timer(1.0, (tmp_path / "go on").touch)
    later.start()
    with checkpoint.lock():
        assert later.finished.is_set()  # not before the first was told to go on
        assert epochs_of(checkpoint.load(*learner())) == 2
        checkpoint.finish()
    assert holder.wait(60) == 0
    said = capsys.readouterr().err
    assert f"under way in another run (process {holder.pid} on " in said
    assert "Ctrl-C ends the waiting" in said
    assert "takes the result of the run that it waited for" in said
    assert [path.name for path in checkpoint.finished.parent.iterdir()] == ["student-finished"]


def test_a_second_run_goes_on_where_a_killed_one_was(checkpoint: Checkpoint, holder: subprocess.Popen[bytes]) -> None:
    """kill -9 frees the state at once."""
    holder.kill()
    holder.wait(60)
    with checkpoint.lock():
        assert epochs_of(checkpoint.load(*learner())) == 2


def test_another_training_does_not_take_a_state_under_way(
    checkpoint: Checkpoint, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even with other code allowed; once its owner is dead it does."""
    monkeypatch.setenv(OTHER_CODE, "1")
    other = Checkpoint("student", Provenance(PARAMETERS, {}, {"training/loop.py": "edited"}))
    with other.lock():
        assert other.load(*learner()) is None
        assert (checkpoint.folder / STATE).exists()
        holder.kill()
        holder.wait(60)
        assert epochs_of(other.load(*learner())) == 2
    assert not checkpoint.folder.exists()


def test_a_finished_training_is_taken_up_by_the_same_one(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a line that says how to train anew; another parameter, input or code trains."""
    with checkpoint.lock():
        checkpoint.save(TrainState(2, [], 0.5, None), *learner())
        checkpoint.finish()
    for other in (
        Provenance(PARAMETERS | {"seed": 1}, {}, {}),
        Provenance(PARAMETERS, {"the index": "another"}, {}),
        Provenance(PARAMETERS, {}, {"training/loop.py": "another"}),
    ):
        assert Checkpoint("student", other).load(*learner()) is None
    capsys.readouterr()
    for _ in range(2):  # it stays where it is
        with checkpoint.lock():
            assert epochs_of(checkpoint.load(*learner())) == 2
            checkpoint.finish()
    said = capsys.readouterr().err
    assert "takes the finished training in .pptsm/training/student-finished" in said
    assert "To train anew, delete that folder" in said


def test_one_turned_bit_anywhere_in_a_state_is_noticed(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the header's length, its names, the digest, the padding, the first and the last array: never trained on."""
    networks, optimizer, scaler = learner()
    checkpoint.save(TrainState(1, [{"epoch": 1.0}], 0.5, None), networks, optimizer, scaler)
    file = checkpoint.folder / STATE
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    digest = whole.index(b'"state":"') + 9
    places = [0, 7, 8, 9, whole.index(b"progress"), digest - 5, digest, digest + 63, header - 1, header, len(whole) - 1]
    rng = np.random.default_rng(0)
    for place in [*places, *rng.integers(len(whole), size=60), *rng.integers(header, size=60)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        with pytest.raises((SafetensorError, ValueError, KeyError, TypeError)):
            read_state(file)
    file.write_bytes(damaged)
    assert checkpoint.load(networks, optimizer, scaler) is None
    assert "is damaged and removed, and nothing of it is used" in capsys.readouterr().err
    assert not file.exists()


def test_a_longer_training_takes_no_turned_bit(checkpoint: Checkpoint) -> None:
    """Nor does the same one take it up."""
    checkpoint.save(TrainState(2, [], 0.5, None), *learner())
    checkpoint.finish()
    file = checkpoint.finished / STATE
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 1
    for provenance in (checkpoint.provenance, Provenance(PARAMETERS | {"student.epochs": 3}, {}, {})):
        checkpoint.finished.mkdir(exist_ok=True)
        file.write_bytes(damaged)
        assert Checkpoint("student", provenance).load(*learner()) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999, "garbage", "number", "folder", "file for the folder"])
@pytest.mark.parametrize("which", ["unfinished", "finished"])
def test_a_damaged_state_is_said_and_begun_anew(
    checkpoint: Checkpoint, share: float | str, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off anywhere, other bytes, a folder in its place: one line, and the next save is whole."""
    checkpoint.save(TrainState(1, [], 0.5, None), *learner())
    if which == "finished":
        checkpoint.finish()
        longer = PARAMETERS | {"student.epochs": 3}
        checkpoint = Checkpoint("student", Provenance(longer, {}, {}))
    folder = checkpoint.finished if which == "finished" else checkpoint.folder
    state = folder / STATE
    whole = state.read_bytes()
    state.unlink()
    if share == "folder":
        state.mkdir()
    elif share == "file for the folder":
        (folder / PROVENANCE).unlink()
        folder.rmdir()
        folder.touch()
    else:
        kinds = {"garbage": b"\x00\xff" * 5000, "number": b"I1\n."}
        state.write_bytes(kinds[share] if isinstance(share, str) else whole[: int(share * len(whole))])
    assert checkpoint.load(*learner()) is None
    said = capsys.readouterr().err
    assert ("is damaged and removed" in said) or (which == "finished" and "cannot be read" in said)
    assert "Traceback" not in said
    checkpoint.save(TrainState(1, [], 0.5, None), *learner())
    assert epochs_of(checkpoint.load(*learner())) == 1
    checkpoint.finish()
    assert (checkpoint.finished / STATE).is_file()


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"parameters": 1, "inputs": 2, "code": 3}', b"\xff", None])
def test_a_state_of_unknown_making_serves_no_other_training(
    checkpoint: Checkpoint, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file beside it is half-written, something else, or a folder: a line, and the run starts anew."""
    checkpoint.save(TrainState(1, [], 0.5, None), *learner())
    (checkpoint.folder / PROVENANCE).unlink()
    if content is None:
        (checkpoint.folder / PROVENANCE).mkdir()
    else:
        (checkpoint.folder / PROVENANCE).write_bytes(content)
    other = Checkpoint("student", Provenance(PARAMETERS | {"seed": 2}, {}, {}))
    assert other.load(*learner()) is None
    assert f"{PROVENANCE} cannot be read" in capsys.readouterr().err
