"""What a preset learns from few videos: held-out groups in turn, accuracy pooled over the folds.

    python benchmarks/small_data.py weizmann FOLDER --fold lena,lyova,shahar --fold daria,denis,eli --fold ido,ira,moshe
    python benchmarks/small_data.py small FOLDER --fold scene3,scene7 --set index.pattern=... --set training.flip=none

Cost: a training a fold, as long as the preset says, and a few seconds for the archives, which all folds share. All
lies in a temporary folder. Two runs side by side take a core each with `--set compute.workers=0` and PPTSM_THREADS=1.
To expect: a line a fold, then a row of a table: the settings, top-1 of the student over all folds with Wilson's 95 %
interval, uniform and dense, minutes of training, clips per second, and megabytes of archives.
"""

import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from measure import machine
from pptsm.data.clips import EvaluationVideos, frame_source
from pptsm.data.spec import clip_spec
from pptsm.data.table import in_split, save_index, save_labels
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.tables import metric_values
from pptsm.frames.extract import extract_all
from pptsm.ingest.index import build_index
from pptsm.params.schema import Params
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.runtime.console import note
from pptsm.runtime.cores import loader_processes
from pptsm.training.fit import Inputs, Plan, fit
from pptsm.weights.card import load_network
from pptsm.weights.pretrained import fetch_start


def main(
    preset: Annotated[str, typer.Argument(help="Name of a preset.")],
    root: Annotated[Path, typer.Argument(help="Folder of the videos.")],
    fold: Annotated[list[str], typer.Option(help="Groups held out together, with commas; once a fold.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="section.key=value over the preset.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder to keep the last fold's student in.")] = None,
) -> None:
    """Train on all groups but those of a fold, score those, and pool."""
    scored: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["PPTSM_STATE"] = str(folder / "state")
        for held in fold:
            own = [f"index.root={root}", f"index.test_groups=[{held}]", *(settings or [])]
            params = chosen_params(PRESETS, Choice(preset, None, tuple(own)))
            scored.append(trained_and_scored(params, folder, keep))
            note(f"{held}: {words(scored[-1:])}")
        archives = sum(path.stat().st_size for path in (folder / "frames").rglob("*.zip"))
    speeds = [row["clips_per_sec"] for row in scored]
    minutes = sum(row["minutes"] for row in scored) / len(scored)
    note(machine())
    print(
        f"| {' '.join(settings or [])} | {words(scored)} | {minutes:.1f} minutes a fold | "
        f"{np.mean(speeds):.0f} clips/s | {archives / 1e6:.1f} MB |"
    )


def trained_and_scored(params: Params, folder: Path, keep: Path | None) -> dict[str, Any]:
    """`train_and_score` in a process of its own: the ranks of a training can join once in a process, no second time."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(train_and_score, params, folder, keep).result()


def train_and_score(params: Params, folder: Path, keep: Path | None) -> dict[str, Any]:
    """One fold: its student's logits on the test videos, by sampling, and what the training cost."""
    table, labels = build_index(params.index, params.validate_.min_frames, params.compute.workers)
    index, names, frames = folder / "index.csv", folder / "labels.txt", folder / "frames"
    save_index(table, index)
    save_labels(labels, names)
    if not frames.exists():  # the folds share them
        extract_all(table[table["split"] != ""], Path(params.index.root), frames, params.frames, params.compute.workers)
    started = time.monotonic()
    teacher = None
    for role, section in {"teacher": params.teacher, "student": params.student}.items():
        if role == "teacher" and not params.teacher.enabled:
            continue
        fetch_start(role, section.start.weights, section.start.sha256, folder / f"{role}_start")
        inputs = Inputs(index, names, frames, folder / f"{role}_start")
        fit(Plan(role, section, inputs, folder / role, folder / f"{role}.csv", teacher=teacher), params)
        teacher = folder / role if params.student.distillation.weight > 0 else None
    minutes = (time.monotonic() - started) / 60
    videos = in_split(table, "test")
    score = paddle_pixel_scorer(load_network(folder / "student"))
    spec = clip_spec(params.clip, params.student.network.num_segments, params.sampling)
    row: dict[str, Any] = {"minutes": minutes, "groups": videos["group"].tolist()}
    row["clips_per_sec"] = pd.read_csv(folder / "student.csv")["clips_per_sec"].mean()
    for sampling in params.evaluate.samplings:
        row[sampling] = score_videos(
            score,
            EvaluationVideos(videos, frame_source(params, frames), spec, sampling),
            batch_views=params.compute.batch_views,
            workers=loader_processes(params.compute.workers),
            what=sampling,
        )
    if keep is not None:
        shutil.copytree(folder / "student", keep, dirs_exist_ok=True)
    return row


def words(scored: list[dict[str, Any]]) -> str:
    """Top-1 of all folds given, a sampling a cell."""
    groups = [group for row in scored for group in row["groups"]]
    cells = []
    for sampling in ("uniform", "dense"):
        logits_NK, labels_N = (np.concatenate([row[sampling][part] for row in scored]) for part in (0, 1))
        values = metric_values(logits_NK, labels_N, groups)
        cells.append(
            f"{values['top1']:.1%} ({values['top1_low']:.1%} to {values['top1_high']:.1%}), loss {values['loss']:.2f}"
        )
    return " | ".join(cells)


if __name__ == "__main__":
    typer.run(main)
