"""Several processes that train one network: they find what one finds alone, and end together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pandas as pd
import psutil
import pytest

from conftest import ROOT, params_with, write_params
from helpers.roles import SETTINGS, fit, place
from pptsm.data.clips import FrameSource
from pptsm.data.spec import clip_spec
from pptsm.data.table import in_split, load_index
from pptsm.distributed.launcher import OPEN_FILES, SIZE, launch, store_listeners
from pptsm.distributed.ranks import Ranks
from pptsm.evaluation.metrics import accuracy
from pptsm.runtime import cores as processor
from pptsm.runtime.errors import UserError
from pptsm.training import loop
from pptsm.training.run import Run
from pptsm.training.validation import validation_logits
from pptsm.weights.card import load_network

__all__ = ["place"]  # a fixture

TRAIN = ["pptsm", "teacher", "--index", "index.csv", "--labels", "labels.txt", "--frames", "none", "--start", "start"]
TRAIN += ["--out", "teacher", "--history", "teacher.csv"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_all_items_each_once(size: int) -> None:
    """Also where they cannot be equal."""
    ranks = [Ranks(rank, size) for rank in range(size)]
    dealt = [number for each in ranks for number in each.share(range(13))]
    assert sorted(dealt) == list(range(13))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found, see helpers/companions.py."""
    out = tmp_path_factory.mktemp("found") / "out.json"
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "helpers.companions", out]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "test: computes on 2 processes" in done.stderr
    written = json.loads(out.read_text())
    assert written["environment stays"]
    results: list[dict[str, Any]] = written["ranks"]
    assert len(results) == 2
    return results


def test_with_frozen_statistics_two_ranks_have_the_gradients_of_one(found: list[dict[str, Any]]) -> None:
    """To 1e-5, with shares of five and two clips; and frozen statistics stay to the last bit."""
    for each in found:
        assert each["frozen: gradients"] < 1e-5
        assert each["frozen: statistics stay"]


def test_two_ranks_have_the_statistics_and_gradients_of_one(found: list[dict[str, Any]]) -> None:
    """Where groups have statistics of their own too; afterwards all ranks hold the same bytes."""
    for each in found:
        assert each["local: gradients"] < 1e-5
        assert each["local: statistics"] < 1e-5
        assert each["the same in all ranks"]


def test_precise_statistics_are_those_of_all_shares(found: list[dict[str, Any]]) -> None:
    """As one process measures them on the same groups one after the other."""
    assert [each["precise statistics"] < 1e-6 for each in found] == [True, True]


def test_what_one_rank_says_reaches_all(found: list[dict[str, Any]]) -> None:
    """Wishes, sums, the first one's value, and results in the order of the items."""
    for each in found:
        assert (each["wish of nobody"], each["wish of the last"]) == (False, True)
        assert each["gathered"] == [0, 1, 4, 9, 16, 25, 36]
        assert each["gathered of one"] == ["only"]
        assert each["sum"] == [2.0, 1.0]
        assert each["of the first"] == "made by 0"
        assert each["any"] == [True, False]


def test_no_rank_takes_connections_from_outside(found: list[dict[str, Any]]) -> None:
    """What joins them listens on the loopback device alone, once they have joined."""
    assert [each["listens on"] for each in found] == [["lo"], []]


def test_looking_for_what_listens_to_outside_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and pipes among the open ones too; what listens on another port is not found."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)),
        (tmp_path / "file").open("w"),
    ):
        port = server.getsockname()[1]
        monkeypatch.setenv("PADDLE_MASTER", f"127.0.0.1:{port}")
        before = len(os.listdir(OPEN_FILES))  # noqa: PTH208 (names, of what is no path)
        found = store_listeners()
        ports = [listener.getsockname()[1] for listener in found]
        for listener in found:
            listener.close()
        assert ports == [port]
        assert len(os.listdir(OPEN_FILES)) == before  # noqa: PTH208 (names, of what is no path)


WITHOUT_TABLES = """
import os
from pathlib import Path
from pptsm.training import fit as fit_module
from test_roles import fit

launch = fit_module.launch

def launch_without_tables(*arguments, **options):
    for name in ("index.csv", "labels.txt"):
        Path(name).rename(f"{name}.gone")
    launch(*arguments, **options)

fit_module.launch = launch_without_tables
before = dict(os.environ)
card, _ = fit("teacher", {"compute": {"devices": 2, "workers": 0}})
assert "2 processes of " in card["computed_with"], card
assert dict(os.environ) == before
"""


def test_ranks_read_no_table_again(place: Path) -> None:
    """The first reads index and class names, and hands over what it found; afterwards its environment is as before."""
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_TABLES]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_alone_nothing_is_sent() -> None:
    """Paddle's communication is not started, and every method gives back what it is given."""
    before = paddle.distributed.is_initialized()  # by another test of this process
    ranks = Ranks()
    assert ranks.sum_tensor(paddle.ones([2])).tolist() == [1, 1]
    assert ranks.gather([1, 2]) == [1, 2]
    assert ranks.from_first(lambda: 5) == 5
    assert (ranks.any_rank(True), ranks.any_rank(False)) == (True, False)
    assert paddle.distributed.is_initialized() == before


