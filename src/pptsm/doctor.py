"""What a machine needs to run the pipeline, each with its remedy."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pptsm.processor import computing, processor_name

REQUIRED = (
    "dvc", "prefect", "great-expectations", "pandas", "decord", "av", "onnx", "onnxruntime", "paddle2onnx",
)  # fmt: skip
MIN_FREE_DISK_GB = 5.0
MIN_FREE_SHM_MB = 512


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what helps if it is bad."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Run all checks; needs a few seconds, for Paddle is imported to ask for its device."""
    return [
        _python(),
        *map(_package, REQUIRED),
        *_paddle(),
        _cores(),
        _kernels(),
        _disk(),
        _shared_memory(),
        _cache(),
        _git(),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info[:2] == (3, 11), found, "Use Python 3.11.")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "missing", "Run `make setup`.")


def _paddle() -> list[Finding]:
    for name in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        device = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _ASK_DEVICE], capture_output=True, text=True, check=False
        )
        says = device.stdout.strip() or (device.stderr.strip().splitlines() or ["no answer"])[-1]
        broken = device.returncode != 0
        too_new = tuple(map(int, found.split(".")[:2])) >= (3, 3)
        return [
            Finding(
                name,
                not too_new,
                found,
                "From 3.3 on, leaky ReLU is exported with a garbage slope: install paddlepaddle 3.2.2.",
            ),
            Finding("device", not broken, says, "Paddle cannot start: reinstall it with `make setup`."),
        ]
    return [
        Finding("paddlepaddle", False, "missing", "Run `make setup`, for a GPU with PADDLE=gpu (README, On a GPU).")
    ]


_ASK_DEVICE = (
    "import paddle; n = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0; "
    "print(f'{n} GPU' if n else 'cpu')"
)


def _cores() -> Finding:
    return Finding("cores", True, f"{os.cpu_count()} (PPTSM_THREADS sets how many threads training takes)")


def _kernels() -> Finding:
    return Finding("processor", True, f"{processor_name()}; Paddle computes with {computing()}")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    return Finding("free disk", free >= MIN_FREE_DISK_GB, f"{free:.1f} GB", "Frames and caches want room: free some.")


def _shared_memory() -> Finding:
    place = Path("/dev/shm")
    if not place.exists():
        return Finding("/dev/shm", False, "missing", "Set compute.workers to 0.")
    free = shutil.disk_usage(place).free / 1e6
    remedy = "Worker processes hand clips over there: enlarge it, or set workers to 0."
    return Finding("/dev/shm", free >= MIN_FREE_SHM_MB, f"{free:.0f} MB free", remedy)


def _cache() -> Finding:
    for folder in (Path(".dvc"), Path()):
        try:
            with tempfile.TemporaryFile(dir=folder if folder.exists() else None):
                pass
        except OSError as error:
            return Finding("writable folders", False, f"{folder.absolute()}: {error.strerror}", "Check owner and mode.")
    return Finding("writable folders", True, "project and DVC cache")


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found is not None, found or "missing", "DVC experiments need git.")
