"""Of 8 labels swapped on purpose among 640 videos, how many are among the first 16 of the report's ranking by loss?

    python benchmarks/wrong_labels.py MODEL [TRIALS]      # models/export/model.onnx of the default run; 20; two minutes

The videos are new: drawn as those of params.yaml, with another seed, so the network has seen none of them. It scores
them once; each trial swaps other labels, each for any other class. To expect: 8 in every trial where the network
recognises nearly all of them.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from measure import machine
from pptsm import Predictor
from pptsm.evaluation.metrics import accuracy
from pptsm.evaluation.tables import prediction_rows
from pptsm.ingest.motion import draw_dataset
from pptsm.params.checking import load_params
from pptsm.report.clips import suspects

VIDEOS, SWAPPED, FIRST = 640, 8, 16
OTHER_SEED = 777_000  # of the drawn videos


def main() -> None:
    """Draw, score once, and rank in each trial."""
    predictor, trials = Predictor(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    motion = load_params(Path("params.yaml")).motion
    with tempfile.TemporaryDirectory() as folder:
        draw_dataset(folder, motion.model_copy(update={"seed": OTHER_SEED, "videos_per_class": VIDEOS // 8}))
        files = sorted(Path(folder).rglob("*.mp4"))
        classes = sorted({file.parent.name for file in files})
        logits_NK = np.stack([answer.logits for answer in predictor.predict_many(files) if answer.logits is not None])
    truth_N = np.array([classes.index(file.parent.name) for file in files])
    print(machine())
    print(f"{len(files)} new videos, top-1 {accuracy(logits_NK, truth_N).top1:.2%}")
    found = []
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        swapped = rng.choice(VIDEOS, SWAPPED, replace=False)
        label_N = truth_N.copy()
        label_N[swapped] = (label_N[swapped] + rng.integers(1, len(classes), SWAPPED)) % len(classes)
        videos = pd.DataFrame({"id": np.arange(VIDEOS).astype(str), "label": [classes[index] for index in label_N]})
        ranked = suspects(prediction_rows(videos, logits_NK, classes))["id"].head(FIRST)
        found.append(int(ranked.isin(swapped.astype(str)).sum()))
    print(f"of {SWAPPED} swapped labels among the first {FIRST}: {min(found)} to {max(found)} in {trials} trials")


if __name__ == "__main__":
    main()
