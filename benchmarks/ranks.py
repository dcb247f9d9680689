"""The same training by different numbers of processes: whether that number shows in a result.

    python benchmarks/ranks.py --ranks 1 --ranks 2 --ranks 16 --seed 2026 --seed 2027     # after `dvc repro frames`

In the project's folder. It trains the student of params.yaml without a teacher, once for each seed and each number of
processes (`compute.devices`), and scores the test videos by `sampling`. Cost: as many trainings of the student (`--set
student.epochs=3` makes them short); weights and states lie in a temporary folder.

To expect: a row per training. `loss` is that of the first and the last epoch, top-1 has Wilson's 95 % interval, and the
last column is the largest difference of any weight from the first row of the same seed. With PPTSM_THREADS=1 that is 0;
without it one process computes with the threads of all cores, and rounds otherwise than two with half of them.
"""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pptsm.data.clips import EvaluationVideos, frame_source
from pptsm.data.table import in_split, load_index
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.tables import metric_values
from pptsm.params.checking import check_params
from pptsm.params.reading import read_sections
from pptsm.presets.compose import as_yaml, merged, parse_settings
from pptsm.weights.card import load_network, read_card
from pptsm.weights.state_dict import WEIGHTS, read_weights

HEAD = "| processes asked | computed with | seed | loss | validation | test top-1 | minutes | largest difference |"
PLAIN: dict[str, Any] = {
    "teacher": {"enabled": False, "start": {"weights": None}},
    "student": {"distillation": {"kind": "hinton", "weight": 0.0}, "baseline": False},
}


@dataclass(frozen=True)
class Inputs:
    """What the stages before the training wrote."""

    index: Path
    labels: Path
    frames: Path
    start: Path


def main(
    ranks: Annotated[list[int], typer.Option(help="Number of processes; once per number.")],
    seed: Annotated[list[int], typer.Option(help="Seed of the training; once per seed.")],
    setting: Annotated[list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE over params.yaml.")] = None,
    index: Path = Path("data/index.csv"),
    labels: Path = Path("data/labels.txt"),
    frames: Path = Path("data/frames"),
    start: Path = Path("models/start/student"),
    params_path: Annotated[Path, typer.Option("--params")] = Path("params.yaml"),
) -> None:
    """Train, score, and print a table."""
    base = merged(merged(read_sections(params_path), PLAIN), parse_settings(tuple(setting or ())))
    inputs = Inputs(*(path.resolve() for path in (index, labels, frames, start)))
    print(HEAD, "|---" * 8 + "|", sep="\n", flush=True)
    for one_seed in seed:
        first: dict[str, Any] | None = None
        for number in ranks:
            values = merged(base, {"seed": one_seed, "compute": {"devices": number}})
            with tempfile.TemporaryDirectory() as folder:
                row, weights = trained(values, inputs, Path(folder))
            first = first or weights
            apart = max(float(np.abs(weights[name] - value).max()) for name, value in first.items())
            print(f"| {number} | {row[0]} | {one_seed} | {' | '.join(row[1:])} | {apart:.3g} |", flush=True)


def trained(values: dict[str, Any], inputs: Inputs, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Cells of the table, and the weights, of a training with these parameters."""
    (folder / "params.yaml").write_text(as_yaml(values))
    params = check_params(values, "params.yaml")
    out, history = folder / "student", folder / "student.csv"
    options = {**{f"--{name}": path for name, path in vars(inputs).items()}, "--out": out, "--history": history}
    options |= {"--teacher": folder / "none", "--teacher-start": folder / "none"}
    command = ["pptsm", "student", *(str(word) for option in options.items() for word in option)]
    began = time.monotonic()
    state = {"PPTSM_STATE": str(folder / "state")}
    subprocess.run(command, cwd=folder, env=os.environ | state, check=True)
    minutes = (time.monotonic() - began) / 60
    card, epochs = read_card(out), pd.read_csv(history)
    videos = in_split(load_index(inputs.index), "test")
    logits, truth = score_videos(
        paddle_pixel_scorer(load_network(out)),
        EvaluationVideos(videos, frame_source(params, inputs.frames), card.clip, params.sampling),
        batch_views=params.compute.batch_views,
        workers=0,
        what="test",
    )
    found = metric_values(logits, truth, videos["group"].tolist())
    with_what = card.computed_with.split(", ")[-2]
    validation = f"{epochs['val_top1'].iloc[-1]:.1%}" if "val_top1" in epochs else "-"
    cells = [with_what, f"{epochs['loss'].iloc[0]:.6g} to {epochs['loss'].iloc[-1]:.6g}", validation]
    top1, low, high = (found[name] for name in ("top1", "top1_low", "top1_high"))
    return [*cells, f"{top1:.1%} ({low:.1%} to {high:.1%})", f"{minutes:.1f}"], read_weights(out / WEIGHTS)


if __name__ == "__main__":
    typer.run(main)