@pytest.mark.parametrize(
    ("cores", "threads", "amd", "devices", "most", "expected"),
    [
        (4, None, False, "auto", 16, (4, 1, 0)),
        (4, "2", True, "auto", 16, (2, 2, 0)),
        (4, None, True, 2, 16, (2, 1, 1)),
        (4, None, False, 2, 16, (2, 2, 0)),
        (8, None, True, "auto", 3, (3, 1, 1)),
    ],
)
def test_processes_threads_and_loaders_share_the_cores(
    cores: int,
    threads: str | None,
    amd: bool,
    devices: Any,
    most: int,
    expected: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process a core of one thread, unless the user says otherwise, and never more than clips in a batch."""
    monkeypatch.setattr(processor, "cores", lambda: cores)
    monkeypatch.setenv(processor.VARIABLE, processor.AVX2 if amd else "")
    monkeypatch.setenv(processor.THREADS, threads or "")
    processes = min(processor.cpu_processes(devices), most)
    monkeypatch.setenv(processor.LOCAL_SIZE, str(processes))
    assert (processes, processor.training_threads(), processor.loader_processes("auto")) == expected


def test_more_launched_ranks_than_have_something_to_do_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sentence, before they wait for each other."""
    monkeypatch.setenv(SIZE, "9")
    with pytest.raises(UserError, match=r"9 processes were launched, but at most 8 .*training\.batch_norm_clips"):
        launch(print, (), params_with().compute, most=8, what="teacher")


@contextmanager
def training(**changes: Any) -> Iterator[subprocess.Popen[str]]:
    """A teacher that two processes train, from the command on."""
    write_params(Path("params.yaml"), SETTINGS, {"compute": {"devices": 2, "workers": 1}}, changes)
    with subprocess.Popen(TRAIN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def with_company(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All its processes, when it has come to train."""
    until = time.monotonic() + 120
    while not list(Path(".pptsm/training").glob("teacher-*/state*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return psutil.Process(process.pid).children(recursive=True)


def test_two_processes_train_as_one_does(place: Path) -> None:
    """The same losses, validation to the last digits as one process sees it; the card tells of both."""
    _, alone = fit("teacher", {"teacher": {"epochs": 3}})
    shutil.rmtree(".pptsm/training/teacher-finished")  # or it would be taken up
    with training(teacher={"epochs": 3}) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("epoch 1 of 3") == 1  # one of them speaks
    assert "2 processes of " in json.loads(Path("teacher/card.json").read_text())["computed_with"]
    history = pd.read_csv("teacher.csv")
    assert list(history.columns) == list(alone.columns)
    np.testing.assert_allclose(history["loss"], alone["loss"], rtol=1e-4)  # threads may differ
    params, videos = params_with(**SETTINGS), in_split(load_index(Path("index.csv")), "val")
    spec = clip_spec(params.clip, 4, params.sampling)
    run = Run(params, spec, ["dark", "light"], videos, videos, FrameSource("video", Path("videos")))
    figures = accuracy(*validation_logits(load_network(Path("teacher")), run, "test"))
    assert history["val_top1"].iloc[-1] == figures.top1
    assert history["val_loss"].iloc[-1] == pytest.approx(figures.loss, rel=1e-5)


def test_a_rank_that_dies_ends_the_others_with_its_last_lines(place: Path) -> None:
    """Within seconds, and in one sentence."""
    with training(teacher={"epochs": 5000}) as process:
        company = with_company(process)
        (rank,) = [each for each in company if "be_rank" in " ".join(each.cmdline()) and each.ppid() == process.pid]
        rank.kill()
        started = time.monotonic()
        output, _ = process.communicate(timeout=60)
        assert time.monotonic() - started < 15
    assert process.returncode == 1
    _, sentence = output.split("error: ")
    assert "process 1 of 2 (counted from 0) was killed by SIGKILL" in sentence
    assert "Its last lines:" in sentence
    assert "Traceback" not in output
    psutil.wait_procs(company, timeout=5)
    assert not [each for each in company if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_rank_that_dies_before_it_joins_ends_the_first(place: Path) -> None:
    """While it still imports: Paddle's joining would wait for it, deaf to everything."""
    with training(teacher={"epochs": 5000}) as process:
        until, ranks = time.monotonic() + 120, list[psutil.Process]()
        while not ranks:
            assert time.monotonic() < until
            for child in psutil.Process(process.pid).children():
                with suppress(psutil.Error):  # other children live for a moment only
                    ranks += [child] if "be_rank" in " ".join(child.cmdline()) else []
        ranks[0].kill()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 1 of 2 (counted from 0) was killed by SIGKILL" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_first_is_that_of_all(place: Path, end: signal.Signals) -> None:
    """Whatever it dies of, nothing of its company is left."""
    with training(teacher={"epochs": 5000}) as process:
        company = with_company(process)
        assert company
        process.send_signal(end)
        process.communicate(timeout=60)
    until = time.monotonic() + 10
    while left := [each for each in company if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def test_a_mistake_that_another_rank_finds_is_told_as_it_is(place: Path) -> None:
    """A validation video that the second process reads, and that is none."""
    videos = in_split(load_index(Path("index.csv")), "val")["id"]
    Path("videos", videos[videos.index[1]]).write_bytes(b"no video")
    with training() as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output.count("error: ") == 1
    assert f"error: clip '{videos[videos.index[1]]}' cannot be read" in output
    assert "Traceback" not in output
    assert not Path("teacher").exists()


def test_memory_and_open_files_stay_over_fifty_epochs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first ten nothing grows."""
    here, seen = psutil.Process(), []
    monkeypatch.setattr(loop, "note_epoch", lambda *_: seen.append((here.num_fds(), here.memory_info().rss / 1e6)))
    fit("teacher", {"teacher": {"epochs": 50}, "compute": {"workers": 1}, "training": {"precise_bn_batches": 1}})
    assert len(seen) == 50
    assert seen[-1][0] <= seen[9][0]
    assert seen[-1][1] < seen[9][1] + 20
