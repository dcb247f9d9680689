"""The deployments against a real server and worker on loopback, with what goes wrong in operation."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
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
from flows.graph import graph
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util.retry import Retry

from conftest import TINY, commit, copy_tree, run, write_params
from helpers.badserver import BadServer
from pptsm.orchestration.access import ADDRESS, PASSWORD, SERVERS_PASSWORD, access_file, grant_access
from pptsm.weights.state_dict import write_arrays

CLIENT = requests.Session()  # asks again on 503, which the server answers while its SQLite is locked
CLIENT.mount(
    "http://", HTTPAdapter(max_retries=Retry(6, backoff_factor=0.5, status_forcelist=(503,), allowed_methods=None))
)
ONLY_STUDENT = {"from": "student", "to": "student"}
SLOW_START_SEC = 300  # what a busy machine may take
PATIENCE_SEC = 600
# one process runs these tests, in the order of this file, because they share a server: conftest.Shares
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
            "PWD": "/",  # where another shell is: what is typed works in the folder where it runs
            "PYTHONPATH": str(project / "src"),
            "PREFECT_HOME": str(project / ".prefect"),
            "COLUMNS": "500",  # lines of the log are not broken
        }
        (project / ".prefect").mkdir(exist_ok=True)
        access = grant_access(project / ".prefect", self.api)
        self.of_the_server = {SERVERS_PASSWORD: access.pop(SERVERS_PASSWORD)}
        self.environment[ADDRESS] = access[ADDRESS]  # whoever is started finds the password as in another terminal
        CLIENT.auth = HTTPBasicAuth(*access[PASSWORD].split(":"))
        self.server = self.start_server()
        self.deployed = self.command("prefect", "deploy", "--all")  # as docs/operations.md has it, before any worker
        self.worker = self.start_worker()

    def start(self, *command: str) -> psutil.Popen:
        with (self.project / ".prefect" / f"{command[1]}.log").open("a") as log:
            environment = self.environment | (self.of_the_server if command[1] == "server" else {})
            return psutil.Popen(command, cwd=self.project, env=environment, stdout=log, stderr=log)

    def start_server(self) -> psutil.Popen:
        server = self.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        wait_until(lambda: answers(f"{self.api}/health"), SLOW_START_SEC)
        return server

    def start_worker(self) -> psutil.Popen:
        worker = self.start("prefect", "worker", "start", "--pool", "pptsm")
        wait_until(lambda: answers(f"{self.api}/work_pools/pptsm"), SLOW_START_SEC)
        return worker

    def command(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SEC,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a flow as a script, which takes the server that it is told of."""
        return self.command(sys.executable, f"flows/{name}.py", *arguments, check=False)

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

    def wait_for(self, run_id: str, *states: str) -> str:
        """Wait until a run is in one of these states; what the state says."""
        wait_until(lambda: self.about(run_id)["state"]["name"] in states, explain=lambda: self.log_of(run_id))
        return str(self.about(run_id)["state"]["message"])

    def wait_for_line(self, run_id: str, text: str) -> None:
        wait_until(lambda: text in self.log_of(run_id), explain=lambda: self.log_of(run_id))

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

    def pause_student(self) -> list[psutil.Process]:
        """Hold the training of the student as soon as it has saved an epoch, so that no test is a race against it."""
        students: list[psutil.Process] = []

        def is_training() -> bool:
            students[:] = [one for one in self.stage_processes() if "pptsm student" in " ".join(one.info["cmdline"])]
            states = (self.project / ".pptsm/training").glob("student-*/state.safetensors")
            return bool(students and [path for path in states if path.parent.name != "student-finished"])

        wait_until(is_training)
        for process in students:
            process.suspend()
        return students

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
        return CLIENT.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def wait_until(ready: Callable[[], bool], seconds: float = PATIENCE_SEC, explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds} s; {explain()}"
        time.sleep(0.1)


