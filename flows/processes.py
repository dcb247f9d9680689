"""Running a command under an orchestrator: every line at once, and no process left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

GRACE_SEC = 15  # what a stopped command gets before it is killed
LAST_LINES = 30


class CommandError(Exception):
    """A command ended with an exit code above 0, or ran out of time; carries its last lines."""

    def __init__(self, command: list[str], reason: str, last_lines: list[str]) -> None:
        super().__init__(f"`{' '.join(command)}` {reason}")
        self.reason = reason
        self.last_lines = last_lines


def run_streaming(
    command: list[str],
    log: Callable[[str], None],
    *,
    cwd: Path,
    timeout_sec: float,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a command, hand on each line as it comes, and return the last ones.

    Whatever ends this call early (a timeout, a cancelled run, Ctrl-C) ends the command's whole process
    group too: first asked to stop, then killed.

    Raises:
        CommandError: exit code above 0, or out of time.
    """
    bin_folder = Path(sys.executable).parent  # dvc and pptsm, without an activated environment
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _stop(process)

    timer = threading.Timer(timeout_sec, expire)
    timer.daemon = True
    timer.start()
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if text := line.rstrip():
                last.append(text)
                log(text)
        code = process.wait()
    finally:
        timer.cancel()
        _stop(process)
        if process.stdout is not None:
            process.stdout.close()
    if expired.is_set():
        raise CommandError(command, f"took longer than {timeout_sec:g} s and was stopped", list(last))
    if code != 0:
        raise CommandError(command, f"ended with exit code {code}", list(last))
    return list(last)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process group of `process`, if any of it is left."""
    for sent, grace in ((signal.SIGTERM, GRACE_SEC), (signal.SIGKILL, GRACE_SEC)):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue
