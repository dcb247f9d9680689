"""StoredAs frames and DVC: one copy on the disk, whatever links to it; pushed and pulled like any output."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, as_anyone, moving_square, pptsm, write_params
from pptsm.data.clips import FrameSource
from pptsm.data.table import COLUMNS, ClipRef, save_index
from pptsm.frames.archive import read_frames
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import sha256_of
from pptsm.video.encode import write_video

STAGE = """
stages:
  frames:
    cmd: pptsm frames --index data/index.csv --checked data/index.csv --out data/frames
    deps: [data/index.csv]
    params: [frames]
    outs: [data/frames]
  words:
    cmd: echo words > data/words.txt
    outs: [data/words.txt]
"""
ARCHIVE = "data/frames/a_1.mp4.zip"


def command(project: Path, *words: str) -> str:
    """Run it there, with the package that is tested."""
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def add_video(project: Path, number: int) -> None:
    """A video more, and its row in the index."""
    videos = project / "videos"
    videos.mkdir(exist_ok=True)
    write_video(videos / f"a_{number}.mp4", moving_square(12, seed=number), 10, "mpeg4")
    files = sorted(videos.iterdir())
    empty: dict[str, object] = {name: "" if kind == "str" else 0 for name, kind in COLUMNS.items()}
    rows = [
        empty | {"id": path.name, "path": path.name, "split": "train", "num_frames": 12, "sha256": sha256_of(path)}
        for path in files
    ]
    save_index(pd.DataFrame(rows), project / "data" / "index.csv")


def inode(path: Path) -> int:
    return path.stat().st_ino


def files_below(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A graph with the stage and another, two videos, and a remote beside it."""
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    command(project, "git", "init", "-q")
    command(project, "dvc", "init", "-q")
    shutil.copyfile(ROOT / ".dvc" / "config", project / ".dvc" / "config")
    command(project, "dvc", "remote", "add", "-q", "-d", "beside", str(tmp_path / "remote"))
    (project / "dvc.yaml").write_text(STAGE)
    write_params(project / "params.yaml", {"index": {"root": "videos"}, "compute": {"workers": 1}})
    add_video(project, 1)
    add_video(project, 2)
    return project


def test_store_workspace_and_cache_share_one_copy(project: Path) -> None:
    """Also after a new video, for which nothing else is extracted."""
    command(project, "dvc", "repro", "frames")
    stored = files_below(project / ".pptsm", "*.zip")
    assert len(stored) == 2
    made = {path: path.stat().st_mtime_ns for path in stored}

    def is_shared() -> bool:
        inodes = set(map(inode, files_below(project / ".pptsm", "*.zip")))
        cached = set(map(inode, files_below(project / ".dvc" / "cache" / "files")))
        return inodes == set(map(inode, files_below(project / "data" / "frames"))) and inodes < cached

    assert is_shared()
    add_video(project, 3)
    command(project, "dvc", "repro", "frames")
    assert len(files_below(project / "data" / "frames")) == 3
    assert {path: path.stat().st_mtime_ns for path in stored} == made
    assert is_shared()


def test_frames_are_pushed_and_pulled(project: Path) -> None:
    """Into a workspace without store and cache."""
    command(project, "dvc", "repro", "frames")
    before = {path.name: path.read_bytes() for path in files_below(project / "data" / "frames")}
    command(project, "dvc", "push")
    for folder in ("data/frames", ".dvc/cache", ".pptsm"):
        shutil.rmtree(project / folder)
    command(project, "dvc", "pull", "frames")
    assert {path.name: path.read_bytes() for path in files_below(project / "data" / "frames")} == before


def test_an_archive_that_the_cache_has_damaged_is_mended_by_extraction(project: Path) -> None:
    """DVC trusts what is read-only in its cache; what has just been written takes its place."""
    command(project, "dvc", "repro", "frames")
    archive = project / ARCHIVE
    whole = archive.read_bytes()
    archive.chmod(0o644)
    archive.write_bytes(whole[:-40])
    archive.chmod(0o444)
    command(project, "dvc", "repro", "--force", "frames")
    assert archive.read_bytes() == whole
    assert whole in [path.read_bytes() for path in files_below(project / ".dvc" / "cache" / "files")]
    shutil.rmtree(project / "data" / "frames")
    command(project, "dvc", "checkout", "frames")
    assert archive.read_bytes() == whole


