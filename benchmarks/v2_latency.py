"""How long one clip takes: PP-TSMv2 with 8 and 16 frames against PP-TSM R50 with 8, in ONNX Runtime on all cores.

    python benchmarks/v2_latency.py VIDEO [--runs 20]     # about 2 minutes; a table for docs/log

The networks have random weights, which cost what trained ones do. Runs alternate, so that other work on the machine
falls on all alike; CPU time (of all threads and processes) is less moved by it than time. `whole` is `pptsm predict
VIDEO` in a process of its own, from cold start to the answer. To expect: PP-TSMv2 takes a fifth (8 frames) and a third
(16) of R50's CPU time for a clip, and six tenths of it for the whole.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from measure import machine, spent
from pptsm.data.spec import clip_spec
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.ingest.texts import read_label_file
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.serving.metadata import ModelMetadata
from pptsm.weights.card import network_arguments

BASE = "pptsm-r50-k400-uniform"
NAMES = [BASE, "pptsmv2-8-k400-uniform", "pptsmv2-16-k400-uniform-distilled"]


def exported(name: str, folder: Path) -> tuple[Path, tuple[int, int, int, int]]:
    """The ONNX file of a known network, with random weights, and the shape of its clip."""
    params = chosen_params(PRESETS, Choice("eval", name))
    labels = read_label_file(str(params.index.label_file))
    spec = clip_spec(params.clip, params.student.network.num_segments, params.sampling)
    save_inference(network_arguments(params.student, len(labels)).build(spec.input), folder, spec.shape)
    convert_to_onnx(folder, folder / "model.onnx", 17, ModelMetadata(labels, spec, "random").to_properties())
    return folder / "model.onnx", spec.shape


def alternating(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, tuple[float, float]]:
    """Name -> median milliseconds of time and of CPU; the first run of each warms up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(runs + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            cpu_sec = spent(call)
            taken[name].append((time.perf_counter() - started, cpu_sec))
    return {name: tuple(np.median(times[1:], axis=0) * 1000) for name, times in taken.items()}  # type: ignore[misc]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    clip_calls: dict[str, Callable[[], object]] = {}
    whole_calls: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in NAMES:
            folder = Path(scratch) / name
            folder.mkdir()
            file, shape = exported(name, folder)
            clips = np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)
            clip_calls[name] = partial(onnx_scorer(open_session(file)), clips)
            command = ["pptsm", "predict", str(arguments.video), "--model", str(file)]
            whole_calls[name] = partial(subprocess.run, command, check=True, capture_output=True)
        clip_ms = alternating(clip_calls, arguments.runs)
        whole_ms = alternating(whole_calls, max(2, arguments.runs // 4))
    base, base_cpu = clip_ms[BASE]
    print(f"{machine()}; {arguments.runs} runs\n")
    print("| network | a clip, ms | of R50's | CPU, ms | of R50's | whole, ms | CPU, ms |")
    print("|---|---|---|---|---|---|---|")
    for name, (wall, cpu) in clip_ms.items():
        print(
            f"| {name} | {wall:.0f} | {wall / base:.2f} | {cpu:.0f} | {cpu / base_cpu:.2f} | "
            f"{whole_ms[name][0]:.0f} | {whole_ms[name][1]:.0f} |"
        )


if __name__ == "__main__":
    main()
