"""What a machine needs to run the pipeline, each with its remedy.

What it imports itself is light, as of every command, so that `--help` answers at once.
"""

import math
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pptsm.runtime.cores import (
    computing,
    cores,
    cpu_processes,
    loader_processes,
    multiplies_int8,
    processor_name,
    training_threads,
)
from pptsm.runtime.errors import UserError
from pptsm.runtime.extras import install, no_paddle

if TYPE_CHECKING:
    from pptsm.params.schema import Params

SERVING = ("pandas", "av", "simplejpeg", "onnx", "onnxruntime")
OF_EXTRAS = {"pipeline": ("dvc", "great-expectations"), "flows": ("prefect",)}
PYTHONS = ((3, 11), (3, 12))
PROJECT = Path("dvc.yaml")  # where it is, all stages are to run; elsewhere an install may only serve
MIN_FREE_DISK_GB = 5.0
PARAMS = Path("params.yaml")
BROKEN_PADDLE = {  # release: what goes wrong with it
    (3, 3, 0): "its CPU inference under oneDNN ends in an error",
    (3, 3, 1): "its CPU inference under oneDNN ends in an error",
}


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what helps if it is bad."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Run all checks; needs a few seconds, because Paddle is imported to find its device."""
    return [
        _python(),
        *(_package(name, "") for name in SERVING),
        *(_package(name, extra) for extra, names in OF_EXTRAS.items() for name in names),
        *_decord(),
        *_runtimes(),
        *_paddle(),
        _cores(),
        *_training(),
        _kernels(),
        _disk(),
        *_shared_memory(),
        _cache(),
        _git(),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info[:2] in PYTHONS, found, "Use Python 3.11 or 3.12 (docs/platforms.md).")


