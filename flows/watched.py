"""`make flow`: a server on loopback, the deployment, and one watched run; nothing is left running.

    python flows/watched.py [OPTIONS OF prefect deployment run, such as -p overrides='["sampling=dense"]']

Ends with the run's exit code. Cost beside the stages: about half a minute. While it runs, the address it prints shows
the run in a browser.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

ROOT = Path(__file__).parent.parent
DEPLOYMENT = "train-pptsm/train-pptsm"
USUAL_PORT = 4200
PATIENCE_SEC = 120
SERVE = "from flows.train_pptsm import train_pptsm; train_pptsm.serve(name='train-pptsm', limit=1)"


def main() -> int:
    """Start server and deployment, watch one run, stop everything."""
    # asked to stop, it stops its children too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(ROOT / ".prefect"),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    }
    logs = ROOT / ".prefect"
    logs.mkdir(exist_ok=True)
    server = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _running(server, environment, logs / "server.log") as server_process:
        _wait_for(f"{address}/api/health", server_process, logs / "server.log")
        print(f"Prefect: {address}", flush=True)
        with _running([sys.executable, "-c", SERVE], environment, logs / "deployment.log") as deployment:
            _wait_for(f"{address}/api/deployments/name/{DEPLOYMENT}", deployment, logs / "deployment.log")
            command = ["prefect", "deployment", "run", DEPLOYMENT, "--watch", *sys.argv[1:]]
            code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
    print(f"the flow run ended with exit code {code}; its log: {logs / 'deployment.log'}")
    return code


def _free_port() -> int:
    """The usual port, or where something listens there already, any free one."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            for sent in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sent)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.5)
    sys.exit(f"error: {url} did not answer within {PATIENCE_SEC} s; see {log}")


if __name__ == "__main__":
    sys.exit(main())
