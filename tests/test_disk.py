"""Disks that are full or read-only: a sentence, an exit code, and nothing half-written."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import pptsm, write_params

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


def test_outputs_made_read_only_by_the_cache_are_replaced(tmp_path: Path) -> None:
    """DVC links outputs to its cache as read-only files: a stage puts new ones in their place."""
    write_params(tmp_path / "params.yaml", {"motion": {"videos_per_class": 1}})
    pptsm("motion", "--out", "data", cwd=tmp_path)
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o444 if path.is_file() else 0o755)
    pptsm("motion", "--out", "data", cwd=tmp_path)
    assert len(list((tmp_path / "data").rglob("*.mp4"))) == 8
