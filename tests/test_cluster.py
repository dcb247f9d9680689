"""Probing and extraction on a Dask cluster: the same bytes as here, whoever is lost; a sentence where it cannot be."""

import contextlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from conftest import ROOT, moving_square, params_with, pptsm, write_params
from helpers.corpus import CORPUS
from helpers.videos import KINDS, encode
from pptsm.runtime.errors import ParamsError
from pptsm.video.encode import write_video

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


def use(project: Path, address: str | None, limit_sec: float = 15) -> None:
    """Write params.yaml."""
    index = {"root": "videos", "pattern": "(?P<label>[^/]+)/[^/]+", "probe_timeout_sec": limit_sec}
    shares = {"train_share": 1.0, "val_share": 0.0, "test_share": 0.0}
    write_params(
        project / "params.yaml",
        {"index": index | shares, "training": {"keep": "last"}},
        {"compute": {"cluster": address, "workers": 2}},
    )


def made_in(project: Path) -> dict[str, bytes]:
    """The index and the archives."""
    files = [project / "index.csv", *(project / "frames").rglob("*.zip")]
    return {file.relative_to(project).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder with two videos of two classes."""
    project = tmp_path / "project"
    for label in ("one", "two"):
        (project / "videos" / label).mkdir(parents=True)
        write_video(project / "videos" / label / "a.mp4", moving_square(12, seed=len(label)), 10, "mpeg4")
    return project


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


def test_who_is_interrupted_leaves_no_process_on_the_cluster(cluster: Cluster, project: Path) -> None:
    """The workers stay, ready for the next command; a file that keeps one of their processes busy is let go."""
    use(project, cluster.scheduler(), limit_sec=3000)
    worker = cluster.worker()
    before = {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}
    (project / "videos" / "one" / "for ever.avi").rename(project / "videos" / "one" / "00 for ever.avi")

    def own_processes() -> list[psutil.Process]:
        return [child for child in psutil.Process(worker.pid).children(recursive=True) if child.pid not in before]

    command = subprocess.Popen(
        ["pptsm", *INDEX],
        cwd=project,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  also where tests run in the background
    )
    try:
        until = time.monotonic() + 120
        while not any(child.cpu_times().user > 3 for child in own_processes()):
            assert time.monotonic() < until
            time.sleep(0.1)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=60)
    finally:
        command.kill()
    until = time.monotonic() + 30
    while own_processes():
        assert time.monotonic() < until
        time.sleep(0.1)
    (project / "videos" / "one" / "00 for ever.avi").unlink()
    pptsm(*INDEX, cwd=project)
    assert not list((project / ".pptsm" / "cluster").iterdir())


def refusal(project: Path, within_sec: float) -> str:
    """What the command says that cannot do it, and leaves undone."""
    started = time.monotonic()
    done = pptsm(*INDEX, cwd=project, check=False)
    assert time.monotonic() - started < within_sec
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (project / "index.csv").exists()
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return sentence


def test_no_scheduler_is_a_sentence(few: Path) -> None:
    """Neither hangs nor goes on here: whoever names a cluster means it."""
    use(few, "tcp://127.0.0.1:9")
    said = refusal(few, 60)
    assert "compute.cluster is tcp://127.0.0.1:9, but no Dask scheduler can be reached there" in said
    assert "set compute.cluster to null" in said


def test_something_else_that_listens_is_a_sentence(few: Path) -> None:
    """Such as the port of Dask's own page."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use(few, f"tcp://127.0.0.1:{server.server_port}")
        assert "no Dask scheduler can be reached there" in refusal(few, 90)
        server.shutdown()


def test_a_scheduler_without_workers_is_a_sentence(cluster: Cluster, few: Path) -> None:
    """It would wait for ever."""
    address = cluster.scheduler()
    use(few, address)
    said = refusal(few, 60)
    assert "its scheduler has no worker for the jobs" in said
    assert f"`dask worker {address}`" in said


def test_a_scheduler_that_goes_is_a_sentence(cluster: Cluster, project: Path) -> None:
    """In the middle of the work."""
    use(project, cluster.scheduler(), limit_sec=3000)
    cluster.worker()
    with subprocess.Popen(["pptsm", *INDEX], cwd=project, stderr=subprocess.PIPE, text=True) as command:
        until = time.monotonic() + 120
        while not list((project / ".pptsm").rglob("*.json")):
            assert time.monotonic() < until
            time.sleep(0.1)
        kill(cluster.started[0])
        _, said = command.communicate(timeout=120)
    assert command.returncode == 1
    assert "Traceback" not in said
    assert "of compute.cluster is gone" in said


@pytest.mark.parametrize("package", ["av", "distributed"])
def test_a_worker_of_another_environment_is_a_sentence(
    cluster: Cluster, few: Path, tmp_path: Path, package: str
) -> None:
    """Its frames would not be the same, or it would not understand what it is sent."""
    other = tmp_path / "other"
    (other / f"{package}-17.0.0.dist-info").mkdir(parents=True)
    entries = distribution(package).read_text("entry_points.txt") or ""  # of which the command `dask worker` is one
    (other / f"{package}-17.0.0.dist-info" / "entry_points.txt").write_text(entries)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 17.0.0\n"
    (other / f"{package}-17.0.0.dist-info" / "METADATA").write_text(metadata)
    use(few, cluster.scheduler())
    cluster.worker(PYTHONPATH=f"{other}:{os.environ.get('PYTHONPATH', '')}")
    said = refusal(few, 90)
    assert re.search(rf"tcp://127\.0\.0\.1:\d+ (on|of) \S+ has {package} 17\.0\.0, but here it is [12]", said)


def test_a_worker_with_other_code_is_a_sentence(cluster: Cluster, few: Path, tmp_path: Path) -> None:
    """Of another checkout; a comment more would do no harm."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    edited = tmp_path / "src" / "pptsm" / "video" / "decoders.py"
    edited.write_text(edited.read_text() + "ANOTHER = True\n")
    use(few, cluster.scheduler())
    cluster.worker(PYTHONPATH=str(tmp_path / "src"))
    assert "has the code of pptsm " in refusal(few, 90)


def test_a_worker_without_the_package_is_a_sentence(cluster: Cluster, few: Path, tmp_path: Path) -> None:
    """Dask alone does not decode."""
    (tmp_path / "pptsm.py").write_text("raise ModuleNotFoundError('no pptsm')")
    use(few, cluster.scheduler())
    cluster.worker(PYTHONPATH=str(tmp_path))
    assert "cannot import pptsm" in refusal(few, 90)


@pytest.mark.parametrize(
    ("hidden", "says"), [("", "does not see"), ("videos", "does not see"), ("videos/two", "a.mp4")]
)
def test_a_worker_that_does_not_see_the_files_is_a_sentence(
    cluster: Cluster, few: Path, hidden: str, says: str
) -> None:
    """Not an index of missing files: the project's folder, or the videos, are not on a shared disk."""
    place = few / hidden
    can = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", str(place)], capture_output=True, check=False
    )
    if can.returncode:
        pytest.skip("needs the right to mount something")
    use(few, cluster.scheduler())
    cluster.worker("unshare", "-m", "sh", "-c", f'mount -t tmpfs none "{place}" && exec "$0" "$@"')
    said = refusal(few, 90)
    assert says in said
    assert "worker tcp://127.0.0.1:" in said


def test_dask_is_not_imported_without_a_cluster(few: Path) -> None:
    """It takes a second, and need not be installed."""
    program = """
import sys
sys.modules["distributed"] = sys.modules["dask"] = None  # importing them fails from now on
from pptsm.cli import main
main()
"""
    use(few, None)
    done = subprocess.run([sys.executable, "-c", program, *INDEX], cwd=few, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    use(few, "tcp://127.0.0.1:9")
    done = subprocess.run([sys.executable, "-c", program, *INDEX], cwd=few, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs the extra `cluster`: distributed is not installed here. Install: python -m pip install" in done.stderr


@pytest.mark.parametrize("address", ["host:8786", "tcp://host", "http://host:8786", "", "tcp:// host:1", 8786])
def test_what_is_no_address_is_refused_with_the_parameters(address: object) -> None:
    with pytest.raises(ParamsError, match=r"compute\.cluster"):
        params_with(compute={"cluster": address})
