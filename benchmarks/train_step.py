"""A training step of the student in params.yaml as `dvc repro` runs it here, beside one process with one thread.

    python benchmarks/train_step.py [--json] [--params FILE] [--rounds 3] [--steps 10]   # 2 minutes on two quiet cores

Milliseconds of wall time a clip (the smaller the better; medians of rounds that take turns, so that both see the same
machine): normalising, mixing, forward, the other network's forward, backward (both networks' under mutual learning), in
groups of `batch_norm_clips`, with `batch_norm` and `freeze_stages` as params.yaml has them, in the precision of `amp`,
the message between processes, update. Clips are random pixels in memory: loading is no part of it. On GPUs the one
process has the first of them. Then CPU milliseconds per clip, of all processes. To expect on two quiet cores: two
processes 1.7 times as fast as one, for about the same CPU time.

`--json` prints one object: `ms_a_clip` (all processes together), the same without the other network
(`ms_a_clip_plain`), both with one process of one thread (`..._one_process`), how often faster it is (`speedup`,
`speedup_plain`), CPU time for each (`cpu_...`), and the most that Paddle took of a GPU's memory (`gpu_gb`).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measure import machine

if TYPE_CHECKING:
    from pptsm.distributed.ranks import Ranks
    from pptsm.params.schema import Params

BENCHMARKS = Path(__file__).resolve().parent
PARAMS = BENCHMARKS.parent / "params.yaml"
CLASSES = 8  # of the embedded dataset
WARM_UP = 3  # steps


def main() -> None:
    """Measure in processes of their own, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--once", nargs=2, metavar=("DEVICES", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        devices, out = given.once
        measure(given.params, devices, given.steps, Path(out))
        return
    found: dict[str, list[dict[str, Any]]] = {"auto": [], "1": []}
    for _ in range(given.rounds):
        for devices, results in found.items():
            results.append(measured(given.params, devices, given.steps))
    first = found["auto"][0]
    values: dict[str, Any] = {name: first[name] for name in ("computed_with", "batch_size", "learns_from", "gpu_gb")}
    values |= {"rounds": given.rounds, "steps": given.steps}
    for kind in ("", "_plain"):
        for name in (f"ms_a_clip{kind}", f"cpu_ms_a_clip{kind}"):
            here, alone = (statistics.median(each[name] for each in found[which]) for which in found)
            values |= {name: here, f"{name}_one_process": alone}
        values[f"speedup{kind}"] = values[f"ms_a_clip{kind}_one_process"] / values[f"ms_a_clip{kind}"]
    if given.json:
        print(json.dumps(values))
        return
    print(f"{machine()}; {values['computed_with']}")
    print(f"batches of {values['batch_size']}, {given.rounds} rounds of {given.steps} steps; in brackets CPU time")
    for kind, name in (("", values["learns_from"]), ("_plain", "labels alone")):
        here, alone = (f"ms_a_clip{kind}{which}" for which in ("", "_one_process"))
        print(
            f"{name:24} {values[here]:6.1f} ms per clip ({values[f'cpu_{here}']:.1f}); one process, one thread "
            f"{values[alone]:6.1f} ms ({values[f'cpu_{alone}']:.1f}): {values[f'speedup{kind}']:.2f} times as fast"
        )


