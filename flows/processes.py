"""Running a command under an orchestrator: every line at once, and no process left behind."""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from flows import guard

from pptsm.errors import TEMPORARY

LAST_LINES = 30


class CommandError(Exception):
    """A command ended with an exit code above 0, or ran out of time; carries its last lines."""

    def __init__(self, command: list[str], reason: str, last_lines: list[str]) -> None:
        super().__init__(f"`{' '.join(command)}` {reason}")
        self.reason = reason
        self.last_lines = last_lines

    @property
    def temporary(self) -> bool:
        """Whether the command, or the stage that DVC ran for it, said that trying again may help."""
        told = [self.reason, *self.last_lines[-5:]]
        return any(line.endswith((f"exit code {TEMPORARY}", f"exited with {TEMPORARY}")) for line in told)


def run_streaming(
    command: list[str],
    log: Callable[[str], None],
    *,
    cwd: Path,
    timeout_sec: float,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a command, hand on each line as it comes, and return the last ones.

    Whatever ends this call early (a timeout, a cancelled run, Ctrl-C, even kill -9) ends the command's whole
    process group too: guard.py sees to that.

    Raises:
        CommandError: exit code above 0, or out of time.
    """
    bin_folder = Path(sys.executable).parent  # dvc and pptsm, without an activated environment
    process = subprocess.Popen(
        [sys.executable, guard.__file__, *command],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which then has the command stopped in order
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    expired = threading.Event()
    stop = process.stdin.close

    def expire() -> None:
        expired.set()
        stop()

    timer = threading.Timer(timeout_sec, expire)
    timer.daemon = True
    timer.start()
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        for line in process.stdout:
            if text := line.rstrip():
                last.append(text)
                log(text)
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
    return list(last)
