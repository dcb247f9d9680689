"""What benchmarks measure with: a whole process tree, not the process that asks."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import measure  # found by the line above
from conftest import ROOT

SCRIPTS = sorted(path for path in (ROOT / "benchmarks").iterdir() if path.suffix in (".py", ".sh"))
BUSY_SEC = 0.4
BUSY = f"import time\nwhile time.process_time() < {BUSY_SEC}: pass\n"
MEGABYTES = 150


def busy_child(*then: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUSY + "\n".join(then)], stdout=subprocess.PIPE)


def test_cpu_time_of_a_child_that_ended_counts() -> None:
    """This process itself only waits."""
    here = time.process_time()
    assert measure.spent(lambda: busy_child().communicate()) > BUSY_SEC
    assert time.process_time() - here < BUSY_SEC / 2


def test_cpu_time_of_a_child_that_lives_counts() -> None:
    """As that of the process that decodes clips ahead, which is started once; and each second counts once."""
    children = []

    def start() -> None:
        children.append(busy_child("print(flush=True)", "time.sleep(60)"))
        children[0].stdout.readline()  # type: ignore[union-attr]

    try:
        assert BUSY_SEC < measure.spent(start) < 3 * BUSY_SEC
        assert measure.spent(lambda: None) < BUSY_SEC / 2
    finally:
        children[0].kill()
        children[0].communicate()


@pytest.mark.parametrize("killed", [False, True])
def test_a_commands_cost_is_that_of_its_tree(tmp_path: Path, killed: bool) -> None:
    """The command waits for a child, which computes and takes memory; also where the command alone is killed."""
    child = BUSY + f"x = b'1' * ({MEGABYTES} << 20)\nprint(flush=True)\ntime.sleep(1)"
    command = "import subprocess, sys, pathlib\nchild = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
    command += "stdout=subprocess.PIPE)\nchild.stdout.readline()\npathlib.Path(sys.argv[2]).touch()\nchild.wait()"
    there = tmp_path / "there"
    done = measure.run(
        *(sys.executable, "-c", command, child, str(there)),
        kill_when=there.exists if killed else None,
        expect=-9 if killed else 0,
    )
    assert done.cpu_sec > BUSY_SEC
    assert done.peak_bytes > MEGABYTES << 20
    assert done.processes == 2


def test_a_ratio_is_that_of_turns() -> None:
    """Where the machine slows down in one turn, both ways are slower, and the ratio stays."""
    assert measure.ratio([4.0, 40.0, 4.0], [1.0, 10.0, 1.0]) == (4, 4, 4)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_benchmark_opens_with_its_command_and_what_to_expect(script: Path) -> None:
    """The helper is none."""
    head = script.read_text(encoding="utf-8")[:2500]
    if script.name == "measure.py":
        assert "Not run by itself" in head
        return
    assert re.search(rf"^#? +(python )?benchmarks/{re.escape(script.name)}", head, re.MULTILINE)
    assert "To expect" in head or "exit code 1" in head.lower()
    assert re.search(r"\b(second|minute|hour)s?\b", head)