def measured(params_path: Path, devices: str, steps: int) -> dict[str, Any]:
    """What `measure` finds in a process of its own; `devices`: "1" with one thread, or "auto", as params.yaml says."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])}
    if devices == "1":
        environment["PPTSM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        options = ["--params", str(params_path), "--steps", str(steps), "--once", devices, str(out)]
        command = [sys.executable, "-W", "ignore", __file__, *options]
        subprocess.run(command, env=environment, check=True)
        values: dict[str, Any] = json.loads(out.read_text())
        return values


def measure(params_path: Path, devices: str, steps: int, out: Path) -> None:
    """Take the steps, with all processes that `devices` means, and write what they took."""
    from pptsm.distributed.device import gpus, use_device
    from pptsm.distributed.launcher import launch
    from pptsm.params.checking import load_params
    from pptsm.training.groups import most_processes
    from train_step import steps_taken as by_its_name  # a rank cannot find what is in __main__

    params = load_params(params_path)
    recipe, compute = params.training, params.compute
    on_gpu = use_device(compute.device, compute.devices) == "gpu"
    if devices == "1":
        compute = compute.model_copy(update={"devices": gpus(compute.devices)[:1] if on_gpu else 1})
    most = most_processes(recipe.batch_size, recipe, on_gpu=on_gpu)
    if (values := launch(by_its_name, (params, steps), compute, most=most, what="benchmark")) is not None:
        out.write_text(json.dumps(values))


def steps_taken(params: "Params", steps: int, ranks: "Ranks") -> dict[str, Any]:
    """What steps take with and without the other network, in milliseconds per clip."""
    import paddle

    from pptsm.data.loader import normalise_on_device
    from pptsm.data.transforms import Pixels
    from pptsm.distributed.device import computed_with
    from pptsm.training.accumulation import Accumulation
    from pptsm.training.batchnorm import into_training, prepare
    from pptsm.training.groups import divided, number_of_groups
    from pptsm.training.mixing import mix_clips
    from pptsm.training.objectives import CrossEntropy, Distillation, MutualLearning, Objective, learn
    from pptsm.training.optimizer import build_optimizer, take_step
    from pptsm.training.precision import precision_of
    from pptsm.weights.card import network_arguments

    recipe, student, clip = params.training, params.student, params.clip
    values: dict[str, Any] = {"computed_with": computed_with(), "batch_size": recipe.batch_size}
    groups = []  # pixels and labels of each that this rank computes
    rng = np.random.default_rng(ranks.rank)
    in_all = number_of_groups(recipe.batch_size, recipe, ranks.size)
    for number in map(len, ranks.share(divided(range(recipe.batch_size), in_all))):
        shape = (number, student.network.num_segments, 3, clip.crop_px, clip.crop_px)
        ones = np.ones((number, 3), dtype=np.float32)
        fields = rng.integers(0, 256, shape, dtype=np.uint8), ones / 64, 2 * ones
        groups.append((Pixels(*map(paddle.to_tensor, fields)), paddle.to_tensor(np.arange(number) % CLASSES)))
    for kind in ("", "_plain"):
        model, other = (network_arguments(role, CLASSES).build(clip.input) for role in (student, params.teacher))
        objective: Objective = CrossEntropy(model, recipe.label_smoothing)
        if not kind:
            values["learns_from"] = "labels alone"
        if not kind and student.distillation.weight > 0:
            values["learns_from"] = f"labels and {'peer' if student.distillation.kind == 'mutual' else 'teacher'}"
            if student.distillation.kind == "mutual":
                objective = MutualLearning(model, other, recipe.label_smoothing, student.distillation.weight)
            else:
                other.eval()
                weights = (student.distillation.weight, student.distillation.temperature)
                objective = Distillation(model, other, recipe.label_smoothing, *weights)
        for learner in objective.learners:
            prepare(learner, recipe, ranks.size, recipe.batch_size)
            into_training(learner, recipe)
        optimizer, precision = build_optimizer(objective.learners, recipe), precision_of(recipe.amp, "benchmark")
        accumulation = Accumulation(objective.learners)
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                finish_queue()
                ranks.barrier()
                started, cpu_started = time.perf_counter(), time.process_time()
            with accumulation.step():
                for pixels, labels in groups:
                    clips, mix = mix_clips(recipe, normalise_on_device(pixels), labels, rng)
                    share = len(labels) / recipe.batch_size
                    learn(objective, clips, labels, mix, share=share, precision=precision)
                    accumulation.add(len(labels))
            accumulation.finish(ranks)
            take_step(optimizer, objective.learners, precision, recipe.clip_norm)
        finish_queue()
        ranks.barrier()
        cpu_sec = ranks.sum_over_ranks(np.array([time.process_time() - cpu_started]))[0]
        for name, seconds in (("ms", time.perf_counter() - started), ("cpu_ms", cpu_sec)):
            values[f"{name}_a_clip{kind}"] = seconds * 1000 / steps / recipe.batch_size
    values["gpu_gb"] = paddle.device.cuda.max_memory_reserved() / 1e9 if paddle.get_device() != "cpu" else 0.0
    return values


def finish_queue() -> None:
    """Wait until a GPU has done what it was given."""
    import paddle

    if paddle.get_device() != "cpu":
        paddle.device.synchronize()


if __name__ == "__main__":
    main()
