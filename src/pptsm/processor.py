"""Which kernels Paddle's matrix library takes on this processor; decided once, before anybody imports Paddle.

Paddle on a CPU multiplies through an MKL of 2019, which looks at the maker's name: on a processor of AMD it takes
its SSE2 kernels, though the processor has AVX2. The environment variable below makes it take those. Results then
agree to about a thousandth of the loss, not bit for bit: so the choice is written into every card.
"""

import os
from pathlib import Path

VARIABLE = "MKL_DEBUG_CPU_TYPE"
AVX2 = "5"


def choose_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Ask MKL for its AVX2 kernels where the processor is AMD's and has AVX2; a variable that is set stays."""
    if VARIABLE not in os.environ and wants_avx2(_first_processor(cpuinfo)):
        os.environ[VARIABLE] = AVX2  # child processes inherit it


def wants_avx2(processor: dict[str, str]) -> bool:
    """Whether MKL would leave this processor's AVX2 unused."""
    return processor.get("vendor_id") == "AuthenticAMD" and "avx2" in processor.get("flags", "").split()


def kernels() -> str:
    """The choice in force, for cards and for `pptsm doctor`."""
    chosen = os.environ.get(VARIABLE)
    return f"{VARIABLE}={chosen}" if chosen else "MKL's own choice"


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
