"""Broken and odd files, made here: each becomes a row with status and reason, in time, and none stops a stage.

What can be used has the same frames in the index and in its archive.
"""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from conftest import params_with, spec_with, write_params
from helpers.corpus import CORPUS, COUNT, H264
from helpers.videos import encode
from pptsm.data.clips import FrameSource, TrainingClips
from pptsm.data.table import load_index
from pptsm.frames.extract import extract_all
from pptsm.runtime.errors import UserError

LIMIT_SEC = 20
MOST_BYTES = 1 << 30  # that a process may take for any of the files


# A process begins with the memory that its starter had: so a small one is between this and the command.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run(*arguments: str, cwd: Path) -> int:
    """A command as a user types it; returns the most memory, in bytes, that one of its processes had."""
    command = [sys.executable, "-c", MEASURED, "pptsm", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A folder with the corpus, and its index as the command made it."""
    project = tmp_path_factory.mktemp("corpus")
    (project / "videos" / "odd").mkdir(parents=True)
    for name, made in CORPUS.items():
        made.make(project / "videos" / "odd" / name)
    (project / "videos" / "usual").mkdir()
    encode(project / "videos" / "usual" / "whole.mp4", replace(H264, count=12))
    write_params(
        project / "params.yaml",
        {"index": {"root": "videos", "probe_timeout_sec": LIMIT_SEC, "train_share": 1.0, "val_share": 0.0}},
        {
            "index": {"test_share": 0.0, "pattern": "(?P<label>[^/]+)/[^/]+"},
            "training": {"keep": "last"},
            "compute": {"workers": 2},
        },
    )
    assert run("index", "--out", "index.csv", "--labels", "labels.txt", cwd=project) < MOST_BYTES
    return project, load_index(project / "index.csv").set_index("id")


@pytest.mark.parametrize("name", CORPUS, ids=ascii)
def test_every_file_becomes_a_row(indexed: tuple[Path, pd.DataFrame], name: str) -> None:
    """With what was found out, or why nothing was."""
    made, row = (
        CORPUS[name],
        indexed[1].loc[f"odd/{name}".encode(errors="surrogateescape").decode(errors="backslashreplace")],
    )
    found = (row["status"], row["num_frames"], (row["width"], row["height"]))
    assert found == (made.status, made.frames, made.size), row["reason"]
    assert row["reason"].startswith(made.reason)
    assert bool(row["reason"]) == (made.status != "ok")


def test_every_usable_file_becomes_an_archive_of_as_many_frames(indexed: tuple[Path, pd.DataFrame]) -> None:
    """Those of the index, and nothing else."""
    project, index = indexed
    (project / "checked").touch()
    used = run("frames", "--index", "index.csv", "--checked", "checked", "--out", "frames", cwd=project)
    assert used < MOST_BYTES
    counts = {}
    for file in (project / "frames").rglob("*.zip"):
        with zipfile.ZipFile(file) as archive:
            counts[file.relative_to(project / "frames").as_posix().removesuffix(".zip")] = len(archive.infolist())
    assert counts == index[index["status"] == "ok"]["num_frames"].to_dict()


def test_a_file_that_hangs_the_extraction_ends_it_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that changed since the index was made."""
    monkeypatch.chdir(tmp_path)
    CORPUS["for ever.avi"].make(tmp_path / "a.avi")
    row = pd.DataFrame({"id": ["a.avi"], "path": "a.avi", "first_frame": 0, "num_frames": 1, "sha256": "0" * 64})
    with pytest.raises(UserError, match=r"a\.avi: the decoder hung"):
        extract_all(row, tmp_path, tmp_path / "frames", params_with().frames, 1, limit_sec=4)
    assert not list(tmp_path.rglob("*.zip"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_hangs_the_training_ends_it_with_its_name(tmp_path: Path, workers: int) -> None:
    """Also where no process was asked for that prepares clips: the decoder gets one that can be ended."""
    from pptsm.data.loader import load_batches  # Paddle, which the processes that import this file need not

    encode(tmp_path / "good.mp4", H264)
    CORPUS["for ever.avi"].make(tmp_path / "bad.avi")
    rows = pd.DataFrame({"id": ["good.mp4", "bad.avi"], "first_frame": 0, "num_frames": [COUNT, 1], "label_index": 0})
    source = FrameSource("video", tmp_path, limit_sec=4)
    clips = TrainingClips(rows.assign(path=rows["id"]), source, ["a"], spec_with(), params_with().training, 1, 0)
    batches = load_batches(clips, [[0], [0, 1]], workers)
    next(batches)
    with pytest.raises(UserError, match=r"^clip 'bad\.avi' cannot be read: the decoder hung.*index\.probe_timeout_sec"):
        next(batches)
