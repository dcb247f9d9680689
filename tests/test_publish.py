"""A run published: to a real MLflow server on loopback, and as a folder for the Hub."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import run
from helpers.small_project import small_project
from pptsm.publish.facts import Facts, facts_of_checkout
from pptsm.publish.to_hub import card_for_hub
from pptsm.publish.to_mlflow import tracking_uri
from pptsm.runtime.errors import UserError

NAME = "PP-TSM"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of DVC that has run."""
    return small_project(tmp_path_factory.mktemp("a project") / "clone")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh MLflow server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **QUIET}, cwd=folder, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            try:
                if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # nothing of it is needed any more
        process.wait(30)


def asked(server: str, what: str, **words: Any) -> Any:
    """What the server answers by its REST interface."""
    return httpx.get(f"{server}/api/2.0/mlflow/{what}", params=words, timeout=60).raise_for_status().json()


def test_a_run_is_published_once_with_all_that_belongs_to_it(project: Path, server: str) -> None:
    """Parameters, figures with intervals, curves by epoch, hashes as tags, package: as the server has them."""
    words = ("publish", "mlflow", server, "--package", "package", "--experiment", "of a test")
    done = run("pptsm", *words, cwd=project)
    assert done.stdout.startswith(f"{NAME}: published as run ")
    again = run("pptsm", *words, cwd=project)
    assert "was published before" in again.stdout
    assert again.stdout.split(" run ")[1].split()[0] == done.stdout.split(" run ")[1].split()[0]
    of = asked(server, "experiments/get-by-name", experiment_name="of a test")["experiment"]["experiment_id"]
    found = httpx.post(f"{server}/api/2.0/mlflow/runs/search", json={"experiment_ids": [of]}, timeout=60).json()["runs"]
    assert len(found) == 1
    info, data = found[0]["info"], found[0]["data"]
    assert info["status"] == "FINISHED"
    parameters = {each["key"]: each["value"] for each in data["params"]}
    assert parameters["training.rate"] == "0.5"
    metrics = {each["key"]: each["value"] for each in data["metrics"]}
    assert metrics["student/uniform/top1"] == 0.375
    assert (metrics["student/uniform/top1_low"], metrics["student/uniform/top1_high"]) == (0.1, 0.9)
    assert not {"student/uniform/above_chance", "student/uniform/none"} & set(metrics)
    curve = asked(server, "metrics/get-history", run_id=info["run_id"], metric_key="epochs/train/val_top1")["metrics"]
    assert [(point.get("step", 0), round(point["value"], 6)) for point in curve] == [(1, 0.3), (2, 0.6), (3, 0.2)]
    lost = asked(server, "metrics/get-history", run_id=info["run_id"], metric_key="epochs/train/clips_per_sec")
    assert [point["step"] for point in lost["metrics"]] == [1, 2]  # the third is no number
    tags = {each["key"]: each["value"] for each in data["tags"]}
    assert tags["dvc.lock/videos.csv"] in (project / "dvc.lock").read_text()
    assert len(tags["mlflow.source.git.commit"]) == 40
    listed = asked(server, "artifacts/list", run_id=info["run_id"], path="package")["files"]
    assert {each["path"] for each in listed} == {"package/README.md", "package/SHA256SUMS", "package/model.onnx"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mlflow", "make.py", "--package", "package"], "make.py is to be a folder for MLflow or the address"),
        (["mlflow", "package"], "package is a model's package, which `pptsm publish mlflow` takes by --package"),
        (["mlflow", "runs", "--package", "nowhere"], "nowhere is no package"),
        (
            ["mlflow", "http://127.0.0.1:9", "--package", "package"],
            "MLflow at http://127.0.0.1:9 does not take the run",
        ),
        (["hf", "package"], "the Hub needs a repository, --repo OWNER/NAME, and found None"),
        (["hf", "package", "--repo", "who/what"], "no token of the Hub is here"),
    ],
)
def test_what_cannot_be_published_is_said(project: Path, words: list[str], said: str, tmp_path: Path) -> None:
    """In a sentence, within seconds, and nothing is made."""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    environment = {name: value for name, value in environment.items() if name not in ("HF_TOKEN", "HF_TOKEN_PATH")}
    done = subprocess.run(
        ["pptsm", "publish", *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "runs").exists()


def test_a_checkout_that_has_not_run_is_not_published(project: Path) -> None:
    """An edit of params.yaml makes the figures another run's."""
    before = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(before.replace("bias: 3", "bias: 4"))
    try:
        with pytest.raises(UserError, match=r"nothing to publish in .*: evaluate, package did not run"):
            facts_of_checkout(project)
    finally:
        (project / "params.yaml").write_text(before)


def test_the_folder_for_the_hub_is_whole_and_says_nothing_of_this_machine(project: Path) -> None:
    """Its card is read by the Hub's own library; sums fit; a path from the root of a disk is its last part."""
    from huggingface_hub import ModelCard

    run("pptsm", "publish", "hf", "package", "--to", "for the hub", cwd=project)
    folder = project / "for the hub"
    card = ModelCard.load(folder / "README.md")
    results = card.data.eval_results
    assert results is not None
    assert results[0].metric_name == "top-1, uniform sampling (95 % interval 10.0 to 90.0 %)"
    assert results[0].metric_value == 0.375
    assert results[0].dataset_name == "motion"
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=folder, check=True)
    assert json.loads((folder / "run/parameters.json").read_text())["index.root"] == "videos"
    assert (folder / "run/epochs.csv").is_file()
    for file in folder.rglob("*"):
        assert file.is_dir() or b"/home/somebody" not in file.read_bytes(), file
    with pytest.raises(UserError, match="has no head of YAML"):
        card_for_hub("# no head", Facts(NAME, "", False, {}, {}, {}, {}, {}, []))


class Refusing(BaseHTTPRequestHandler):
    """A Hub that knows nobody."""

    asked: list[str] = []  # noqa: RUF012 (of all requests)

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = b'{"error": "Invalid username or password."}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_refusal_of_the_hub_is_a_sentence(project: Path, tmp_path: Path) -> None:
    """With the address that was asked and its reason, and without the token."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{hub.server_port}"
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": "hf_secret", "HF_HOME": str(tmp_path)}
    words = ["pptsm", "publish", "hf", "package", "--repo", "who/what"]
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    hub.shutdown()
    hub.server_close()
    assert done.returncode == 1
    assert f"the Hub ({address}) does not take who/what" in done.stderr
    assert "401" in done.stderr
    assert "hf_secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert Refusing.asked == ["/api/repos/create"]


@pytest.mark.parametrize("address", ["http://localhost:5000", "sqlite:///runs.db", "file:/runs"])
def test_an_address_stays_as_it_is(address: str) -> None:
    """And a folder is the database in it."""
    assert tracking_uri(address) == address


def test_a_folder_becomes_a_database(tmp_path: Path) -> None:
    """Where it is, whatever the working folder is later."""
    assert tracking_uri(str(tmp_path / "a b")) == f"sqlite:///{tmp_path}/a b/mlflow.db"
