"""What two processes find together, for tests/test_parallel.py, written as JSON.

In folder tests: `python -m helpers.companions OUT`.

A second word names their devices as `compute.devices` does: 2 processes on CPUs, or GPUs as in [0,1].
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from conftest import params_with
from pptsm.distributed.device import use_device
from pptsm.distributed.launcher import launch, store_listeners
from pptsm.distributed.ranks import Ranks
from pptsm.model.network import VideoNetwork, build_model
from pptsm.params.schema import Devices
from pptsm.training.accumulation import Accumulation
from pptsm.training.batchnorm import precise_batch_norm
from pptsm.training.objectives import CrossEntropy, learn
from pptsm.training.precision import precision_of

CLIPS = 7
GROUPS = [[0, 1], [2, 3], [4, 5, 6]]  # one rank has the first and the last of them, the other that between
RNG = np.random.default_rng(5)
PIXELS = RNG.normal(0, 1, (CLIPS, 4, 3, 32, 32)).astype(np.float32)
LABELS = RNG.integers(0, 3, CLIPS)
SINGLE = precision_of("none", "test")


def network() -> VideoNetwork:
    """The same each time."""
    paddle.seed(3)
    return build_model("pptsm", depth=18, width=0.125, num_classes=3, num_segments=4, dropout=0.0)


def step(model: VideoNetwork, ranks: Ranks, wish: bool = False) -> bool:
    """Gradients and running statistics after the groups of a step, of which this rank takes its share."""
    accumulation = Accumulation([model])
    with accumulation.step():
        for group in ranks.share(GROUPS):
            clips, labels = paddle.to_tensor(PIXELS[group]), paddle.to_tensor(LABELS[group])
            learn(CrossEntropy(model, 0.1), clips, labels, None, share=len(group) / CLIPS, precision=SINGLE)
            accumulation.add(len(group))
    return accumulation.finish(ranks, wish)


def gradients(model: VideoNetwork) -> np.ndarray:
    """All in one row."""
    return np.concatenate([p.grad.numpy().ravel() for p in model.parameters() if p.grad is not None])


def statistics(model: VideoNetwork) -> np.ndarray:
    """Running means and variances in one row."""
    return np.concatenate(
        [v.numpy().ravel() for k, v in model.state_dict().items() if k.endswith(("_mean", "_variance"))]
    )


def furthest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, as a part of the largest value."""
    return float(np.abs(one - other).max() / np.abs(other).max())


def found_by(ranks: Ranks) -> dict[str, Any]:
    """What is compared with one process that does all alone."""
    found: dict[str, Any] = {}

    model, alone = network(), network()
    for each in (model, alone):
        each(paddle.to_tensor(PIXELS))  # statistics then are no round numbers
        each.eval()
    before = statistics(model)
    found["wish of nobody"] = step(model, ranks)
    step(alone, Ranks())
    found["frozen: gradients"] = furthest(gradients(model), gradients(alone))
    found["frozen: statistics stay"] = bool((statistics(model) == before).all())

    model, alone = network(), network()
    found["wish of the last"] = step(model, ranks, wish=ranks.rank == ranks.size - 1)
    step(alone, Ranks())
    found["local: gradients"] = furthest(gradients(model), gradients(alone))
    found["local: statistics"] = furthest(statistics(model), statistics(alone))
    everywhere = ranks.gather([statistics(model).tobytes()])
    found["the same in all ranks"] = len(set(everywhere)) == 1 and len(everywhere) == ranks.size

    model, alone = network(), network()
    precise_batch_norm(model, [paddle.to_tensor(PIXELS[group]) for group in ranks.share(GROUPS)], ranks)
    precise_batch_norm(alone, [paddle.to_tensor(PIXELS[group]) for group in GROUPS], Ranks())
    found["precise statistics"] = furthest(statistics(model), statistics(alone))

    found["gathered"] = ranks.gather([number**2 for number in ranks.share(range(CLIPS))])
    found["gathered of one"] = ranks.gather(ranks.share(["only"]))
    found["sum"] = ranks.sum_over_ranks(np.array([1.0, ranks.rank])).tolist()
    found["of the first"] = ranks.from_first(lambda: f"made by {ranks.rank}")
    device = socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16
    found["listens on"] = [listener.getsockopt(*device).rstrip(b"\0").decode() for listener in store_listeners()]
    found["any"] = [ranks.any_rank(ranks.rank == 1), ranks.any_rank(False)]
    return found


def found_by_all(ranks: Ranks) -> list[dict[str, Any]]:
    """What each rank has found, a list in their order."""
    return ranks.gather([found_by(ranks)])


def main(out: Path, devices: Devices) -> None:
    """Write what two ranks have found, and whether this process is as it was before."""
    from helpers.companions import found_by_all as by_its_name  # a rank cannot find what is in __main__

    compute = params_with(compute={"devices": devices}).compute
    use_device(compute.device, compute.devices)
    before = dict(os.environ)
    found = launch(by_its_name, (), compute, most=CLIPS, what="test")
    out.write_text(json.dumps({"ranks": found, "environment stays": dict(os.environ) == before}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else 2)
