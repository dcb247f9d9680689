"""What TSM-Lite costs against PP-TSMv2 and the default run's student: one clip exported, and one clip in training.

    python benchmarks/lite_cost.py [--runs 15] [--no-steps]     # about 3 minutes; two tables for docs/log

Random weights, which cost what trained ones do. Runs alternate, so that other work on the machine falls on all alike:
believe the ratios, not the milliseconds. CPU time is of all threads. To expect: TSM-Lite takes about 0.65 of PP-TSMv2's
multiplications and three times those of the default student, at about the CPU time of PP-TSMv2.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from measure import machine
from pptsm import build_model
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.model.cost import count_macs, count_parameters
from pptsm.model.network import VideoNetwork
from v2_latency import alternating

FRAMES, CLASSES, CLIPS = 8, 10, 8  # clips: of a step
NETWORKS: dict[str, dict[str, Any]] = {
    "tsm_lite": {"network": "tsm_lite"},
    "pptsm_v2": {"network": "pptsm_v2"},
    "default student": {"network": "pptsm", "depth": 18, "width": 0.25},
}


def exported(model: VideoNetwork, px: int, folder: Path) -> Callable[[], object]:
    """A call that scores one clip with the network's ONNX file."""
    folder.mkdir()
    save_inference(model, folder, (FRAMES, 3, px, px))
    convert_to_onnx(folder, folder / "model.onnx", 17, {})
    clips = np.random.default_rng(0).normal(0, 1, (1, FRAMES, 3, px, px)).astype(np.float32)
    return partial(onnx_scorer(open_session(folder / "model.onnx")), clips)


def step(model: VideoNetwork, clips: paddle.Tensor, labels: paddle.Tensor) -> None:
    """Forward and backward, without the optimiser."""
    paddle.nn.functional.cross_entropy(model(clips), labels).backward()
    model.clear_gradients()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--no-steps", action="store_true")
    arguments = parser.parse_args()
    calls: dict[str, Callable[[], object]] = {}
    steps: dict[str, Callable[[], object]] = {}
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for px in (224, 112):
            clips, labels = paddle.randn([CLIPS, FRAMES, 3, px, px]), paddle.arange(CLIPS) % CLASSES
            for name, options in NETWORKS.items():
                row = f"{name}, {FRAMES} x {px}"
                model = build_model(num_classes=CLASSES, num_segments=FRAMES, **options)
                macs = count_macs(model, (FRAMES, 3, px, px))  # before the export, which makes its forward a graph
                facts[row] = f"{count_parameters(model) / 1e6:.2f} M | {macs / 1e9:.2f} G"
                calls[row] = exported(model, px, Path(scratch) / row)
                if px == 112:
                    learning = build_model(num_classes=CLASSES, num_segments=FRAMES, **options)
                    learning.train()
                    steps[row] = partial(step, learning, clips, labels)
        taken = alternating(calls, arguments.runs)
        trained = {} if arguments.no_steps else alternating(steps, max(2, arguments.runs // 5))
    print(f"{machine()}; {arguments.runs} runs\n")
    print("| one clip in ONNX Runtime | parameters | multiply-adds | ms | CPU ms | CPU, by tsm_lite's |")
    print("|---|---|---|---|---|---|")
    for row, (wall, cpu) in taken.items():
        base = taken[f"tsm_lite, {row.rpartition(', ')[2]}"][1]
        print(f"| {row} | {facts[row]} | {wall:.0f} | {cpu:.0f} | {cpu / base:.2f} |")
    for row, (wall, cpu) in trained.items():
        print(f"step: {row}: {wall / CLIPS:.0f} ms a clip, CPU {cpu / CLIPS:.0f}")


if __name__ == "__main__":
    main()
