"""What does the input cost a training? Waiting share and clips a second, beside the same steps on clips in memory.

    python benchmarks/input_wait.py RUN [--cached] [--epochs 3] [--json]      # minutes

RUN is a folder with params.yaml in which the pipeline has got as far as stage `frames`. The student of params.yaml
learns from labels alone, in one process, by the loop that `dvc repro` runs; figures are those of the last epoch, as in
`reports/student.csv`. With --cached it then trains once more on the batches of the first steps, which are held in
memory and used in turn: what is left of `wait_share` there is the loop's own, and the ratio of clips per second is the
most that a faster input could bring. The two run one after the other by the clock: on a shared machine the ratio says
nothing, the shares do. To expect with the embedded dataset's archives: about one percent of the time.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import machine

HELD = 16  # batches in memory


def main() -> None:
    """Train, perhaps twice, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--cached", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.chdir(given.run)
    with tempfile.TemporaryDirectory() as state:
        os.environ["PPTSM_STATE"] = state
        found = {way: trained(way, given.epochs) for way in ("as it is", *(["cached"] if given.cached else []))}
    rates = {way: row["clips_per_sec"] for way, row in found.items()}
    if given.json:
        print(json.dumps(found))
        return
    print(machine())
    for way, row in found.items():
        print(f"{way:9} {row['clips_per_sec']:7.1f} clips/s, {row['wait_share']:6.1%} of the time waiting for clips")
    if given.cached:
        print(f"with clips in memory {rates['cached'] / rates['as it is']:.2f} times as fast: the ceiling of any input")


def trained(way: str, epochs: int) -> dict[str, float]:
    """Clips a second and waiting share of the last epoch."""
    from pptsm.data.clips import frame_source
    from pptsm.data.spec import clip_spec
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.distributed.device import use_device
    from pptsm.params.checking import load_params
    from pptsm.training import loop
    from pptsm.training.checkpoint import Checkpoint
    from pptsm.training.objectives import CrossEntropy
    from pptsm.training.provenance import Provenance
    from pptsm.training.run import Run
    from pptsm.weights.card import network_arguments

    params = load_params(Path("params.yaml"))
    use_device(params.compute.device, 1)
    index = load_index("data/index.csv")
    labels = load_labels("data/labels.txt", index)
    run = Run(
        params=params,
        spec=clip_spec(params.clip, params.student.network.num_segments, params.sampling),
        labels=labels,
        train_videos=in_split(index, "train"),
        val_videos=index[:0],  # nothing is validated
        source=frame_source(params, Path("data/frames")),
    )
    network = network_arguments(params.student, len(labels)).build(params.clip.input)
    objective = CrossEntropy(network, params.training.label_smoothing)
    as_it_is = loop.load_batches
    loop.load_batches = held_in_memory(as_it_is) if way == "cached" else as_it_is  # type: ignore[assignment]
    try:
        done = loop.train(objective, epochs, run, Checkpoint("student", Provenance({"way": way}, {}, {})))
    finally:
        loop.load_batches = as_it_is
    return {name: float(done.history[name].iloc[-1]) for name in ("clips_per_sec", "wait_share")}


def held_in_memory(load_batches: Any) -> Any:
    """As `load_batches`, but beyond the first ones it gives those again; batches of each size have their own."""
    held: dict[int, list[Any]] = {}

    def batches_of(clips: Any, batches: Iterable[Sequence[int]], workers: int) -> Iterator[Any]:  # noqa: ARG001
        for number, batch in enumerate(batches):
            known = held.setdefault(len(batch), [])
            if len(known) < HELD:
                known += load_batches(clips, [batch], 0)
            yield known[number % len(known)]

    return batches_of


if __name__ == "__main__":
    main()
