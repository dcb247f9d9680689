"""Do two versions of Paddle train alike? The losses of the first steps on a dataset whose frames are extracted.

    python benchmarks/paddle_versions.py record old.json     # under one version, in a folder where `dvc repro` has run
    python benchmarks/paddle_versions.py record new.json     # under the other
    python benchmarks/paddle_versions.py compare old.json new.json

Cost: half a minute a version. Weights start from numpy's generator, so both versions start alike; to expect: no loss
differs by more than 1e-3. A Paddle 2.6.2 environment needs numpy<2, pandas<3 and protobuf<5.
"""

import json
import sys
from pathlib import Path

import numpy as np

STEPS = 20
LIMIT = 1e-3


def record(path: Path) -> None:
    """Train a student without a teacher for some steps and write version and losses."""
    import paddle

    from pptsm.data.clips import TrainingClips, frame_source
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.model.card import build_role
    from pptsm.model.device import use_device
    from pptsm.params import load_params
    from pptsm.training.losses import smoothed_cross_entropy
    from pptsm.training.optimizer import build_optimizer, scheduled_rate

    params = load_params(Path("params.yaml"))
    use_device("cpu")
    labels = load_labels(Path("data/labels.txt"))
    videos = in_split(load_index(Path("data/index.csv")), "train")
    source = frame_source(params, Path("data/frames"))
    clips = TrainingClips(videos, source, labels, params.clip, params.training, params.sampling, params.seed, 0)
    model = build_role(params, params.student, len(labels))
    rng = np.random.default_rng(params.seed)
    for parameter in model.parameters():
        if len(parameter.shape) == 4:
            fan = int(np.prod(parameter.shape[1:]))
            parameter.set_value(rng.normal(0, np.sqrt(2 / fan), parameter.shape).astype(np.float32))
        elif len(parameter.shape) == 2:
            parameter.set_value(rng.normal(0, 0.01, parameter.shape).astype(np.float32))
    optimizer = build_optimizer([model], params.training)
    size, losses, order = params.training.batch_size, [], rng.permutation(len(clips))
    model.train()
    for step in range(STEPS):
        batch = [clips[number] for number in order[step * size : (step + 1) * size]]
        x, y = np.stack([clip for clip, _ in batch]), np.array([label for _, label in batch])
        optimizer.set_lr(scheduled_rate(params.training, step, len(clips) // size, params.student.epochs))
        logits = model(paddle.to_tensor(x))
        loss = smoothed_cross_entropy(logits, paddle.to_tensor(y), params.training.label_smoothing)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    path.write_text(json.dumps({"paddle": paddle.__version__, "losses": losses}, indent=1) + "\n")


def compare(one: Path, other: Path) -> int:
    """Print both columns; 0 if they agree to LIMIT."""
    a, b = json.loads(one.read_text()), json.loads(other.read_text())
    print(f"step  {a['paddle']:>10}  {b['paddle']:>10}  difference")
    for step, (x, y) in enumerate(zip(a["losses"], b["losses"], strict=True)):
        print(f"{step:4}  {x:10.6f}  {y:10.6f}  {abs(x - y):.1e}")
    worst = max(abs(x - y) for x, y in zip(a["losses"], b["losses"], strict=True))
    print(f"largest difference {worst:.1e}, allowed {LIMIT:g}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"] and len(sys.argv) == 3:
        record(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["compare"] and len(sys.argv) == 4:
        sys.exit(compare(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        sys.exit(__doc__)
