"""How many clips a second `pptsm serve` answers to one client and to eight, and what many requests leave behind.

    python benchmarks/service.py [--model models/export/model.onnx] [--videos data/raw/motion] [--requests 5000]

It starts a service of its own on a free port of 127.0.0.1 and ends it. About two minutes on two cores with the
default's student. First one client and eight take turns. Then eight clients send so many requests, of which one in
twenty is a broken file, and each answer is compared with that of the `Predictor`; looked at are memory and open files
of the service's processes after a fifth of the requests and at the end, and its temporary files.

Exit code 1: a wrong answer, memory or open files that grew, a file left behind, or less than the aims: eight clients
at least 1.5 times the clips per second of one, and 95 % of their answers within twice (one client's median x 8 / that
gain).
"""

import argparse
import contextlib
import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from measure import Memory, machine
from pptsm.serving.predictor import Predictor

CLIENTS, ROUNDS, OF_A_ROUND = 8, 5, 400
BROKEN_EVERY = 20
GAIN, TIMES = 1.5, 2.0
GROWTH_BYTES, GROWTH_FILES = 16 << 20, 2  # more than that from the first fifth to the end is growth
BOUNDARY = "between-parts"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass
class Asked:
    """A request, and what is due: an answer, or None for a refusal."""

    body: bytes
    due: Any


@dataclass
class Found:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0


def form(data: bytes, name: str) -> bytes:
    """A file as the body of a request."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def good_and_broken(model: Path, folder: Path) -> tuple[list[Asked], list[Asked]]:
    """Up to 200 videos with their answers, and broken ones: a text, nothing, one cut off, one of zeros."""
    videos = sorted(folder.rglob("*.mp4"))
    if not videos:
        sys.exit(f"no .mp4 below {folder}: name a folder with --videos")
    videos = videos[:: max(1, len(videos) // 200)][:200]
    answers = Predictor(model).predict_many(videos)
    good = [
        Asked(form(video.read_bytes(), video.name), [vars(guess) for guess in answer.top])
        for video, answer in zip(videos, answers, strict=True)
    ]
    whole = videos[0].read_bytes()
    broken = [b"a text\n" * 500, b"", whole[: len(whole) // 2], bytes(20_000)]
    return good, [Asked(form(data, "broken.mp4"), None) for data in broken]


def client(port: int, requests: list[Asked], found: Found, lock: threading.Lock) -> None:
    """Send requests one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        for asked in requests:
            began = time.perf_counter()
            connection.request("POST", "/predict", asked.body, HEADERS)
            response = connection.getresponse()
            body = response.read()
            took = time.perf_counter() - began
            said = loads(body)
            right = response.status == 422 if asked.due is None else said.get("top") == asked.due
            with lock:
                found.seconds.append(took)
                found.statuses[response.status] += 1
                found.wrong += not right


def send(port: int, requests: list[Asked], clients: int) -> tuple[Found, float]:
    """Send requests by so many clients at once; what they saw, and the seconds for all."""
    found, lock = Found(), threading.Lock()
    threads = [
        threading.Thread(target=client, args=(port, requests[number::clients], found, lock))
        for number in range(clients)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found.seconds) != len(requests):
        sys.exit(f"{len(requests) - len(found.seconds)} requests had no answer at all")
    return found, time.perf_counter() - began


@contextlib.contextmanager
def service(model: Path, temporary: Path) -> Iterator[tuple[int, int]]:
    """A service of its own: process and port."""
    program = "from pptsm.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--model", str(model), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if (found := re.search(r":(\d+) ", said)) is None:
            sys.exit(f"the service did not start: {said}")
        yield process.pid, int(found[1])
    finally:
        process.terminate()
        process.wait(60)


def percentile_95(seconds: list[float]) -> float:
    """Seconds within which 95 % have their answers."""
    return statistics.quantiles(seconds, n=20)[-1]


def throughput(port: int, good: list[Asked]) -> bool:
    """One client and eight in turns."""
    requests = [good[number % len(good)] for number in range(OF_A_ROUND)]
    send(port, requests[:50], CLIENTS)  # what is loaded at first does not count
    print("| clips/s, 1 client | 8 clients | gain | ms, 1 client (median) | 8 clients (95 %) | bound |")
    print("|---|---|---|---|---|---|")
    gains, within, right = [], [], True
    for _ in range(ROUNDS):
        (one, one_sec), (eight, eight_sec) = send(port, requests[: OF_A_ROUND // 2], 1), send(port, requests, CLIENTS)
        right = right and not one.wrong and not eight.wrong
        rates = OF_A_ROUND / 2 / one_sec, OF_A_ROUND / eight_sec
        gains.append(rates[1] / rates[0])
        median, slow = statistics.median(one.seconds), percentile_95(eight.seconds)
        bound = TIMES * median * CLIENTS / gains[-1]
        within.append(slow / bound)
        cells = (
            f"{rates[0]:.0f}",
            f"{rates[1]:.0f}",
            f"{gains[-1]:.2f}",
            *(f"{1e3 * x:.1f}" for x in (median, slow, bound)),
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    gain, share = statistics.median(gains), statistics.median(within)
    print(f"gain {gain:.2f} (aim {GAIN}); 95th percentile {share:.2f} of its bound (aim 1)")
    return right and gain >= GAIN and share <= 1


def endurance(process: int, port: int, good: list[Asked], broken: list[Asked], count: int, temporary: Path) -> bool:
    """Many requests, some of them broken files."""
    requests = [
        broken[number // BROKEN_EVERY % len(broken)] if number % BROKEN_EVERY == 7 else good[number % len(good)]
        for number in range(count)
    ]
    looks, statuses, wrong = [], Counter[int](), 0
    for part in range(5):
        found, _ = send(port, requests[part * count // 5 : (part + 1) * count // 5], CLIENTS)
        statuses += found.statuses
        wrong += found.wrong
        time.sleep(1)  # connections close
        looks.append(Memory().look(process))
        print(f"{sum(statuses.values())} requests: {looks[-1][0] / 1e6:.0f} MB, {looks[-1][1]} open files", flush=True)
    left = [path for folder in temporary.glob("pptsm-serve-*") for path in folder.iterdir()]
    print(f"statuses {dict(statuses)}; {wrong} wrong answers; {len(left)} temporary files left")
    (first_bytes, first_files), (last_bytes, last_files) = looks[0], looks[-1]
    grew = last_bytes - first_bytes > GROWTH_BYTES or last_files - first_files > GROWTH_FILES
    return not (wrong or left or grew)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/export/model.onnx"))
    parser.add_argument("--videos", type=Path, default=Path("data/raw/motion"))
    parser.add_argument("--requests", type=int, default=5000)
    arguments = parser.parse_args()
    print(machine())
    good, broken = good_and_broken(arguments.model, arguments.videos)
    with tempfile.TemporaryDirectory() as folder, service(arguments.model, Path(folder)) as (process, port):
        fast = throughput(port, good)
        lasting = endurance(process, port, good, broken, arguments.requests, Path(folder))
    sys.exit(0 if fast and lasting else 1)


if __name__ == "__main__":
    main()
