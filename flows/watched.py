"""`make flow` and `make serve`: server on loopback, the deployments of prefect.yaml, and a worker that runs them.

    python flows/watched.py [OPTIONS OF prefect deployment run, such as -p overrides='["sampling=dense"]']
    python flows/watched.py --stay

The first runs `train-pptsm` once, watched, and ends with the run's exit code; the second stays until Ctrl-C. Either
leaves no process behind. Cost beside the stages: about half a minute. While it runs, the address it prints shows the
runs in a browser; database and logs are in .prefect/.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from flows import guard

HOME = ROOT / ".prefect"
DEPLOYMENT = "train-pptsm"
POOL = "pptsm"
USUAL_PORT = 4200
PATIENCE_SEC = 300


def main() -> int:
    """Start server and worker, watch one run or stay, stop everything."""
    for asked in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, lambda number, _: sys.exit(128 + number))  # asked to stop, it stops its children too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background
    try:
        with server_and_worker() as worker:
            address = os.environ["PREFECT_API_URL"]
            print(f"Prefect: {address.removesuffix('/api')}", flush=True)
            if sys.argv[1:] == ["--stay"]:
                print(
                    f"now: PREFECT_API_URL={address} prefect deployment run {DEPLOYMENT}   (Ctrl-C ends it)", flush=True
                )
                worker.wait()
                sys.exit(f"error: the worker has ended; see {HOME / 'worker.log'}")
            command = ["prefect", "deployment", "run", DEPLOYMENT, "--watch", *sys.argv[1:]]
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 130
    print(f"the flow run ended with exit code {code}; its log: {HOME / 'worker.log'}")
    return code


@contextlib.contextmanager
def server_and_worker() -> Iterator["subprocess.Popen[Any]"]:
    """A server with the deployments of prefect.yaml, and a worker for them, which is given.

    This process's environment then names the server. The settings are those of prefect.toml, except for the address
    where the usual port is taken.
    """
    HOME.mkdir(exist_ok=True)
    port = _free_port()
    os.environ |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PWD": str(ROOT),  # prefect.yaml has runs work there
        "PREFECT_HOME": str(HOME),  # of runs too, which start elsewhere
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # a server that has just begun may answer so
    }
    # refused where one runs in this folder: two servers on one database would not see each other's runs
    _prefect("server", "start", "--background", "--host", "127.0.0.1", "--port", str(port))
    worker = None
    server = psutil.Process(int((HOME / "server.pid").read_text()))
    try:
        _prefect("server", "status", "--wait", "--timeout", str(PATIENCE_SEC))
        _end_dead_runs()
        _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
        _prefect("--no-prompt", "deploy", "--all")
        with (HOME / "worker.log").open("w") as log:
            worker = guard.start(["prefect", "worker", "start", "--pool", POOL], cwd=ROOT, stdout=log)
        yield worker
    finally:
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(asked, signal.SIG_IGN)  # once is enough
        print("stopping ...", flush=True)
        if worker and worker.stdin:
            worker.stdin.close()
            worker.wait(guard.LONGEST_SEC + 10)
        _prefect("server", "stop")
        psutil.wait_procs([server], timeout=guard.LONGEST_SEC)


def _prefect(*arguments: str) -> None:
    """Run a command of Prefect; in a session of its own, so that Ctrl-C leaves the server until the run has ended."""
    command = ["prefect", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")


def _free_port() -> int:
    """The usual port, or where something listens there already, any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: connections may linger
        try:
            probe.bind(("127.0.0.1", USUAL_PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_dead_runs() -> None:
    """Mark as crashed what the database calls running, but no process runs: left by a killed worker.

    Otherwise a new run would wait some minutes, until the dead one's place is given back.
    """
    from prefect import State
    from prefect.client.orchestration import get_client  # reads the address when it is imported
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    alive = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive.add(process.environ().get("PREFECT__FLOW_RUN_ID"))
    unfinished = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}})
    crashed: State[None] = Crashed(message="Its process is no more. Run again: it goes on from there.")
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=unfinished):
            if run.deployment_id and str(run.id) not in alive:
                client.set_flow_run_state(run.id, crashed)


if __name__ == "__main__":
    sys.exit(main())
