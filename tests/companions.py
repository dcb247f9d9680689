"""What two processes find together, for tests/test_parallel.py: `python tests/companions.py OUT` writes it as JSON.

A second word names their devices as `compute.devices` does: 2 processes on CPUs, or GPUs as in [0,1].
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from conftest import params_with
from pptsm.model.device import use_device
from pptsm.model.network import VideoNetwork, build_model
from pptsm.model.parallel import Ranks, together
from pptsm.params import Devices
from pptsm.training.batchnorm import precise_batch_norm
from pptsm.training.losses import smoothed_cross_entropy

CLIPS = 7  # one rank has four of them, the other three
RNG = np.random.default_rng(5)
PIXELS = RNG.normal(0, 1, (CLIPS, 4, 3, 32, 32)).astype(np.float32)
LABELS = RNG.integers(0, 3, CLIPS)


def network() -> VideoNetwork:
    """The same each time."""
    paddle.seed(3)
    return build_model("pptsm", depth=18, width=0.125, num_classes=3, num_segments=4, dropout=0.0)


def learn(model: VideoNetwork, numbers: list[int]) -> None:
    """Gradients of the mean loss of so many clips."""
    loss = smoothed_cross_entropy(model(paddle.to_tensor(PIXELS[numbers])), paddle.to_tensor(LABELS[numbers]), 0.1)
    loss.backward()


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
    numbers = list(range(CLIPS))
    mine = list(ranks.share(numbers))
    found: dict[str, Any] = {}

    model, alone = network(), network()
    for each in (model, alone):
        each(paddle.to_tensor(PIXELS))  # statistics then are no round numbers
        each.eval()
    before = statistics(model)
    learn(model, mine)
    learn(alone, numbers)
    found["wish of nobody"] = ranks.average_gradients([model], len(mine) / CLIPS)
    found["frozen: gradients"] = furthest(gradients(model), gradients(alone))
    found["frozen: statistics stay"] = bool((statistics(model) == before).all())

    model, parts = network(), [network() for _ in range(ranks.size)]
    learn(model, mine)
    for rank, part in enumerate(parts):
        learn(part, numbers[rank :: ranks.size])
    found["wish of the last"] = ranks.average_gradients([model], len(mine) / CLIPS, wish=ranks.rank == ranks.size - 1)
    shares = [len(numbers[rank :: ranks.size]) / CLIPS for rank in range(ranks.size)]
    for name, of in (("gradients", gradients), ("statistics", statistics)):
        expected = sum(share * of(part) for share, part in zip(shares, parts, strict=True))
        found[f"local: {name}"] = furthest(of(model), expected)
    everywhere = ranks.gather([statistics(model).tobytes()])
    found["the same in all ranks"] = len(set(everywhere)) == 1 and len(everywhere) == ranks.size

    model, alone = network(), network()
    precise_batch_norm(model, [paddle.to_tensor(PIXELS[mine])], ranks)
    precise_batch_norm(alone, [paddle.to_tensor(PIXELS[numbers[rank::2]]) for rank in range(2)], Ranks())
    found["precise statistics"] = furthest(statistics(model), statistics(alone))

    found["gathered"] = ranks.gather([number**2 for number in mine])
    found["gathered of one"] = ranks.gather(ranks.share(["only"]))
    found["sum"] = ranks.sum_over_ranks(np.array([1.0, ranks.rank])).tolist()
    found["of the first"] = ranks.from_first(lambda: f"made by {ranks.rank}")
    found["any"] = [ranks.any_rank(ranks.rank == 1), ranks.any_rank(False)]
    return found


def work(out: str, devices: Devices) -> None:
    """Write what each of two ranks has found, a list in their order."""
    compute = params_with(compute={"devices": devices}).compute
    use_device(compute.device, compute.devices)
    with together(work, {"out": out, "devices": devices}, compute, CLIPS, "test") as ranks:
        found = ranks.gather([found_by(ranks)])
        if ranks.rank == 0:
            Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    from companions import work as by_its_name  # a rank cannot find what is in __main__

    by_its_name(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else 2)
