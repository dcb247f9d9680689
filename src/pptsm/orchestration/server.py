"""`make flow` and `make serve`: server on loopback, the deployments of prefect.yaml, and a worker that runs them.

    python -m pptsm.orchestration.server [OPTIONS OF prefect deployment run, such as -p overrides='["sampling=dense"]']
    python -m pptsm.orchestration.server --stay

The first runs `train-pptsm` once, watched, and ends with the run's exit code; the second stays until Ctrl-C. Either
leaves no process behind. Typed in the project's folder. Cost beside the
stages: about half a minute. While it runs, the address it prints shows the
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pptsm.orchestration import guard
from pptsm.orchestration.access import ADDRESS, OWNER_ALONE, SERVERS_PASSWORD, access_file, grant_access, keep_private
from pptsm.orchestration.waiting import SERVER_START_SEC, waiting_for
from pptsm.runtime.extras import require_or_exit

ROOT = Path.cwd()  # the project's folder
HOME = ROOT / ".prefect"
DEPLOYMENT = "train-pptsm"
POOL = "pptsm"
USUAL_PORT = 4200


def main() -> int:
    """Start server and worker, watch one run or stay, stop everything."""
    require_or_exit("the server of the flows", ["flows", "pipeline"])
    if not (ROOT / "prefect.yaml").exists():
        sys.exit(f"error: no prefect.yaml in {ROOT}, so there is no deployment to serve. Go to the project's folder.")
    for asked in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, lambda number, _: sys.exit(128 + number))  # asked to stop, it stops its children too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background
    try:
        with server_and_worker() as worker:
            _say(f"Prefect: {os.environ[ADDRESS].removesuffix('/api')}   (its password is in {access_file(HOME)})")
            if sys.argv[1:] == ["--stay"]:
                _say(f"now, in this folder: prefect deployment run {DEPLOYMENT} --watch   (Ctrl-C ends the server)")
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

    This process's environment then names the server and its password. The settings are those of prefect.toml, except
    for the address where the usual port is taken.
    """
    keep_private(HOME)
    port = _free_port()
    with _only_server() as held, contextlib.ExitStack() as started:
        started.callback(access_file(HOME).unlink, missing_ok=True)
        try:
            os.environ |= {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PREFECT_HOME": str(HOME),  # of runs too, which start elsewhere
                "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # a server that has just begun may answer so
                **grant_access(HOME, f"http://127.0.0.1:{port}/api"),
            }
            server = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
            # its guard holds the lock as long as there is a server, even when this process is killed
            _wait_for(_start(started, server, HOME / "server.log", pass_fds=[held], umask=OWNER_ALONE))
            os.environ.pop(SERVERS_PASSWORD)
            _end_dead_runs()
            _prefect("the deployments of prefect.yaml", "--no-prompt", "deploy", "--all")
            worker = _start(started, ["prefect", "worker", "start", "--pool", POOL], HOME / "worker.log")
            yield worker
        finally:
            for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(asked, signal.SIG_IGN)  # once is enough
            _say("stopping ...")


@contextlib.contextmanager
def _only_server() -> Iterator[int]:
    """Hold the lock of the folder's server; its file descriptor.

    Raises:
        SystemExit: another one has it. Two servers on one database would not see each other's runs.
    """
    with (HOME / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(
                f"error: a server runs in this folder already ({HOME / 'server.lock'} is held): use it, or end it by "
                "Ctrl-C where `make serve` or `make flow` was typed, then try again."
            )
        yield lock.fileno()


def _start(started: contextlib.ExitStack, command: list[str], log: Path, **options: Any) -> "subprocess.Popen[Any]":
    """Start a command under a guard; what has been `started` is ended when that closes, the last one first."""
    _say(f"starting `{' '.join(command[:3])}`; its log: {log}")
    with log.open("w") as file:
        process = guard.start(command, cwd=ROOT, stdout=file, **options)

    def stop() -> None:
        assert process.stdin is not None
        process.stdin.close()
        with waiting_for(f"`{' '.join(command[:3])}` to end", _say):
            process.wait(guard.LONGEST_SEC + 10)

    started.callback(stop)
    return process


def _wait_for(server: "subprocess.Popen[Any]") -> None:
    """Return when the server answers.

    Raises:
        SystemExit: it does not in time, or has ended.
    """
    address, log = os.environ[ADDRESS], HOME / "server.log"
    deadline = time.monotonic() + SERVER_START_SEC
    with waiting_for("the server to start", _say):
        while not _answers(address):
            if server.poll() is not None:
                sys.exit(f"error: the Prefect server has ended while it started. Its log says why: {log}")
            if time.monotonic() > deadline:
                sys.exit(
                    f"error: the Prefect server does not answer at {address} after {SERVER_START_SEC} s. Its log is "
                    f"{log}; if that shows no error, try again when the machine is less busy."
                )
            time.sleep(0.2)


def _answers(address: str) -> bool:
    import requests

    try:
        return bool(requests.get(f"{address}/health", timeout=10).ok)
    except requests.RequestException:
        return False


def _prefect(what: str, *arguments: str) -> None:
    """Run a command of Prefect, saying what is waited for.

    In a session of its own, so that Ctrl-C leaves it to this process what is ended first.

    Raises:
        SystemExit: it failed; with what it wrote.
    """
    command = ["prefect", *arguments]
    _say(f"{what} ...")
    with waiting_for(what, _say):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")


def _say(line: str) -> None:
    print(line, flush=True)


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
