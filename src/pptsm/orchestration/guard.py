"""Runs a command that must not outlive whoever started it, not even one that is killed.

    python -m pptsm.orchestration.guard COMMAND [ARGUMENT ...]

The starter holds this process's standard input open. When that closes (because the starter wants the command stopped,
or is no more), the command's whole process group is first asked as by Ctrl-C, so that it can save and tidy up, then
terminated, then killed; and so is what it started in other groups, as soon as nobody else looks after it.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil

PR_SET_CHILD_SUBREAPER = 36  # of <sys/prctl.h>
STEPS = ((signal.SIGINT, 12.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 3.0))  # and the seconds each is given
LONGEST_SEC = sum(seconds for _, seconds in STEPS)
STOPPING = threading.Lock()


def start(command: list[str], **options: Any) -> "subprocess.Popen[Any]":
    """Start a command under a guard, in a session of its own; closing the process's `stdin` has the guard end it.

    Args:
        command: its words.
        options: of `subprocess.Popen`.
    """
    guarded = [sys.executable, __file__, *command]
    return subprocess.Popen(guarded, stdin=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **options)


def main() -> int:
    """Run the command; its exit code, or as a shell says it, 128 and the signal that ended it."""
    if sys.platform == "linux":  # orphans become children of this process, whatever session they are in
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for asked in (signal.SIGINT, signal.SIGTERM):
        # an outer guard sends them to all, but this one ends when its standard input closes. No SIG_IGN: the command
        # would inherit that
        signal.signal(asked, lambda *_: None)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def follow_the_starter() -> None:
        os.read(0, 1)  # nothing is ever written there: this returns when it closes
        stop_all(command.pid)

    threading.Thread(target=follow_the_starter, daemon=True).start()
    code = command.wait()
    stop_all(command.pid)  # what it left in the background
    return code if code >= 0 else 128 - code


def stop_all(group: int) -> None:
    """End every process below this one; returns when none is left.

    The first two signals go to the command's group and to orphans, once to each: a process in another group whose
    parent is alive is that parent's to end. The last one goes to all.

    Args:
        group: of the command.
    """
    with STOPPING:
        for sent, seconds in STEPS:
            deadline = time.monotonic() + seconds
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, sent)
            signalled: set[psutil.Process] = set()
            while time.monotonic() < deadline:
                left = set(_living())
                if not left:
                    return
                for process in left - signalled:
                    with contextlib.suppress(psutil.Error, ProcessLookupError):
                        if sent == signal.SIGKILL or (
                            process.ppid() == os.getpid() and os.getpgid(process.pid) != group
                        ):
                            process.send_signal(sent)
                            signalled.add(process)
                time.sleep(0.05)


def _living() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


if __name__ == "__main__":
    sys.exit(main())