def damage(archive: Path) -> None:
    """Flip a bit in a frame, as a disk does: size and time stay."""
    facts, content = archive.stat(), bytearray(archive.read_bytes())
    content[content.index(b"\xff\xda") + 40] ^= 4
    archive.chmod(0o644)
    with archive.open("r+b") as file:
        file.write(content)
    archive.chmod(0o444)
    os.utime(archive, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("reader", ["training", "unpack"])
@pytest.mark.parametrize("runs_before", [1, 2])
def test_the_command_that_a_damaged_archive_names_mends_it(project: Path, runs_before: int, reader: str) -> None:
    """In output, store and cache, which are one file; also where it was found whole before, and was not read again."""
    for _ in range(runs_before):
        command(project, "dvc", "repro", "--force", "frames")
    archive = project / ARCHIVE
    whole, lock = archive.read_bytes(), (project / "dvc.lock").read_bytes()
    damage(archive)
    assert not [path for path in files_below(project, "*") if path.is_file() and path.read_bytes() == whole]
    source = FrameSource("archive", project / "data" / "frames")
    if reader == "training":
        with pytest.raises(UserError) as refused:
            source.read(ClipRef("a_1.mp4", "a_1.mp4", 0), np.arange(12))
        said = str(refused.value)
    else:
        done = pptsm("unpack", "data/frames", "--out", "loose", cwd=project, check=False)
        assert done.returncode == 1
        said = done.stderr
    command(project, *re.findall(r"`(dvc [^`]+)`", said)[0].split())
    assert len(source.read(ClipRef("a_1.mp4", "a_1.mp4", 0), np.arange(12)).pixels) == 12
    assert archive.read_bytes() == whole
    assert inode(archive) in map(inode, files_below(project / ".pptsm", "*.zip"))
    shutil.rmtree(project / "data" / "frames")
    command(project, "dvc", "checkout", "frames")
    assert archive.read_bytes() == whole
    assert (project / "dvc.lock").read_bytes() == lock
    assert "frames" not in command(project, "dvc", "status")


def test_what_is_edited_in_place_does_not_reach_the_cache(project: Path) -> None:
    """An archive that was made here cannot be written to; of whatever else a stage wrote the cache has a copy."""
    command(project, "dvc", "repro")
    assert as_anyone("sh", "-c", f"echo x >> {ARCHIVE}", cwd=project).returncode != 0
    archive, words = project / ARCHIVE, project / "data" / "words.txt"
    whole = archive.read_bytes()
    words.write_text("other words")
    command(project, "dvc", "checkout", "--force")
    assert words.read_text() == "words\n"
    shutil.rmtree(project / "data" / "frames")
    command(project, "dvc", "checkout")
    archive.write_text("edited after it was checked out")
    command(project, "dvc", "checkout", "--force")
    assert archive.read_bytes() == whole


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_store_on_another_file_system(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has a copy of its own; cache and workspace are one."""
    state = Path("/dev/shm") / f"pptsm-{tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv("PPTSM_STATE", str(state))
    try:
        command(project, "dvc", "repro", "frames")
        assert len(files_below(state, "*.zip")) == 2
        frames = files_below(project / "data" / "frames")
        assert set(map(inode, frames)) < set(map(inode, files_below(project / ".dvc" / "cache" / "files")))
        assert len(read_frames(frames[0], np.arange(12)).pixels) == 12
    finally:
        shutil.rmtree(state)


def test_what_was_read_is_not_read_again_for_a_new_video(project: Path) -> None:
    """Terabytes are, where it is: so a change that hides from size and time is not seen, and shows it here."""
    command(project, "dvc", "repro", "frames")
    command(project, "dvc", "repro", "--force", "frames")  # reads what the first run has written
    archive = project / ARCHIVE
    facts, content = archive.stat(), bytearray(archive.read_bytes())
    content[100] ^= 1
    archive.chmod(0o644)
    archive.write_bytes(content)
    os.utime(archive, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    add_video(project, 3)
    command(project, "dvc", "repro", "frames")
    assert len(files_below(project / "data" / "frames")) == 3
    assert archive.read_bytes() == content
    for stored in files_below(project / ".pptsm", "*.zip"):
        os.utime(stored)
    command(project, "dvc", "repro", "--force", "frames")
    assert archive.read_bytes() != content
