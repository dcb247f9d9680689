"""How many cores this process may use, how processes and threads share them, and which kernels Paddle's matrix
library takes there; decided here alone.

Paddle on a CPU multiplies through an MKL of 2019, which looks at the maker's name: on a processor of AMD it takes
its SSE2 kernels, though the processor has AVX2. The environment variable below makes it take those. Results then
agree to about a thousandth of the loss, not bit for bit: so what was chosen is written into every card.
"""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pptsm.runtime.errors import UserError

VARIABLE = "MKL_DEBUG_CPU_TYPE"
AVX2 = "5"
THREADS = "PPTSM_THREADS"
# Of the environment that Paddle reads: how many processes train together, how many of them here, and this one's GPU.
SIZE, LOCAL_SIZE, GPU = "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE", "FLAGS_selected_gpus"
MOST_THREADS = 1024  # more is a slip of the keyboard


def choose_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Ask MKL for its AVX2 kernels where the processor is AMD's and has AVX2; a variable that is set stays."""
    if VARIABLE not in os.environ and wants_avx2(_first_processor(cpuinfo)):
        os.environ[VARIABLE] = AVX2  # child processes inherit it


def wants_avx2(processor: dict[str, str]) -> bool:
    """Whether MKL would leave this processor's AVX2 unused."""
    return processor.get("vendor_id") == "AuthenticAMD" and "avx2" in processor.get("flags", "").split()


def cores(system: Path = Path("/")) -> int:
    """How many cores this process may use: those it is bound to, or fewer where its container has a share of them.

    Args:
        system: where the files of the system are read.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([bound, *(max(1, math.ceil(share)) for share in _shares(system))])


def _shares(system: Path) -> Iterator[float]:
    """The cores that each of this process's control groups may keep busy, its own and those around it.

    Version 2 has one tree; in version 1 the tree of controller `cpu` counts. A container sees its own group as the
    root of the tree, though /proc may tell of a path as the host sees it: levels that are not there are passed over.
    """
    try:
        memberships = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # no Linux
    for membership in memberships:
        _, controllers, group = membership.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        tree = system / "sys/fs/cgroup" / controllers
        folder = tree / group.lstrip("/")
        for level in (folder, *folder.parents):
            if level.is_relative_to(tree) and (share := _share_of(level)):
                yield share


def _share_of(level: Path) -> float | None:
    """The quota of a control group in cores; None where it has none."""
    try:
        if (limit := level / "cpu.max").exists():
            quota, period = limit.read_text(encoding="utf-8").split()
        else:
            quota, period = ((level / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # the word "max" is no number
        return None


def cpu_processes(devices: Literal["auto"] | int) -> int:
    """How many processes train together on the cores here, by `compute.devices`: auto is one a core, of one thread.

    Raises:
        UserError: as `training_threads`.
    """
    return max(1, cores() // (_chosen_threads() or 1)) if devices == "auto" else devices


def training_threads(processes: int | None = None) -> int:
    """How many threads each of so many processes (None: those of now) computes with; `PPTSM_THREADS` overrides it.

    Elsewhere its part of the cores. On AMD's processors one: there a second thread shortens the step of a full-size
    network by a tenth, and makes that of a small one several times as long (docs/log/2026-11.md). Beside a GPU one.

    Raises:
        UserError: `PPTSM_THREADS` is no number of threads.
    """
    if chosen := _chosen_threads():
        return chosen
    return (
        1
        if os.environ.get(VARIABLE) == AVX2 or GPU in os.environ
        else max(1, cores() // (processes or _processes_here()))
    )


def _processes_here() -> int:
    return int(os.environ.get(LOCAL_SIZE, "1"))


def _chosen_threads() -> int | None:
    if chosen := os.environ.get(THREADS):
        if not (chosen.isdecimal() and 1 <= int(chosen) <= MOST_THREADS):
            raise UserError(
                f"the environment variable {THREADS} is {chosen!r}, but should be how many threads Paddle computes "
                f"with: a whole number from 1 to {MOST_THREADS}. Correct it, or `unset {THREADS}`."
            )
        return int(chosen)
    return None


def pool_size(workers: Literal["auto"] | int) -> int:
    """Processes for work that needs no Paddle, such as decoding: by `compute.workers`, at least one."""
    return cores() if workers == "auto" else max(1, workers)


def loader_processes(workers: Literal["auto"] | int, processes: int | None = None) -> int:
    """Processes that prepare clips for one of so many that compute (None: those of now); 0: it prepares them itself.

    `compute.workers: auto` is its part of the cores that no process computes on.

    Raises:
        UserError: as `training_threads`.
    """
    here = processes or _processes_here()
    return max(0, cores() - here * training_threads(here)) // here if workers == "auto" else workers


def computing() -> str:
    """Kernels, threads and processes in force, for cards and for `pptsm doctor`.

    Raises:
        UserError: as `training_threads`.
    """
    chosen, threads = os.environ.get(VARIABLE), training_threads()
    kernels = f"{VARIABLE}={chosen}" if chosen else "kernels of its own choice"
    processes = f"{size} processes of " if (size := os.environ.get(SIZE, "1")) != "1" else ""
    return f"{kernels}, {processes}{threads} thread{'s' if threads > 1 else ''}"


def multiplies_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor adds up products of 8 bits in 32 bits (VNNI of x86-64; arm64 does).

    Others add pairs of them in 16 bits, which may overflow: they want weights of 7 bits. Where it cannot be seen: no.
    """
    if platform.machine() in ("aarch64", "arm64"):
        return True
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_first_processor(cpuinfo).get("flags", "").split())


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
