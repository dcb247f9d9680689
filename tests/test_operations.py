"""The deployments against a real server and worker on loopback, with what goes wrong in operation."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import requests

from badserver import BadServer
from conftest import ROOT, TINY, run, write_params
from pptsm.model.pickles import write_arrays

sys.path.insert(0, str(ROOT))

from flows.watched import patient_client

CLIENT = patient_client()
LONG = {"student": {"epochs": 25}}  # long enough to be interrupted
pytestmark = pytest.mark.slow


class Operation:
    """A project with a server and a worker of its own, as `make serve` starts them."""

    def __init__(self, project: Path) -> None:
        self.project = project
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PWD": str(project),
            "PYTHONPATH": str(project / "src"),
            "PREFECT_HOME": str(project / ".prefect"),
            "PREFECT_API_URL": self.api,
            "COLUMNS": "500",  # lines of the log are not broken
        }
        (project / ".prefect").mkdir(exist_ok=True)
        self.server = self.start_server()
        self.worker = self.start_worker()
        self.prefect("--no-prompt", "deploy", "--all")

    def start(self, *command: str) -> psutil.Popen:
        with (self.project / ".prefect" / f"{command[1]}.log").open("a") as log:
            return psutil.Popen(command, cwd=self.project, env=self.environment, stdout=log, stderr=log)

    def start_server(self) -> psutil.Popen:
        server = self.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        wait_until(lambda: answers(f"{self.api}/health"), 60)
        return server

    def start_worker(self) -> psutil.Popen:
        worker = self.start("prefect", "worker", "start", "--pool", "pptsm", "--type", "process")
        wait_until(lambda: answers(f"{self.api}/work_pools/pptsm"), 60)
        return worker

    def prefect(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["prefect", *arguments],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def submit(self, deployment: str = "train-pptsm", **parameters: Any) -> str:
        """Start a run; its id."""
        found = CLIENT.get(f"{self.api}/deployments/name/{deployment}/{deployment}", timeout=30).json()
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        created = CLIENT.post(f"{self.api}/deployments/{found['id']}/create_flow_run", json=body, timeout=30)
        created.raise_for_status()
        return str(created.json()["id"])

    def about(self, run_id: str) -> dict[str, Any]:
        about: dict[str, Any] = CLIENT.get(f"{self.api}/flow_runs/{run_id}", timeout=30).json()
        return about

    def log_of(self, run_id: str) -> str:
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        texts, offset = [], 0
        while page := CLIENT.post(f"{self.api}/logs/filter", json=body | {"offset": offset}, timeout=30).json():
            texts += [row["message"] for row in page]
            offset += len(page)
        return "\n".join(texts)

    def wait_for(self, run_id: str, *states: str, seconds: float = 240) -> None:
        wait_until(lambda: self.about(run_id)["state"]["name"] in states, seconds, lambda: self.log_of(run_id))

    def wait_for_line(self, run_id: str, text: str, seconds: float = 240) -> None:
        wait_until(lambda: text in self.log_of(run_id), seconds, lambda: self.log_of(run_id))

    def stage_processes(self) -> list[psutil.Process]:
        """The processes of stages that run in this project."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd", "status"]):
            facts = process.info
            if facts["status"] != psutil.STATUS_ZOMBIE and facts["cwd"] == str(self.project):
                command = " ".join(facts["cmdline"] or [])
                if "pptsm student" in command or "--single-item" in command:
                    found.append(process)
        return found

    def stop(self) -> None:
        for process in (self.worker, self.server):
            if process.is_running():
                family = [process, *process.children(recursive=True)]
                process.terminate()
                _, left = psutil.wait_procs(family, 40)
                for member in left:
                    member.kill()
                process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def wait_until(ready: Callable[[], bool], seconds: float, explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds} s; {explain()}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory, tiny_project: Path) -> Iterator[Operation]:
    """A project whose pipeline has run, under operation."""
    project = tmp_path_factory.mktemp("in operation") / "clone"
    subprocess.run(["cp", "-a", tiny_project, project], check=True)
    commit(project)
    operation = Operation(project)
    yield operation
    operation.stop()


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[BadServer]:
    """A server of a weights file."""
    write_arrays(tmp_path / "weights", {"conv.weight": np.arange(250_000, dtype=np.float32)})
    with BadServer((tmp_path / "weights").read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def commit(project: Path) -> None:
    run("git", "add", "-A", cwd=project)
    run(
        "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--allow-empty", "-qm", "r", cwd=project
    )


def needs_training(operation: Operation, seed: int) -> None:
    """Change the parameters, so that everything from the teacher on has work to do, and the student for long."""
    write_params(operation.project / "params.yaml", TINY, LONG, {"teacher": {"epochs": 2}, "seed": seed})


@pytest.mark.parametrize("name", ["train-pptsm", "train-pptsm/train-pptsm"])
def test_a_deployment_is_run_by_its_bare_name_too(operation: Operation, name: str) -> None:
    """All tasks are named as the stages; nothing had to be done, and DVC agrees afterwards."""
    done = operation.prefect("deployment", "run", name, "--watch")
    assert "0 of 10 stages had work to do: none" in done.stdout
    for stage in ("motion", "index", "validate", "frames", "pretrained", "teacher", "student", "evaluate", "export"):
        assert f"{stage}: nothing to do after" in done.stdout
    assert "up to date" in run("dvc", "status", cwd=operation.project).stdout


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ('overrides=["sampling=dens"]', "sampling is 'dens', but should be 'uniform' or 'dense'"),
        ('overrides=["no.such=1"]', "override 'no.such=1': expected section.key=value with a key of params.yaml"),
        (
            'overrides=["training.step_epochs=[1, 2"]',
            "override 'training.step_epochs=[1, 2': expected section.key=value",
        ),
        ('overrides=["report.title=A,B"]', "stands for several values"),
        ("overrides=7", "Validation failed for field 'overrides'"),
        ('stages={"from": "reprt"}', "'reprt' is not one of ['motion', 'index'"),
        ('stages={"from": "report", "to": "index"}', "'report' comes after 'index'"),
    ],
)
def test_a_wrong_parameter_is_refused_before_any_stage(operation: Operation, parameter: str, sentence: str) -> None:
    """Exit code 1, a sentence in what the user sees, no trace."""
    done = operation.prefect("deployment", "run", "train-pptsm", "-p", parameter, "--watch", check=False)
    assert done.returncode == 1
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "prefect.task-run" not in done.stdout


