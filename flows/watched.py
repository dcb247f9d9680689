"""`make flow` and `make serve`: server on loopback, the deployments of prefect.yaml, and a worker that runs them.

    python flows/watched.py [OPTIONS OF prefect deployment run, such as -p overrides='["sampling=dense"]']
    python flows/watched.py --stay

The first runs `train-pptsm` once, watched, and ends with the run's exit code; the second stays until Ctrl-C. Either
leaves no process behind. Cost beside the stages: about half a minute. While it runs, the address it prints shows the
runs in a browser; database and logs are in .prefect/.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".prefect"
DEPLOYMENT = "train-pptsm"
POOL = "pptsm"
USUAL_PORT = 4200
PATIENCE_SEC = 300
GRACE_SEC = 30  # what a stopped run gets to stop its stage and to tell the server


def main() -> int:
    """Start server and worker, watch one run or stay, stop everything."""
    for asked in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, lambda number, _: sys.exit(128 + number))  # asked to stop, it stops its children too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the worker ends itself by it, also in the background
    with server_and_worker() as (address, environment):
        print(f"Prefect: {address}", flush=True)
        try:
            if sys.argv[1:] == ["--stay"]:
                print(f"now: PREFECT_API_URL={address}/api prefect deployment run {DEPLOYMENT}   (Ctrl-C ends it)")
                while _answers(f"{address}/api/health"):
                    time.sleep(5)
                sys.exit("error: the server does not answer any more; see .prefect/server.log")
            command = ["prefect", "deployment", "run", DEPLOYMENT, "--watch", *sys.argv[1:]]
            code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
        except KeyboardInterrupt:
            return 130
    print(f"the flow run ended with exit code {code}; its log: {LOGS / 'worker.log'}")
    return code


@contextlib.contextmanager
def server_and_worker() -> Iterator[tuple[str, dict[str, str]]]:
    """A server with the deployments of prefect.yaml, and a worker for them; its address, and the environment to use.

    The settings are those of prefect.toml, except for the address where the usual port is taken.
    """
    LOGS.mkdir(exist_ok=True)
    lock = (LOGS / "lock").open("w")  # until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # two servers on one database would not see each other's runs
        sys.exit(f"error: a server runs in this folder already; use `prefect deployment run {DEPLOYMENT} --watch`.")
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PWD": str(ROOT),  # prefect.yaml has runs work there
        "PREFECT_HOME": str(LOGS),  # of runs too, which start elsewhere
        "PREFECT_API_URL": f"{address}/api",
    }
    server = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    with _running(server, environment, "server") as server_process:
        _wait_for(lambda: _answers(f"{address}/api/health"), server_process, "server")
        _end_dead_runs(f"{address}/api")
        with _running(worker, environment, "worker") as worker_process:  # it creates the pool
            _wait_for(lambda: _answers(f"{address}/api/work_pools/{POOL}"), worker_process, "worker")
            _deploy(environment)
            yield address, environment


def _free_port() -> int:
    """The usual port, or where something listens there already, any free one."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: connections may linger
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], name: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (LOGS / f"{name}.log").open("w") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started: asked at first, it ends its own; what then is left is made to."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, signal.SIG_IGN)  # once is enough
    if process.poll() is not None:
        return
    print("stopping ...", flush=True)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    left = family[:1]
    for sent in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(sent)
        _, left = psutil.wait_procs(family, timeout=GRACE_SEC)


def _end_dead_runs(api: str) -> None:
    """Mark as crashed what the database calls running, but no process runs: left by a killed worker.

    Otherwise a new run would wait some minutes, until the dead one's place is given back.
    """
    unfinished = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}}
    client = patient_client()
    runs = client.post(f"{api}/flow_runs/filter", json=unfinished, timeout=30).json()
    alive = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive.add(process.environ().get("PREFECT__FLOW_RUN_ID"))
    for run in runs:
        if run["deployment_id"] and run["id"] not in alive:
            state = {"type": "CRASHED", "message": "Its process is no more. Run again: it goes on from there."}
            requests.post(
                f"{api}/flow_runs/{run['id']}/set_state", json={"state": state}, timeout=30
            ).raise_for_status()


def patient_client() -> requests.Session:
    """A session that asks again on 503, which the server answers while its SQLite is locked."""
    session = requests.Session()
    again = Retry(total=6, backoff_factor=0.5, status_forcelist=(503,), allowed_methods=None)
    session.mount("http://", HTTPAdapter(max_retries=again))
    return session


def _deploy(environment: dict[str, str]) -> None:
    command = ["prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return bool(requests.get(url, timeout=5).ok)
    return False


def _wait_for(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", name: str) -> None:
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline:
        if ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    log = LOGS / f"{name}.log"
    sys.exit(
        f"error: `{name}` is not ready (waited up to {PATIENCE_SEC} s); see {log}. Its end:\n{log.read_text()[-600:]}"
    )


if __name__ == "__main__":
    sys.exit(main())
