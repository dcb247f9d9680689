"""Which kernels Paddle's matrix library takes on this processor, and on how many threads; decided here alone.

Paddle on a CPU multiplies through an MKL of 2019, which looks at the maker's name: on a processor of AMD it takes
its SSE2 kernels, though the processor has AVX2. The environment variable below makes it take those. Results then
agree to about a thousandth of the loss, not bit for bit: so what was chosen is written into every card.
"""

import os
from pathlib import Path
from typing import Literal

VARIABLE = "MKL_DEBUG_CPU_TYPE"
AVX2 = "5"


def choose_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Ask MKL for its AVX2 kernels where the processor is AMD's and has AVX2; a variable that is set stays."""
    if VARIABLE not in os.environ and wants_avx2(_first_processor(cpuinfo)):
        os.environ[VARIABLE] = AVX2  # child processes inherit it


def wants_avx2(processor: dict[str, str]) -> bool:
    """Whether MKL would leave this processor's AVX2 unused."""
    return processor.get("vendor_id") == "AuthenticAMD" and "avx2" in processor.get("flags", "").split()


def training_threads() -> int:
    """How many threads Paddle computes with on a CPU; `PPTSM_THREADS` overrides it.

    Elsewhere all cores. On AMD's processors one: there a second thread shortens the step of a full-size network by
    a tenth, and makes that of a small one several times as long (docs/experiments.md). The other cores prepare clips.
    """
    if chosen := os.environ.get("PPTSM_THREADS"):
        return int(chosen)
    return 1 if os.environ.get(VARIABLE) == AVX2 else os.cpu_count() or 1


def pool_size(workers: Literal["auto"] | int) -> int:
    """Processes for work that needs no Paddle, such as decoding: by `compute.workers`, at least one."""
    return (os.cpu_count() or 1) if workers == "auto" else max(1, workers)


def loader_processes(workers: Literal["auto"] | int) -> int:
    """Processes that prepare clips beside one that computes; 0: it prepares them itself."""
    return max(0, (os.cpu_count() or 1) - training_threads()) if workers == "auto" else workers


def computing() -> str:
    """Kernels and threads in force, for cards and for `pptsm doctor`."""
    chosen, threads = os.environ.get(VARIABLE), training_threads()
    kernels = f"{VARIABLE}={chosen}" if chosen else "kernels of its own choice"
    return f"{kernels}, {threads} thread{'s' if threads > 1 else ''}"


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself."""
    return _first_processor(cpuinfo).get("model name", "unknown processor")


def _first_processor(cpuinfo: Path) -> dict[str, str]:
    """The fields of the first processor; empty where the system has no such file."""
    fields: dict[str, str] = {}
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, colon, value = line.partition(":")
                if not colon:
                    break  # an empty line ends the first processor; a large machine has hundreds
                fields[name.strip()] = value.strip()
    except OSError:
        pass
    return fields
