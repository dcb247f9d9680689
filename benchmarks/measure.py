"""What the benchmarks measure with: CPU time and memory of a whole process tree, in turns, and the machine's name.

Not run by itself. CPU seconds are user and system time of a process, of its children that ended, and of those that
live (a clip from video is decoded in one of them). Memory is PSS, "proportional set size": a page that several
processes share, as copies of one library do, counts as a share in each, so that the sum over a tree is what it takes.
A peak is the highest of looks at intervals; what lives for less than one may be missed. Linux only.
"""

import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

LOOK_SEC = 0.05  # between two looks at memory
CPU_CLOCK = 2  # of a whole process, in the low bits of the clock's number (clock_getcpuclockid(3))

Work = Callable[[int], object]  # does one turn's work; its argument is the number of the turn


def machine() -> str:
    """The line that belongs above every table: processor, usable cores, date, load."""
    described = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in described if line.startswith("model name")]
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{(names or [platform.machine()])[0]}, {cores} cores, {datetime.now(UTC):%Y-%m-%d}, load {load:.1f}"


def cpu_sec() -> float:
    """CPU seconds of this process and of all that it started, so far."""
    here = time.process_time()  # first: looking at the others costs time too
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return here + ended.ru_utime + ended.ru_stime + sum(map(_cpu_of, _below(os.getpid())))


def spent(work: Callable[[], object]) -> float:
    """CPU seconds of the tree that a piece of work takes."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = others.ru_utime + others.ru_stime + sum(map(_cpu_of, _below(os.getpid())))
    before += time.process_time()  # last, so that this look is no part of it
    work()
    return cpu_sec() - before


def _below(process: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(process).children(recursive=True)]
    return []


def _cpu_of(process: int) -> float:
    """Of a living process and its ended children, by the kernel's own clock: /proc tells hundredths only."""
    with contextlib.suppress(OSError, psutil.NoSuchProcess):
        ended = psutil.Process(process).cpu_times()
        return time.clock_gettime(~process << 3 | CPU_CLOCK) + ended.children_user + ended.children_system
    return 0.0


def in_turns(ways: Mapping[str, Work], turns: int) -> dict[str, list[float]]:
    """CPU seconds of the tree for each turn of each way. Turns alternate, so that all ways see the same machine.

    One turn more is done first, and does not count: it loads libraries and files.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, work in ways.items():
            seconds[name].append(spent(lambda work=work, turn=turn: work(turn)))  # type: ignore[misc]
    return {name: taken[1:] for name, taken in seconds.items()}


def median_ms(seconds: Sequence[float], by: float = 1.0) -> float:
    """Median milliseconds, divided by what a turn does."""
    return statistics.median(seconds) * 1e3 / by


class Ratio(NamedTuple):
    """How many times as much one way takes as another, turn by turn."""

    median: float
    low: float  # a quarter of the turns lies below
    high: float  # and a quarter above

    def __str__(self) -> str:
        return f"{self.median:.1f}x ({self.low:.1f} to {self.high:.1f})"


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Of two ways that took turns: the median of the turns' ratios and their quartiles."""
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    if len(ratios) == 1:
        return Ratio(*3 * ratios)
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


@dataclass
class Memory:
    """Memory of a process tree, looked at again and again."""

    peak_bytes: int = 0  # PSS of all its processes
    peak_files: int = 0  # open files of all its processes
    seen: dict[int, str] = field(default_factory=dict)  # process -> its name

    def look(self, root: int) -> tuple[int, int]:
        """Bytes and open files of the tree now."""
        taken = files = 0
        for process in (root, *_below(root)):
            with contextlib.suppress(OSError, psutil.Error):
                self.seen.setdefault(process, psutil.Process(process).name())
                files += psutil.Process(process).num_fds()
                taken += pss_bytes(process)
        self.peak_bytes, self.peak_files = max(self.peak_bytes, taken), max(self.peak_files, files)
        return taken, files


def pss_bytes(process: int) -> int:
    """Proportional set size of one process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


@contextlib.contextmanager
def watched_memory(root: int | None = None) -> Iterator[Memory]:
    """Looks at the tree of a process (this one) all the while, from a thread of this one."""
    memory, ended = Memory(), threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SEC):
            memory.look(root or os.getpid())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


class Done(NamedTuple):
    """A command that came to its end."""

    said: str  # on standard output and error
    returncode: int
    wall_sec: float
    cpu_sec: float  # of its tree
    peak_bytes: int  # PSS of its tree
    processes: int  # at least so many it had


def run(
    *words: str,
    kill_when: Callable[[], object] | None = None,
    expect: int = 0,
    **options: Any,
) -> Done:
    """Run a command to its end, or kill it as soon as `kill_when` is true.

    Args:
        words: the command.
        kill_when: asked at intervals.
        expect: its exit code; the benchmark ends with what the command said if it has another.
        options: of `subprocess.Popen`.
    """
    started, memory, last_look = time.monotonic(), Memory(), 0.0
    cpu, killed = 0.0, False
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, **options)
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            due = kill_when is not None and not killed and kill_when()
            if due or time.monotonic() - last_look >= LOOK_SEC:
                memory.look(process.pid)
                # of one that is killed, the kernel does not count the children that it left
                cpu = max(cpu, _cpu_of(process.pid) + sum(map(_cpu_of, _below(process.pid))))
                last_look = time.monotonic()
            if due:
                process.kill()
                killed = True
            time.sleep(LOOK_SEC / 5)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if process.returncode != expect:
        sys.exit(f"{' '.join(words)} ended with exit code {process.returncode}, not {expect}:\n{said}")
    cpu = max(cpu, usage.ru_utime + usage.ru_stime)
    return Done(said, process.returncode, time.monotonic() - started, cpu, memory.peak_bytes, len(memory.seen))
