"""The cores that may be used; and the choice of kernels: for the right processors, before Paddle, in every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pptsm.runtime import cores as processor
from pptsm.runtime.errors import UserError

AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx avx2\n\n"


@pytest.mark.parametrize(
    ("cpuinfo", "before", "after"),
    [
        (AMD, None, "5"),
        (AMD, "4", "4"),  # the user's own choice
        (AMD.replace(" avx2", ""), None, None),
        (AMD.replace("AuthenticAMD", "GenuineIntel"), None, None),
        ("", None, None),
    ],
)
def test_avx2_is_asked_for_where_mkl_would_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, before: str | None, after: str | None
) -> None:
    """AMD with AVX2 and nothing said by the user."""
    monkeypatch.delenv(processor.VARIABLE, raising=False)
    if before:
        monkeypatch.setenv(processor.VARIABLE, before)
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    processor.choose_kernels(tmp_path / "cpuinfo")
    assert os.environ.get(processor.VARIABLE) == after
    monkeypatch.delenv("PPTSM_THREADS", raising=False)
    assert processor.training_threads() == (1 if after == "5" else processor.cores())
    assert processor.computing().startswith(f"{processor.VARIABLE}={after}" if after else "kernels of its own choice")


def test_only_the_first_processor_is_read(tmp_path: Path) -> None:
    """Its name; and a system without the file has none."""
    (tmp_path / "cpuinfo").write_text(AMD + AMD.replace("EPYC", "other"))
    assert processor.processor_name(tmp_path / "cpuinfo") == "AMD EPYC"
    assert processor.processor_name(tmp_path / "none") == "unknown processor"


def test_importing_any_part_of_the_package_decides_before_paddle() -> None:
    """A new process that imports the network has the variable when Paddle comes in."""
    code = (
        "import os, sys, builtins; real = builtins.__import__\n"
        "def watched(name, *rest, **options):\n"
        "    if name == 'paddle' and 'paddle' not in sys.modules: print(os.environ.get('MKL_DEBUG_CPU_TYPE'))\n"
        "    return real(name, *rest, **options)\n"
        "builtins.__import__ = watched\n"
        "import pptsm.model.network"
    )
    environment = {name: value for name, value in os.environ.items() if name != processor.VARIABLE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    expected = "5" if processor.wants_avx2(processor._first_processor(Path("/proc/cpuinfo"))) else "None"
    assert done.stdout.split()[0] == expected


@pytest.mark.parametrize(
    ("membership", "files", "found"),
    [
        ("0::/", {}, 64),
        ("0::/", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/", {"cpu.max": "max 100000\n"}, 64),
        ("0::/a/b", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/as/the/host/sees/it", {"cpu.max": "400000 100000\n"}, 4),
        (
            "5:memory:/\n4:cpu,cpuacct:/box\n0::/",
            {"cpu,cpuacct/box/cpu.cfs_quota_us": "500000\n", "cpu,cpuacct/box/cpu.cfs_period_us": "100000\n"},
            5,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ("0::/", {"cpu.max": "6400000 100000\n", "cpuset/cpu.max": "100000 100000\n"}, 64),
        (None, {}, 64),
    ],
)
def test_a_container_has_the_cores_of_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str | None, files: dict[str, str], found: int
) -> None:
    """The smallest quota of its control groups, both versions, rounded up; at most those that it is bound to."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for name, text in ({"proc/self/cgroup": membership} if membership else {}).items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text + "\n")
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert processor.cores(tmp_path) == found


def test_a_process_bound_to_one_core_starts_one_process_and_one_thread() -> None:
    """As under `taskset`, whatever the machine has."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from pptsm.runtime.cores import cores, loader_processes, pool_size, training_threads as threads\n"
        "print(cores(), pool_size('auto'), threads(), loader_processes('auto'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != processor.THREADS}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1", "0"]


@pytest.mark.parametrize("chosen", ["abc", "0", "-1", "1e9", "1000000000", "2.5", " "])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    """By all that counts threads."""
    monkeypatch.setenv(processor.THREADS, chosen)
    for ask in (processor.training_threads, processor.computing, lambda: processor.loader_processes("auto")):
        with pytest.raises(UserError, match=f"environment variable PPTSM_THREADS is '{chosen}', but should be"):
            ask()


def test_the_number_of_threads_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one above the number of cores: the user's own choice."""
    monkeypatch.setenv(processor.THREADS, "1000")
    assert processor.training_threads() == 1000
    assert processor.loader_processes("auto") == 0
