"""Runs a command that must not outlive whoever started it, not even one that is killed.

    python flows/guard.py COMMAND [ARGUMENT ...]

The starter holds this process's standard input open. When that closes (because the starter wants the command stopped,
or is no more), the command's whole process group is first asked as by Ctrl-C, so that it can save and tidy up, then
told, then killed.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

STEPS = ((signal.SIGINT, 12.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 3.0))  # and the seconds each is given
LONGEST_SEC = sum(seconds for _, seconds in STEPS)


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
    # a starter in the background may ignore Ctrl-C; the command must not inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def follow_the_starter() -> None:
        os.read(0, 1)  # nothing is ever written there: this returns when it closes
        stop_group(command.pid)

    threading.Thread(target=follow_the_starter, daemon=True).start()
    code = command.wait()
    stop_group(command.pid)  # what it left in the background
    return code if code >= 0 else 128 - code


def stop_group(group: int) -> None:
    """End every process of a group; returns when none is left."""
    for sent, seconds in STEPS:
        deadline = time.monotonic() + seconds
        try:
            os.killpg(group, sent)
            while time.monotonic() < deadline:
                time.sleep(0.05)
                os.killpg(group, 0)
        except ProcessLookupError:
            return


if __name__ == "__main__":
    sys.exit(main())
