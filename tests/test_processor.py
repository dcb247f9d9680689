"""The choice of kernels: for the right processors only, before Paddle, and in every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pptsm import processor

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
    assert processor.training_threads() == (1 if after == "5" else os.cpu_count())
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