def test_a_run_with_overrides_is_an_experiment_and_the_checkout_stays(operation: Operation) -> None:
    """Named in `dvc exp show` with its own metrics, its report kept, `git status` unchanged."""
    before = run("git", "status", "--porcelain", cwd=operation.project).stdout
    name = ("--flow-run-name", "dense-trial")
    operation.prefect("deployment", "run", "-p", 'overrides=["sampling=dense"]', "--watch", *name, "train-pptsm")
    assert run("git", "status", "--porcelain", cwd=operation.project).stdout == before
    shown = json.loads(run("dvc", "exp", "show", "--json", cwd=operation.project).stdout)
    revisions = [trial["revs"][0] for row in shown for trial in row["experiments"] or []]
    trial = next(revision for revision in revisions if revision["name"] == "dense-trial")
    assert trial["data"]["params"]["params.yaml"]["data"]["sampling"] == "dense"
    assert "student" in trial["data"]["metrics"]["reports/evaluation/metrics.json"]["data"]
    page = operation.project / "reports/experiments/dense-trial/index.html"
    assert "dense" in page.read_text(encoding="utf-8")


def test_a_sweep_compares_experiments_and_takes_up_what_is_done(operation: Operation) -> None:
    """One of them fails: the others are done, and a second sweep does not do them again."""
    runs = [["report.title=A"], ["export.latency_runs=2", "report.title=B"], ["index.root=nowhere"]]
    first = operation.submit("sweep", runs=runs, name="trial")
    operation.wait_for(first, "Failed")
    assert "1 of 3 experiments failed: trial-index_root_nowhere" in operation.about(first)["state"]["message"]
    operation.wait_for_line(first, "No such file or directory")
    table = (operation.project / "reports/experiments.md").read_text(encoding="utf-8")
    for name in ("(checkout)", "trial-report_title_A", "trial-export_latency_runs_2-report_title_B"):
        assert table.count(f"| {name} ") == 4  # teacher and student, uniform and dense
    second = operation.submit("sweep", runs=runs[:2], name="trial")
    operation.wait_for(second, "Completed")
    operation.wait_for_line(second, "trial-export_latency_runs_2-report_title_B: done before")
    assert operation.log_of(second).count("done before") == 2
    assert operation.log_of(second).count("Running stage") == 0
    write_params(operation.project / "params.yaml", TINY, {"report": {"wrong_clips": 3}})
    third = operation.submit("sweep", runs=runs[:1], name="trial")
    operation.wait_for(third, "Failed")
    assert "was done with other parameters than params.yaml has now" in operation.about(third)["state"]["message"]
    write_params(operation.project / "params.yaml", TINY)


def test_a_folder_is_predicted_each_video_once(operation: Operation) -> None:
    """New and changed files are taken, a broken one is recorded, one that is being written is left."""
    folder, results = operation.project / "data/incoming", operation.project / "reports/predicted.csv"
    videos = sorted((operation.project / "data/raw/motion").rglob("*.mp4"))
    folder.mkdir()

    def arrive(name: str, content: bytes, age_sec: float = 100) -> None:
        (folder / name).write_bytes(content)
        os.utime(folder / name, (time.time() - age_sec, time.time() - age_sec))

    def message() -> str:
        run_id = operation.submit("predict-folder")
        operation.wait_for(run_id, "Completed", "Failed")
        return str(operation.about(run_id)["state"]["message"])

    arrive("one.mp4", videos[0].read_bytes())
    arrive("broken.mp4", b"no video")
    arrive("growing.mp4", videos[1].read_bytes(), age_sec=-100)
    assert message() == "2 new videos in data/incoming, 1 of them unreadable; 1 still being written"
    arrive("one.mp4", videos[2].read_bytes(), age_sec=50)
    assert message() == "1 new videos in data/incoming, 0 of them unreadable; 1 still being written"
    assert message() == "0 new videos in data/incoming, 0 of them unreadable; 1 still being written"
    rows = pd.read_csv(results, keep_default_na=False)
    assert rows["file"].tolist() == ["broken.mp4", "one.mp4", "one.mp4"]
    assert rows["label"].astype(bool).tolist() == [False, True, True]
    assert rows["error"].astype(bool).tolist() == [True, False, False]
    results.write_text("a,b\n1,2\n")
    assert "lacks the columns" in message()