def resume(processes: list[psutil.Process], asked_to_stop: bool) -> None:
    """Let held processes go on, if need be not before they are asked as by Ctrl-C to stop."""

    def are_asked() -> bool:
        pending = [re.findall(r"ShdPnd:\s*(\w+)", Path(f"/proc/{one.pid}/status").read_text())[0] for one in processes]
        return all(int(signals, 16) >> (signal.SIGINT - 1) & 1 for signals in pending)

    if asked_to_stop:
        wait_until(are_asked)
    for process in processes:
        process.resume()


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory, tiny_project: Path) -> Iterator[Operation]:
    """A project whose pipeline has run, under operation."""
    project = copy_tree(tiny_project, tmp_path_factory.mktemp("in operation") / "clone")
    commit(project)
    operation = Operation(project)
    yield operation
    operation.stop()


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[BadServer]:
    """A server of a weights file."""
    write_arrays(tmp_path / "weights", {"conv.weight": np.arange(250_000, dtype=np.float32)})
    with BadServer((tmp_path / "weights").read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def project(operation: Operation) -> Iterator[Path]:
    """The project under operation, whose files a test may change: afterwards they are as they were."""
    yield operation.project
    run("git", "checkout", "-q", "--", ".", cwd=operation.project)
    run("dvc", "checkout", "-q", cwd=operation.project)


def test_a_deployment_is_run_by_its_bare_name(operation: Operation) -> None:
    """All tasks are named as the stages; nothing had to be done, and DVC agrees afterwards."""
    done = operation.command("prefect", "deployment", "run", "train-pptsm", "--watch")
    assert f"0 of {len(graph())} stages had work to do: none" in done.stdout
    for stage in graph():
        assert f"{stage}: nothing to do after" in done.stdout
    assert "up to date" in run("dvc", "status", cwd=operation.project).stdout


def test_the_documented_deploy_on_a_fresh_server_deploys_all(operation: Operation) -> None:
    """Five deployments whose runs work in this folder, and the pool that they need, whatever PWD says."""
    assert "the server has no work pool pptsm yet: it is made" in operation.deployed.stderr
    pool = CLIENT.get(f"{operation.api}/work_pools/pptsm", timeout=30).json()
    assert pool["type"] == "process"
    found = CLIENT.post(f"{operation.api}/deployments/filter", json={}, timeout=30).json()
    assert sorted(row["name"] for row in found) == [
        "fetch-weights", "predict-folder", "promote", "sweep", "train-pptsm",
    ]  # fmt: skip
    steps = [step for row in found for step in row["pull_steps"]]
    work_in = {"prefect.deployments.steps.set_working_directory": {"directory": str(operation.project)}}
    assert steps == [work_in] * 5


def test_what_the_server_keeps_is_its_owners_alone(operation: Operation) -> None:
    """Parameters and logs of all runs: the folder, and the database in it."""
    home = operation.project / ".prefect"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "prefect.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("auth", [None, HTTPBasicAuth("pptsm", "guessed")], ids=["without", "a guessed one"])
def test_who_has_no_password_is_refused(operation: Operation, auth: HTTPBasicAuth | None) -> None:
    """Of the server only its health is told; the password stands in a file that its owner alone can read."""
    assert stat.S_IMODE(access_file(operation.project / ".prefect").stat().st_mode) == 0o600
    for asked in ("deployments/filter", "flows/", "work_pools/filter"):
        assert requests.post(f"{operation.api}/{asked}", json={}, auth=auth, timeout=30).status_code == 401
    assert CLIENT.post(f"{operation.api}/deployments/filter", json={}, timeout=30).ok


@pytest.mark.parametrize(
    ("parameter", "sentence", "ran"),
    [
        ('overrides=["sampling=dens"]', "sampling is 'dens', but should be 'uniform' or 'dense'", ["code", "check"]),
        ('overrides=["samplin"]', "samplin", []),
        ('overrides=["/elsewhere/x.yaml:a=5"]', "only params.yaml may be", []),
        ('stages={"from": "reprt"}', "'reprt' is not one of ['code', 'check', 'motion'", []),
    ],
    ids=["refused by the stage check", "refused by DVC", "of another file", "refused by the server"],
)
def test_a_wrong_parameter_is_refused_before_any_work(
    operation: Operation, parameter: str, sentence: str, ran: list[str]
) -> None:
    """Exit code 1, a sentence in what the user sees, no trace. The long form of the name works as well."""
    command = ("prefect", "deployment", "run", "train-pptsm/train-pptsm", "-p", parameter, "--watch")
    done = operation.command(*command, check=False)
    assert done.returncode == 1
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert re.findall(r"Running stage '(\w+)'", done.stdout) == ran


def test_a_run_from_a_later_stage_is_refused_where_a_parameter_changed_before_it(
    operation: Operation, project: Path
) -> None:
    """The deployment fails with the stages that must come first."""
    write_params(project / "params.yaml", TINY, {"frames": {"jpeg_quality": 77}})
    stale = operation.submit(stages={"from": "evaluate"})
    assert operation.wait_for(stale, "Completed", "Failed") == (
        "stages: frames must be done anew before evaluate, which would build on what is out of date (`dvc status` says "
        "why). Run from frames."
    )
    assert "Running stage" not in operation.log_of(stale)


def test_a_run_from_a_later_stage_is_refused_where_a_file_changed_before_it(
    operation: Operation, project: Path
) -> None:
    """As a script: exit code 1, and the sentence names all that must come first, but no stage that comes anyway."""
    with (project / "src/pptsm/training/loop.py").open("a") as file:
        file.write("EDITED = True\n")
    done = operation.script("train_pptsm", "-p", 'stages={"from": "evaluate"}')
    assert done.returncode == 1
    assert "error: stages: teacher, student, baseline must be done anew before evaluate" in done.stderr
    assert "Running stage" not in done.stdout + done.stderr


def test_a_run_with_overrides_is_an_experiment_and_the_checkout_stays(operation: Operation) -> None:
    """As a script: named in `dvc exp show` with its own metrics, its report kept, `git status` unchanged."""
    before = run("git", "status", "--porcelain", cwd=operation.project).stdout
    done = operation.script("train_pptsm", "-p", 'overrides=["sampling=dense"]', "-p", "experiment=dense-trial")
    assert done.returncode == 0, done.stderr
    assert run("git", "status", "--porcelain", cwd=operation.project).stdout == before
    shown = json.loads(run("dvc", "exp", "show", "--json", cwd=operation.project).stdout)
    revisions = [trial["revs"][0] for row in shown for trial in row["experiments"] or []]
    trial = next(revision for revision in revisions if revision["name"] == "dense-trial")
    assert trial["data"]["params"]["params.yaml"]["data"]["sampling"] == "dense"
    assert "student" in trial["data"]["metrics"]["reports/evaluation/metrics.json"]["data"]
    page = operation.project / "reports/experiments/dense-trial/index.html"
    assert "dense" in page.read_text(encoding="utf-8")
    tasks = CLIENT.post(f"{operation.api}/task_runs/filter", json={}, timeout=30).json()
    assert {task["name"] for task in tasks} >= {"experiment", *graph()}  # a bar for each stage


def test_an_experiment_that_was_left_early_has_no_figures(operation: Operation, project: Path) -> None:
    """DVC shows the last commit's for it. The narrow table does not, a sweep does not take it for done, and a flow does
    not make one."""
    run("dvc", "exp", "run", "--temp", "-n", "early-sampling_dense", "-S", "sampling=dense", "check", cwd=project)
    table = run("pptsm", "compare", cwd=project).stdout
    assert max(map(len, table.splitlines())) <= 120
    row = next(line for line in table.splitlines() if "early-sampling" in line)
    assert "did not run" in row
    assert "sampling=dense" in row
    assert "%" not in row
    assert "git restore . && dvc checkout" in table
    swept = operation.script("sweep", "-p", 'runs=[["sampling=dense"]]', "-p", "name=early")
    assert swept.returncode == 1
    assert "experiment early-sampling_dense is there, but was left before its end" in swept.stderr
    ranged = operation.script("train_pptsm", "-p", 'overrides=["seed=9"]', "-p", 'stages={"to": "check"}')
    assert ranged.returncode == 1
    assert "an experiment begins where its overrides take effect and runs to the end" in ranged.stderr


def test_a_sweep_compares_experiments_and_takes_up_what_is_done(operation: Operation, project: Path) -> None:
    """One of them fails: the others are done, and a second sweep does not do them again."""
    runs = [["report.title=A"], ["report.wrong_clips=2", "report.title=B"], ["index.root=nowhere"]]
    first = operation.submit("sweep", runs=runs, name="trial")
    operation.wait_for(first, "Failed")
    assert "1 of 3 experiments failed: trial-index_root_nowhere" in operation.about(first)["state"]["message"]
    operation.wait_for_line(first, "index.root is 'nowhere', but there is no such folder")
    table = (operation.project / "reports/experiments.md").read_text(encoding="utf-8")
    for name in ("(checkout)", "trial-report_title_A", "trial-report_wrong_clips_2-report_title_B"):
        assert table.count(f"| {name} ") == 4  # teacher and student, uniform and dense
    second = operation.submit("sweep", runs=runs[:2], name="trial")
    operation.wait_for(second, "Completed")
    operation.wait_for_line(second, "trial-report_wrong_clips_2-report_title_B: done before")
    assert operation.log_of(second).count("done before") == 2
    assert operation.log_of(second).count("Running stage") == 0
    write_params(project / "params.yaml", TINY, {"report": {"wrong_clips": 3}})
    third = operation.submit("sweep", runs=runs[:1], name="trial")
    operation.wait_for(third, "Failed")
    assert "was done with other parameters than params.yaml has now" in operation.about(third)["state"]["message"]


def arrive(folder: Path, name: str, content: bytes, age_sec: float = 100) -> None:
    """A file whose last change lies so far back."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    os.utime(folder / name, (time.time() - age_sec, time.time() - age_sec))


def videos_of(operation: Operation) -> list[bytes]:
    """Contents of videos that can be predicted."""
    return [path.read_bytes() for path in sorted((operation.project / "data/raw/motion").rglob("*.mp4"))]


def test_a_folder_is_predicted_each_video_once(operation: Operation) -> None:
    """New and changed files are taken, a broken one is tried again, one that is being written is left.

    A run in which all videos failed has failed.
    """
    folder, results = operation.project / "data/incoming", operation.project / "reports/predicted.csv"
    one, other, changed, *_ = videos_of(operation)

    def ended() -> tuple[str, str]:
        run_id = operation.submit("predict-folder")
        message = operation.wait_for(run_id, "Completed", "Failed")
        return operation.about(run_id)["state"]["name"], message

    arrive(folder, "one.mp4", one)
    arrive(folder, "broken.mp4", b"no video")
    arrive(folder, "growing.mp4", other)
    touch = ("sh", "-c", 'while touch "$0"; do sleep 1; done', str(folder / "growing.mp4"))
    with subprocess.Popen(touch) as growing:
        try:
            assert ended() == ("Completed", "2 videos taken in data/incoming, 1 of them failed; 1 still being written")
            state, message = ended()
            assert state == "Failed"
            assert message.startswith(
                "1 videos taken in data/incoming, 1 of them failed; 1 still being written. Column `error`"
            )
            arrive(folder, "one.mp4", changed, age_sec=50)
            assert ended() == ("Completed", "2 videos taken in data/incoming, 1 of them failed; 1 still being written")
        finally:
            growing.kill()
    rows = pd.read_csv(results, keep_default_na=False).sort_values("file")
    assert rows["file"].tolist() == ["broken.mp4", "one.mp4", "one.mp4"]
    assert rows["label"].astype(bool).tolist() == [False, True, True]
    assert rows["error"].astype(bool).tolist() == [True, False, False]
    assert rows["tries"].tolist() == [3, 1, 1]


def test_a_package_is_promoted_after_a_word_and_undone(operation: Operation) -> None:
    """The run pauses after the comparison; a no changes nothing, a yes puts the package in service."""

    def asked(word: bool) -> str:
        run_id = operation.submit("promote", folder="served/model", ask=True)
        operation.wait_for(run_id, "Paused")
        assert not (operation.project / "served/model").exists()
        answer = CLIENT.post(
            f"{operation.api}/flow_runs/{run_id}/resume", json={"run_input": {"promote": word}}, timeout=30
        )
        answer.raise_for_status()
        assert answer.json()["status"] == "ACCEPT", answer.text
        return operation.wait_for(run_id, "Completed", "Failed")

    assert asked(False).startswith("not promoted")
    assert not (operation.project / "served/model").exists()
    assert asked(True).startswith("models/package is in service at served/model")
    assert (operation.project / "served/model/SHA256SUMS").is_file()
    run_id = operation.submit("promote", folder="served/model", undo=True)
    message = operation.wait_for(run_id, "Completed", "Failed")
    assert operation.about(run_id)["state"]["name"] == "Failed"
    assert "no former package" in message
    shutil.rmtree(operation.project / "served")


def test_two_runs_at_once_lose_no_row(operation: Operation) -> None:
    """Two scripts over two folders, with one file of results: the second waits for the first."""
    contents = videos_of(operation)[:3]
    results = operation.project / "reports/shared.csv"
    scripts = []
    for folder in (operation.project / "data/left", operation.project / "data/right"):
        for number, content in enumerate(contents):
            arrive(folder, f"{folder.name}{number}.mp4", content)
        command = [sys.executable, "flows/predict_folder.py", "-p", f"results={results}", "-p", f"folder={folder}"]
        scripts.append(subprocess.Popen(command, cwd=operation.project, env=operation.environment))
    assert [script.wait(PATIENCE_SEC) for script in scripts] == [0, 0]
    files = pd.read_csv(results)["file"].tolist()
    assert sorted(files) == [f"{name}{number}.mp4" for name in ("left", "right") for number in range(3)]
    assert len({file[:4] for file in files[:3]}) == 1  # one run after the other


def test_weights_are_fetched_over_a_bad_line(operation: Operation, weights: BadServer) -> None:
    """Retried and resumed where that helps, refused where not, and never a bad file in place.

    A name that looks like an option is a name.
    """
    names = [weights.url(name) for name in ("breaking", "once500", "cut", "slow", "404")]
    run_id = operation.submit("fetch-weights", names=[*names, "--help"])
    assert operation.wait_for(run_id, "Completed", "Failed") == f"2 of 6 could not be had: {names[-1]}, --help"
    operation.wait_for_line(run_id, "the server answered 404")
    operation.wait_for_line(run_id, "no weights '--help'")
    assert weights.requests["404"] == 1  # what will not pass is not tried again
    assert weights.requests["breaking"] == 5  # a flow's second try, after the command's own
    kept = list((operation.project / ".pptsm/downloads").rglob("*.bin"))
    assert sorted(path.name for path in kept) == ["breaking.bin", "cut.bin", "once500.bin", "slow.bin"]
    assert {path.read_bytes() for path in kept} == {weights.body}


def test_weights_with_a_wrong_hash_never_reach_the_pipeline(
    operation: Operation, project: Path, weights: BadServer
) -> None:
    """The stage `start@student` fails at once, says why, and leaves no output."""
    wanted = {"start": {"weights": weights.url("good"), "sha256": "0" * 64}}
    write_params(project / "params.yaml", TINY, {"student": wanted})
    run_id = operation.submit(stages={"from": "start@student", "to": "start@student"})
    operation.wait_for(run_id, "Failed")
    operation.wait_for_line(run_id, "it is another or a damaged file")
    assert weights.requests["good"] == 1
    assert not (project / "models/start/student").exists()


def test_two_runs_wait_for_each_other_and_a_cancelled_one_leaves_nothing(operation: Operation, project: Path) -> None:
    """The second waits for its turn; when the first is cancelled in a training, it goes on from its last step."""
    write_params(project / "params.yaml", TINY, {"seed": 1, "motion": {"seed": 1}})
    first = operation.submit()
    student = operation.pause_student()
    second = operation.submit()
    operation.wait_for(second, "AwaitingConcurrencySlot")
    operation.command("prefect", "flow-run", "cancel", first)
    resume(student, asked_to_stop=True)
    operation.wait_for(first, "Cancelled")
    assert operation.stage_processes() == []
    for stage in ("motion", "index", "validate", "frames", "teacher"):
        operation.wait_for_line(first, f"{stage}: done after")
    operation.wait_for(second, "Completed")
    worked = (
        "10 of {} stages had work to do: student, baseline, export, evaluate, quantize, also, evaluate_also, "
        "explanations, report, package"
    )
    operation.wait_for_line(second, worked.format(len(graph())))
    log = operation.log_of(second)
    assert "student: going on after epoch" in log
    assert operation.about(second)["start_time"] >= operation.about(first)["end_time"]
    artifacts = CLIENT.post(f"{operation.api}/artifacts/filter", json={"limit": 200}, timeout=30).json()
    keys = {artifact["key"] for artifact in artifacts}
    assert keys >= {"accuracy", "report", "report-page", "validation", "student-epochs", "student-progress"}


def test_a_run_survives_a_restart_of_the_server(operation: Operation, project: Path) -> None:
    """The training goes on meanwhile, and the run completes."""
    write_params(project / "params.yaml", TINY, {"student": {"network": {"dropout": 0.4}}})
    running = operation.submit(stages=ONLY_STUDENT)
    student = operation.pause_student()
    operation.server.terminate()
    operation.server.wait(SLOW_START_SEC)
    resume(student, asked_to_stop=False)
    psutil.wait_procs(student, PATIENCE_SEC)
    assert (project / "models/student/weights.pdparams").exists()
    operation.server = operation.start_server()
    operation.wait_for(running, "Completed")
    operation.wait_for_line(running, "stages had work to do: check, student")
    assert "up to date" in run("dvc", "status", "--with-deps", "student", cwd=project).stdout


def test_after_a_killed_worker_the_next_run_goes_on(operation: Operation, project: Path) -> None:
    """Worker and run are killed without warning: the stage ends too; `make flow` takes up its training."""
    write_params(project / "params.yaml", TINY, {"student": {"network": {"dropout": 0.3}}})
    operation.submit(stages=ONLY_STUDENT)
    student = operation.pause_student()
    family = [operation.worker, *operation.worker.children()]
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, PATIENCE_SEC)
    resume(student, asked_to_stop=True)
    wait_until(lambda: operation.stage_processes() == [])
    operation.stop()

    environment = {name: value for name, value in operation.environment.items() if name != ADDRESS}
    done = subprocess.run(
        [sys.executable, "-m", "pptsm.orchestration.server", "-p", f"stages={json.dumps(ONLY_STUDENT)}"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SEC,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "student: going on after epoch" in done.stdout
    started_within_the_first = "student: going on after epoch 0 of" in done.stdout
    assert ("student: epoch 1 of" in done.stdout) == started_within_the_first
    assert "up to date" in run("dvc", "status", "--with-deps", "student", cwd=project).stdout


def test_a_killed_make_serve_leaves_no_process(operation: Operation, project: Path) -> None:
    """Until then whoever types in its folder is served, wherever the server listens; another server is refused there.

    Afterwards worker and server end, and the next may begin.
    """
    operation.stop()
    environment = {name: value for name, value in operation.environment.items() if name != ADDRESS}
    command = [sys.executable, "-m", "pptsm.orchestration.server", "--stay"]
    said = project / ".prefect/said"
    with said.open("w") as output:
        serving = psutil.Popen(command, cwd=project, env=environment, stdout=output, stderr=output)
    wait_until(lambda: "now, in this folder" in said.read_text() or not serving.is_running(), explain=said.read_text)
    family = serving.children(recursive=True)
    assert oct(access_file(project / ".prefect").stat().st_mode)[-3:] == "600"
    assert "password is in" in said.read_text()
    operation.environment = environment  # no address: it is found with the password
    done = operation.command("prefect", "deployment", "run", "train-pptsm", "-p", 'stages={"to": "check"}', "--watch")
    assert "0 of 2 stages had work to do" in done.stdout
    second = operation.command(*command, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("error: a server runs in this folder already")
    serving.kill()
    serving.wait(60)
    _, left = psutil.wait_procs(family, 60)
    assert left == []
    with (project / ".prefect/server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
