"""Disks that are full or read-only: a sentence, an exit code, and nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import TINY, good_index, pptsm, write_params
from pptsm.data.table import save_index
from pptsm.frames.archive import archive_writer

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    """Drawing more videos than fit ends in a sentence, and the folder is as it was."""
    write_params(small_disk / "params.yaml")
    done = pptsm("motion", "--out", "data", cwd=small_disk, check=False)
    assert done.returncode == 1
    assert "error: the disk filled up while writing" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["params.yaml"]


def fill(place: Path, leave_kb: int) -> None:
    """Take all but so much of a small file system."""
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    (place / "filler").write_bytes(bytes(free - leave_kb * 1024))


def files_in(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A folder with a few videos of the embedded dataset, and their index."""
    small = {"videos_per_class": 6, "groups": 6, "frame_px": 64, "num_frames": 16}
    write_params(tmp_path / "params.yaml", TINY, {"motion": small, "index": {"root": "data"}})
    pptsm("motion", "--out", "data", cwd=tmp_path)
    return tmp_path


INDEX = ("index", "--out", "index.csv", "--labels", "labels.txt")


@pytest.mark.parametrize("leave_kb", [0, 40, 120])
def test_probes_on_a_full_disk_end_in_the_sentence(drawn: Path, small_disk: Path, leave_kb: int) -> None:
    """It comes from a worker; there is no index, and with room the same command makes it."""
    fill(small_disk, leave_kb)
    done = pptsm(*INDEX, cwd=drawn, check=False, PPTSM_STATE=str(small_disk / "state"))
    if done.returncode == 0:
        pytest.skip("the probes of so few videos fit")
    assert "error: the disk filled up while writing" in done.stderr
    assert str(small_disk / "state") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (drawn / "index.csv").exists()
    (small_disk / "filler").unlink()
    pptsm(*INDEX, cwd=drawn, PPTSM_STATE=str(small_disk / "state"))


@pytest.mark.parametrize("leave_kb", [0, 200, 700])
def test_pages_of_a_validation_on_a_full_disk_end_in_the_sentence(
    small_disk: Path, tmp_path: Path, leave_kb: int
) -> None:
    """Great Expectations logs what it cannot write and goes on; here it is one sentence, and no pages stay behind."""
    save_index(good_index(), tmp_path / "index.csv")
    (tmp_path / "labels.txt").write_text("jump\nrun\n")
    write_params(tmp_path / "params.yaml")
    fill(small_disk, leave_kb)
    options = ("--index", "index.csv", "--labels", "labels.txt", "--out", "result.json")
    done = pptsm("validate", *options, "--docs", str(small_disk / "docs"), cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"error: the disk filled up while writing {small_disk / 'docs'}" in done.stderr
    assert "No space left" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "result.json").exists()
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


WRITES = """
import sys
from pathlib import Path
import numpy as np
import paddle
from pptsm import cli
from pptsm.runtime.files import atomic_file, atomic_folder
from pptsm.model.network import build_model

def table():
    import pandas as pd
    with atomic_file(Path("out.csv")) as partial:
        pd.DataFrame(np.zeros((100_000, 9))).to_csv(partial)

def state():
    from helpers.states import PARAMETERS, learner
    from pptsm.training.checkpoint import Checkpoint, Provenance, TrainState
    checkpoint = Checkpoint("student", Provenance(PARAMETERS, {}, {}))
    checkpoint.save(TrainState(1, [], 0.5, None), *learner())

def inference():
    from pptsm.deploy.convert import save_inference
    with atomic_folder(Path("out")) as folder:
        save_inference(build_model("tsm", 18, 2, 2, width=0.5), folder, (2, 3, 32, 32))

def network():
    from pptsm.deploy.convert import convert_to_onnx, save_inference
    import tempfile
    with atomic_file(Path("out.onnx")) as partial, tempfile.TemporaryDirectory(dir=sys.argv[2]) as folder:
        save_inference(build_model("tsm", 18, 2, 2, width=0.5), Path(folder), (2, 3, 32, 32))
        convert_to_onnx(Path(folder), partial, 13, {})

def download():
    import threading
    from helpers.badserver import BadServer
    from pptsm.weights.download import download
    with BadServer(bytes(3_000_000)) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        download(server.url("good"))

cli.app = globals()[sys.argv[1]]
cli.main()
"""


