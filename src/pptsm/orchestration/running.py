"""Running a command whose lines are wanted at once: a time limit, and no process left behind."""

import os
import re
import select
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from pptsm.orchestration import guard
from pptsm.runtime.errors import TRY_AGAIN

LAST_LINES = 30


class CommandError(Exception):
    """A command ended with an exit code above 0, or ran out of time; carries its last lines."""

    def __init__(self, command: list[str], reason: str, last_lines: list[str]) -> None:
        super().__init__(f"`{' '.join(command)}` {reason}")
        self.reason = reason
        self.last_lines = last_lines

    @property
    def temporary(self) -> bool:
        """Whether the command, or the stage that DVC ran for it, said that the same command may succeed later."""
        return any(TRY_AGAIN in line for line in self.last_lines)


def run_streaming(command: list[str], log: Callable[[str], None], **options: Any) -> list[str]:
    """Run a command, hand on each line as it comes, and return the last ones.

    Args:
        command: its words.
        log: called with each line.
        options: of `lines_of`.

    Raises:
        CommandError: exit code above 0, or out of time.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    for line in lines_of(command, **options):
        last.append(line)
        log(line)
    return list(last)


def lines_of(
    command: list[str],
    *,
    cwd: Path,
    timeout_sec: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Generator[str, None, None]:
    """Run a command, and yield each of its lines that is not empty as it comes.

    Whatever ends this generator early (`close`, a timeout, a cancelled run, Ctrl-C, even kill -9) ends the command too,
    with all that it started, in sessions of their own or not: guard.py sees to that.

    Args:
        command: its words.
        cwd: where it runs.
        timeout_sec: after so long it is ended; None: no limit.
        environment: what it finds there beside what is here.

    Raises:
        CommandError: exit code above 0, or out of time.
    """
    bin_folder = Path(sys.executable).parent  # dvc and pptsm, without an activated environment
    process = guard.start(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    expired = threading.Event()
    stop = process.stdin.close

    def expire() -> None:
        expired.set()
        stop()

    timer = threading.Timer(timeout_sec or threading.TIMEOUT_MAX, expire)
    timer.daemon = True
    timer.start()
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        for line in _lines_of(process):
            last.append(line)
            yield line
        code = process.wait()
    finally:
        timer.cancel()
        stop()
        process.stdout.close()
        process.wait(guard.LONGEST_SEC + 10)
    if expired.is_set():
        raise CommandError(command, f"took longer than {timeout_sec:g} s and was stopped", list(last))
    if code != 0:
        raise CommandError(command, f"ended with exit code {code}", list(last))


def _lines_of(process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """What a process writes, a line that is not empty at a time, as it comes.

    It ends with the process too: what a guard could not end (because it was killed) may hold the pipe open for ever.
    """
    assert process.stdout is not None
    output, rest = process.stdout.fileno(), b""
    poll = select.poll()
    poll.register(output)
    while True:
        ended = process.poll() is not None  # asked before the pipe is: what was written until then is read
        if poll.poll(1000):
            chunk = os.read(output, 1 << 16)
        elif ended:
            chunk = b""
        else:
            continue
        *lines, rest = re.split(rb"[\r\n]+", rest + chunk) if chunk else [rest, b""]
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                yield text
        if not chunk:
            return
