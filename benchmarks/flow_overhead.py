"""What the orchestrated entrance costs where there is nothing to do: `train-pptsm` against `dvc repro`, in one run.

    python benchmarks/flow_overhead.py [REPEATS]      # after `make repro`

Prints medians in seconds: `dvc repro`; the flow run as the server counts it; its slowest stage; and the whole command
`prefect deployment run train-pptsm --watch`, from the key press to the prompt. Cost: half a minute a repeat. To expect:
the flow a few seconds above `dvc repro`, the command some ten more, most of them Prefect's start.
"""

import os
import statistics
import subprocess
import sys
import time

import requests

from measure import machine
from pptsm.orchestration.server import server_and_worker

UP_TO_DATE = "Data and pipelines are up to date"


def main() -> None:
    """Take turns, so that both see the same machine."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    plain, flow, slowest, command = [], [], [], []
    with server_and_worker():
        address = os.environ["PREFECT_API_URL"]
        for _ in range(repeats):
            seconds, output = timed(["dvc", "repro"])
            assert UP_TO_DATE in output, "run `make repro` first: there is work to do"
            plain.append(seconds)
            seconds, output = timed(["prefect", "deployment", "run", "train-pptsm", "--watch"])
            assert " stages had work to do: none" in output.replace("\n", " "), output
            command.append(seconds)
            newest = {"sort": "START_TIME_DESC", "limit": 1}
            run = requests.post(f"{address}/flow_runs/filter", json=newest, timeout=30).json()[0]
            tasks = {"flow_runs": {"id": {"any_": [run["id"]]}}}
            stages = requests.post(f"{address}/task_runs/filter", json=tasks, timeout=30).json()
            flow.append(run["total_run_time"])
            slowest.append(max(stage["total_run_time"] for stage in stages))
    print(machine())
    for name, values in (
        ("dvc repro", plain),
        ("flow run", flow),
        ("its slowest stage", slowest),
        ("whole command", command),
    ):
        print(f"{name:18} {statistics.median(values):6.2f} s   ({min(values):.2f} to {max(values):.2f}, n = {repeats})")


def timed(command: list[str]) -> tuple[float, str]:
    """Wall seconds and output of a command."""
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.monotonic() - started, done.stdout + done.stderr


if __name__ == "__main__":
    main()