@pytest.mark.parametrize("writer", ["table", "state", "inference", "network", "download"])
def test_every_writer_ends_in_the_sentence(small_disk: Path, tmp_path: Path, writer: str) -> None:
    """Whatever pandas, pickle, Paddle, paddle2onnx and a transfer call a full disk."""
    fill(small_disk, leave_kb=100)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", WRITES, writer, tmp_path],
        cwd=small_disk,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error: the disk filled up while writing" in done.stderr
    assert str(small_disk) in done.stderr
    assert "Traceback" not in done.stderr
    # beside a lock: what a state was made of, whole; what came of a download, which goes on from there
    may_be = {"filler", "provenance.json", "good.bin.partial", "good.bin.validator", "lock"}
    assert {Path(name).name for name in files_in(small_disk)} <= may_be


def test_a_read_only_place_is_named(small_disk: Path) -> None:
    """Which path, why, and what to check."""
    write_params(small_disk / "params.yaml")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = pptsm("motion", "--out", "data", cwd=small_disk, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 130, and the half-drawn folder is gone."""
    write_params(tmp_path / "params.yaml")
    process = subprocess.Popen(
        ["pptsm", "motion", "--out", "data"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  also where tests run in the background
    )
    while not list(tmp_path.glob(".data.*.partial/data/*/*.mp4")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; finished work is kept" in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_sigterm_ends_with_a_sentence_and_leaves_nothing_behind(drawn: Path) -> None:
    """As by a process manager, while videos are decoded: no semaphore leaks, of which Python would speak last."""
    process = subprocess.Popen(["pptsm", *INDEX], cwd=drawn, stderr=subprocess.PIPE, text=True)
    family = psutil.Process(process.pid)
    while not [child for child in family.children() if "spawn_main" in " ".join(child.cmdline())]:
        assert process.poll() is None
        time.sleep(0.01)
    children = family.children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1] == "stopped by SIGTERM; finished work is kept, the same command goes on from there."
    assert "leaked" not in errors
    assert psutil.wait_procs(children, 60)[1] == []
    assert not (drawn / "index.csv").exists()


def test_outputs_made_read_only_by_the_cache_are_replaced(tmp_path: Path) -> None:
    """DVC links outputs to its cache as read-only files: a stage puts new ones in their place."""
    write_params(tmp_path / "params.yaml", {"motion": {"videos_per_class": 1}})
    pptsm("motion", "--out", "data", cwd=tmp_path)
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o444 if path.is_file() else 0o755)
    pptsm("motion", "--out", "data", cwd=tmp_path)
    assert len(list((tmp_path / "data").rglob("*.mp4"))) == 8


def test_unpacking_on_a_full_disk_blames_no_archive(tmp_path: Path, small_disk: Path) -> None:
    """It is whole; `dvc repro` would mend nothing. With room the same command works."""
    archive = tmp_path / "frames/up/one.mp4.zip"
    archive.parent.mkdir(parents=True)
    with archive_writer(archive, (128, 128)) as add:
        for _ in range(20):
            add(os.urandom(10_000))
    fill(small_disk, leave_kb=60)
    done = pptsm("unpack", tmp_path / "frames", "--out", small_disk / "out", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: the disk filled up while writing {small_disk}/")
    assert "dvc repro" not in done.stderr
    (small_disk / "filler").unlink()
    pptsm("unpack", tmp_path / "frames", "--out", small_disk / "out", cwd=tmp_path)
    assert len(list((small_disk / "out/up/one.mp4").iterdir())) == 20


def test_a_full_disk_of_states_is_named(tmp_path: Path, small_disk: Path) -> None:
    """Though the write that fails names no file: not the folder in which the command was typed, which has room."""
    fill(small_disk, leave_kb=0)
    code = "from pptsm import cli\ndef app():\n    raise OSError(28, 'full')\ncli.app = app\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PPTSM_STATE": str(small_disk / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the disk filled up while writing {small_disk}/state.")