def test_weights_are_fetched_over_a_bad_line(operation: Operation, weights: BadServer) -> None:
    """Retried and resumed where that helps, refused where not, and never a bad file in place."""
    names = ("busy", "once500", "cut", "slow", "404")
    run_id = operation.submit("fetch-weights", names=[weights.url(name) for name in names])
    operation.wait_for(run_id, "Failed", seconds=400)
    about = operation.about(run_id)
    assert about["state"]["message"] == f"1 of 5 could not be had: {weights.url('404')}"
    operation.wait_for_line(run_id, "the server answered 404")
    assert weights.requests["404"] == 1  # what will not pass is not tried again
    assert weights.requests["busy"] == 21  # a flow's second try, after the command's own
    kept = list((operation.project / ".pptsm/downloads").rglob("*.bin"))
    assert sorted(path.name for path in kept) == ["busy.bin", "cut.bin", "once500.bin", "slow.bin"]
    assert {path.read_bytes() for path in kept} == {weights.body}


def test_weights_with_a_wrong_hash_never_reach_the_pipeline(operation: Operation, weights: BadServer) -> None:
    """The stage `pretrained` fails at once, says why, and leaves no output."""
    wanted = {"student": weights.url("good"), "student_sha256": "0" * 64}
    write_params(operation.project / "params.yaml", TINY, {"pretrained": wanted})
    run_id = operation.submit(stages={"from": "pretrained", "to": "pretrained"})
    operation.wait_for(run_id, "Failed")
    operation.wait_for_line(run_id, "it is another or a damaged file")
    assert weights.requests["good"] == 1
    assert not (operation.project / "models/pretrained").exists()
    write_params(operation.project / "params.yaml", TINY)


def test_two_runs_wait_for_each_other_and_a_cancelled_one_leaves_nothing(operation: Operation) -> None:
    """The second waits for its turn; when the first is cancelled in a training, it goes on from the last epoch."""
    needs_training(operation, seed=1)
    first = operation.submit()
    operation.wait_for_line(first, "student: epoch 3 of 25")
    second = operation.submit()
    operation.wait_for(second, "AwaitingConcurrencySlot")
    assert operation.stage_processes()
    operation.prefect("flow-run", "cancel", first)
    operation.wait_for(first, "Cancelled")
    assert operation.stage_processes() == []
    operation.wait_for(second, "Completed")
    operation.wait_for_line(second, "stages had work to do")
    log = operation.log_of(second)
    assert "student: going on after epoch" in log
    assert "student: epoch 2 of 25" not in log
    assert operation.about(second)["start_time"] >= operation.about(first)["end_time"]
    artifacts = CLIENT.post(f"{operation.api}/artifacts/filter", json={"limit": 200}, timeout=30).json()
    keys = {artifact["key"] for artifact in artifacts}
    assert keys >= {"accuracy", "report", "report-page", "validation", "student-epochs", "student-progress"}


def test_a_run_survives_a_restart_of_the_server(operation: Operation) -> None:
    """The training goes on meanwhile, and the run completes."""
    needs_training(operation, seed=2)
    running = operation.submit()
    operation.wait_for_line(running, "student: epoch 2 of 25")
    operation.server.terminate()
    operation.server.wait(60)
    time.sleep(3)
    operation.server = operation.start_server()
    operation.wait_for(running, "Completed")
    operation.wait_for_line(running, "student, evaluate, export, report")
    assert "up to date" in run("dvc", "status", cwd=operation.project).stdout


def test_after_a_killed_worker_the_next_run_goes_on(operation: Operation) -> None:
    """Worker and run are killed without warning: the stage ends too; `make flow` takes up its training."""
    needs_training(operation, seed=3)
    killed = operation.submit()
    operation.wait_for_line(killed, "student: epoch 3 of 25")
    assert operation.stage_processes()
    family = [operation.worker, *operation.worker.children()]
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, 20)
    wait_until(lambda: operation.stage_processes() == [], 40)
    operation.stop()

    command = [sys.executable, "flows/watched.py"]
    environment = {name: value for name, value in operation.environment.items() if name != "PREFECT_API_URL"}
    done = subprocess.run(
        command, cwd=operation.project, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "student: going on after epoch" in done.stdout
    assert "student: epoch 2 of 25" not in done.stdout
    assert "up to date" in run("dvc", "status", cwd=operation.project).stdout
