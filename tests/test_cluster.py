"""Probing and extraction on a Dask cluster: the same bytes as here, whoever is lost; and a sentence where it cannot be."""

import contextlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from conftest import ROOT, pptsm, run, write_params
from test_corpus import CORPUS
from test_video import KINDS, encode

INDEX = ("index", "--out", "index.csv", "--labels", "labels.txt")
FRAMES = ("frames", "--index", "index.csv", "--checked", "checked", "--out", "frames")
START_SEC = 90


class Cluster:
    """A scheduler and workers, started as the documentation says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--no-dashboard", "--scheduler-file", str(self.file)],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def scheduler(self) -> str:
        process = self.start("dask", "scheduler", "--host", "127.0.0.1", "--port", "0")
        until = time.monotonic() + START_SEC
        while not self.file.exists() or not self.file.read_text().strip():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(0.2)
        return str(YAML(typ="safe").load(self.file.read_text())["address"])

    def worker(self, *before: str, **environment: str) -> subprocess.Popen[bytes]:
        """A worker that has joined."""
        process = self.start(*before, "dask", "worker", "--nthreads", "1", "--memory-limit", "0", **environment)
        log = self.folder / f"{len(self.started) - 1}.log"
        until = time.monotonic() + START_SEC
        while b"Registered to" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        return process

    def end(self) -> None:
        for process in self.started:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """A worker or scheduler with all that it started, at once, as by a machine that loses its power."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in reversed(family):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One whose files are beside the project's."""
    (tmp_path / "cluster").mkdir()
    made = Cluster(tmp_path / "cluster")
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with twelve videos of two classes and four broken files."""
    project = tmp_path / "project"
    (project / "videos" / "one").mkdir(parents=True)
    (project / "videos" / "two").mkdir()
    original = encode(tmp_path / "original.mp4", KINDS["h264 mp4"]).read_bytes()
    for number in range(12):  # the end of a file may hold anything: each has a hash of its own
        name = f"videos/{'one' if number % 2 else 'two'}/{number:02}.mp4"
        (project / name).write_bytes(original + b"\0\0\0\x0cfree" + number.to_bytes(4, "big"))
    for name in ("for ever.avi", "text.mp4", "pipe.mp4", "web cut 60.mp4"):
        CORPUS[name].make(project / "videos" / "one" / name)
    (project / "checked").touch()
    use(project, None)
    return project


def use(project: Path, address: str | None) -> None:
    index = {"root": "videos", "pattern": "(?P<label>[^/]+)/[^/]+", "probe_timeout_sec": 15}
    write_params(
        project / "params.yaml",
        {"index": index, "frames": {"short_side_px": None}, "clip": {"resize_px": 224}},
        {"compute": {"cluster": address, "workers": 2}},
    )


def made_in(project: Path) -> dict[str, bytes]:
    """The index and the archives."""
    files = [project / "index.csv", *(project / "frames").rglob("*.zip")]
    return {file.relative_to(project).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def expected(project: Path) -> dict[str, bytes]:
    """What is made without a cluster."""
    pptsm(*INDEX, cwd=project, PPTSM_STATE="here")
    pptsm(*FRAMES, cwd=project, PPTSM_STATE="here")
    made = made_in(project)
    assert len(made) == 13
    (project / "index.csv").unlink()
    shutil.rmtree(project / "frames")
    return made


def test_a_cluster_makes_the_same_bytes(cluster: Cluster, project: Path, expected: dict[str, bytes]) -> None:
    """Index and archives, a file that hangs among them; it is what workers did, and none of their processes stays."""
    use(project, cluster.scheduler())
    workers = [cluster.worker(), cluster.worker()]
    before = {child.pid for worker in workers for child in psutil.Process(worker.pid).children(recursive=True)}
    pptsm(*INDEX, cwd=project)
    pptsm(*FRAMES, cwd=project)
    assert made_in(project) == expected
    after = {child.pid for worker in workers for child in psutil.Process(worker.pid).children(recursive=True)}
    assert after <= before
    assert not list((project / ".pptsm" / "cluster").iterdir())
    assert not (cluster.folder / ".pptsm").exists()


def test_who_loses_a_worker_makes_the_same_bytes(cluster: Cluster, project: Path, expected: dict[str, bytes]) -> None:
    """One of two is gone in the middle of its job, as by a power cut."""
    use(project, cluster.scheduler())
    _, lost = cluster.worker(), cluster.worker()
    pptsm(*INDEX, cwd=project, PPTSM_STATE="here")
    with subprocess.Popen(["pptsm", *FRAMES], cwd=project) as command:
        until = time.monotonic() + 120
        while not list((project / ".pptsm").rglob("*.zip")):
            assert command.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        assert len(list((project / ".pptsm").rglob("*.zip"))) < 10
        kill(lost)
    assert command.returncode == 0
    assert made_in(project) == expected