def _package(name: str, extra: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return _missing(name, extra)


def _missing(name: str, extra: str, remedy: str = "Run `make setup`.") -> Finding:
    """A package that is not there: no fault where it belongs to an extra, and nothing but serving is to be done."""
    if extra and not PROJECT.exists():
        return Finding(name, True, f"not installed; what needs it is the extra {extra}: {install([extra])}")
    return Finding(name, False, "missing", remedy)


def _decord() -> list[Finding]:
    try:
        return [Finding("decord", True, version("decord"))]
    except PackageNotFoundError:
        return [Finding("decord", True, "not installed: PyAV reads every file (decord has wheels for x86-64 alone)")]


def _runtimes() -> list[Finding]:
    """What an exported file can be computed with here, and how long a clip of each took, as it is remembered."""
    from pptsm.runtime.console import one_line
    from pptsm.runtime.memory import all_remembered

    try:
        from pptsm.evaluation.engines import has_bfloat16
        from pptsm.serving.opening import known_times
    except ImportError:  # what is missing is said above
        return []
    try:
        openvino = Finding("openvino", True, version("openvino"))
    except PackageNotFoundError:
        openvino = Finding(
            "openvino", True, f"not installed, and needed by --runtime openvino: {install(['openvino'])}"
        )
    int8 = "int8" if multiplies_int8() else "int8 (weights of 7 bits: the processor has no VNNI)"
    bfloat16 = ", bfloat16 by OpenVINO" if has_bfloat16() else ""
    found = [openvino, Finding("precisions", True, f"float32, {int8}{bfloat16}")]
    here = f"{processor_name()}, {cores()} cores, "
    for digest, known in all_remembered("models").items():
        file = str(known.get("file"))
        for machine, times in known_times(digest).items():
            if machine.startswith(here) and Path(file).is_file():
                said = ", ".join(f"{way} {ms:.1f}" for way, ms in sorted(times.items(), key=lambda each: each[1]))
                found.append(Finding("ms a clip", True, f"{said} ({one_line(file)}; {machine.removeprefix(here)})"))
    return found


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
        fault = paddle_fault(found)
        return [
            _package("paddle2onnx", "cpu"),
            Finding(name, not fault, found, f"{fault}: install {name} 3.2.2 (`make setup`)."),
            Finding("device", not broken, says, "Paddle cannot start: reinstall it with `make setup`."),
        ]
    if reason := no_paddle():
        return [Finding("paddlepaddle", not PROJECT.exists(), "not to be had", f"{reason[0].upper()}{reason[1:]}")]
    return [_missing("paddlepaddle", "cpu", "Run `make setup`, for a GPU with PADDLE=gpu (docs/gpu.md).")]


def paddle_fault(release: str) -> str:
    """Why a release of Paddle cannot be used; empty where it can."""
    number = tuple(int(part) for part in re.findall(r"\d+", release)[:3])
    if number < (3, 3):
        return ""
    slope = "from 3.3 on, the slope of leaky ReLU is exported as garbage without a word"
    return f"{slope}, and of {release} {BROKEN_PADDLE[number]}" if number in BROKEN_PADDLE else slope


_ASK_DEVICE = (
    "import paddle; n = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0; "
    "print(f'{n} GPU' if n else 'cpu')"
)


def _cores() -> Finding:
    return Finding("cores", True, f"{cores()} may be used (PPTSM_THREADS sets how many threads a process takes)")


def _training() -> list[Finding]:
    """How training shares the cores where there is no GPU, by the present params.yaml."""
    from pptsm.params.checking import load_params

    try:
        number = _training_processes(load_params(PARAMS)) if PARAMS.exists() else cpu_processes("auto")
        how = f"{number} processes, threads each: {training_threads(number)}" if number > 1 else "one process"
    except UserError:  # said beside the check that needs them
        return []
    return [Finding("training on CPUs", True, f"{how} (compute.devices)")]


def _training_processes(params: "Params") -> int:
    from pptsm.training.groups import most_processes

    devices = params.compute.devices
    most = most_processes(params.training.batch_size, params.training, on_gpu=False)
    return min(most, cpu_processes(devices if isinstance(devices, int) else "auto"))


def _kernels() -> Finding:
    try:
        return Finding("processor", True, f"{processor_name()}; Paddle computes with {computing()}")
    except UserError as error:
        return Finding("threads", False, "not a number of threads", f"{error}")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    return Finding("free disk", free >= MIN_FREE_DISK_GB, f"{free:.1f} GB", "Frames and caches want room: free some.")


def _shared_memory() -> list[Finding]:
    """Whether what the processes of the loader hand over has room, by the present params.yaml."""
    from pptsm.params.checking import load_params

    what, place = "shared memory", Path("/dev/shm")
    if not place.exists() and sys.platform == "darwin":
        return [Finding(what, True, "macOS keeps it; how much is free cannot be seen")]
    if not place.exists():
        return [Finding(what, False, f"no {place}", "Set compute.workers to 0: the loader's processes need it.")]
    free = shutil.disk_usage(place).free
    if not PARAMS.exists():
        return [Finding(what, True, f"{free / 1e6:.0f} MB free; how much is needed follows from a params.yaml")]
    try:
        params = load_params(PARAMS)
        processes = _training_processes(params)
        return [shared_memory(params, processes * loader_processes(params.compute.workers, processes), free)]
    except UserError as error:
        return [Finding(what, False, f"{free / 1e6:.0f} MB free, need unknown", str(error))]


def shared_memory(params: "Params", workers: int, free_bytes: int) -> Finding:
    """What so many processes of the loader hold in shared memory at most, beside what is free there."""
    from pptsm.data.prefetch import BATCHES_AHEAD

    batch = largest_batch_bytes(params)
    # one to spare: other programs use /dev/shm too
    needed = (BATCHES_AHEAD * workers + 1) * batch if workers else 0
    fitting = max(0, int(free_bytes / batch - 1) // BATCHES_AHEAD)
    return Finding(
        "shared memory",
        needed <= free_bytes,
        f"{free_bytes / 1e6:.0f} MB free; {workers} processes of the loader hold up to {needed / 1e6:.0f} MB there",
        f"Set compute.workers to {fitting}, or lower training.batch_norm_clips or the clip's size, or enlarge /dev/shm "
        "(Docker: --shm-size).",
    )


def largest_batch_bytes(params: "Params") -> int:
    """The most that a process of the loader hands over at once: a group of training, or all views of a video."""
    from pptsm.data.geometry import crop_places
    from pptsm.data.prefetch import batch_bytes
    from pptsm.training.groups import number_of_groups

    recipe, clip = params.training, params.clip
    segments = max(params.teacher.network.num_segments, params.student.network.num_segments)
    size = clip.test_crop_px, clip.test_crop_px
    crops = {name: len(crop_places(name, size, clip.test_crop_px)) for name in (clip.crops, clip.dense_crops)}
    views = {"uniform": crops[clip.crops], "dense": clip.dense_clips * crops[clip.dense_crops]}
    group = math.ceil(recipe.batch_size / number_of_groups(recipe.batch_size, recipe))
    return max(
        batch_bytes(group, segments, clip.crop_px),
        *(batch_bytes(1, views[sampling] * segments, clip.test_crop_px) for sampling in params.evaluate.samplings),
    )


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


def doctor() -> None:
    """Check this machine: versions, device, threads, disk, shared memory, cache, and what is missing."""
    from pptsm.runtime.console import say

    findings = examine()
    for finding in findings:
        say(f"{'ok  ' if finding.good else 'BAD '} {finding.what:24} {finding.found}")
        if not finding.good:
            say(f"     {'':24} -> {finding.remedy}")
    if bad := sum(not finding.good for finding in findings):
        raise UserError(f"{bad} of {len(findings)} checks failed, see above.")
