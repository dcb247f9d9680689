"""The accuracy report: everything the stages found, gathered once and written as Markdown and as HTML."""

import json
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from pptsm.data.clips import FrameSource, evaluation_indices
from pptsm.data.table import load_index, load_labels
from pptsm.files import sha256_of
from pptsm.params import Params
from pptsm.report import figures

SAMPLINGS = ("uniform", "dense")


@dataclass(frozen=True)
class Sources:
    """Files of the stages before."""

    params: Path
    index: Path
    labels: Path
    validation: Path  # JSON
    evaluation: Path  # folder
    card: Path  # JSON of the export
    onnx: Path
    histories: dict[str, Path]  # role -> CSV


def gather(params: Params, sources: Sources, frames: FrameSource) -> dict[str, Any]:
    """All that the templates show, by name."""
    index, classes = load_index(sources.index), load_labels(sources.labels)
    metrics = json.loads((sources.evaluation / "metrics.json").read_text())
    predictions = pd.read_csv(sources.evaluation / "predictions.csv", keep_default_na=False)
    per_class = pd.read_csv(sources.evaluation / "classes.csv", keep_default_na=False)
    headline = _of(predictions, "student", params.sampling)
    histories = {role: pd.read_csv(path) for role, path in sources.histories.items()}
    shown = sorted(set(headline["label"]) | set(headline["top1"]))
    return {
        "title": params.report.title,
        "params": params,
        "params_text": sources.params.read_text(encoding="utf-8"),
        "classes": classes,
        "rows": _accuracy_rows(params, metrics),
        "published": _published_rows(),
        "metrics": metrics,
        "validation": json.loads(sources.validation.read_text()),
        "card": json.loads(sources.card.read_text()),
        "curves": figures.training_curves(histories),
        "seconds_hint": {role: _speed(table) for role, table in histories.items()},
        "confusion": figures.confusion(_matrix(headline, shown), shown),
        "bars": figures.class_bars(_of(per_class, "student", params.sampling)),
        "wrong": _wrong_clips(params, headline, index, frames),
        "wrong_total": int((headline["label"] != headline["top1"]).sum()),
        "revision": git_revision(),
        "hashes": {
            "index": sha256_of(sources.index),
            "predictions": sha256_of(sources.evaluation / "predictions.csv"),
            "ONNX file": sha256_of(sources.onnx),
        },
    }


def render(template: str, values: dict[str, Any]) -> str:
    """Fill one of the package's templates."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.files("pptsm.report").joinpath(name).read_text()),
        autoescape=template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def git_revision() -> str:
    """The commit of the working folder, marked where files differ from it; a word where there is none."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
        # dvc.lock changes with every run; it says nothing about the code
        edited = [line[3:] for line in changed.splitlines() if line[3:] != "dvc.lock"]
        return commit + (f" with changes in {', '.join(edited)}" if edited else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def _accuracy_rows(params: Params, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    family = {"pptsm": "PP-TSM", "tsm": "TSM"}[params.model.network]
    trunk = {"pptsm": "-vd", "tsm": ""}[params.model.network]
    rows = []
    for role, section in (("teacher", params.teacher), ("student", params.student)):
        if role not in metrics:
            continue
        width = "" if section.width == 1 else f", width {section.width:g}"
        distilled = "no"
        if section.epochs == 0:
            distilled = "as published"  # nothing was trained here
        elif role == "student" and params.student.distillation_weight > 0:
            distilled = "yes"
        rows.append(
            {
                "version": f"{family} {role}" + ("" if params.model.shift else ", shift off"),
                "backbone": f"ResNet{section.depth}{trunk}{width}",
                "distilled": distilled,
                **{sampling: metrics[role][sampling] for sampling in SAMPLINGS},
            }
        )
    return rows


def _published_rows() -> list[dict[str, str]]:
    text = resources.files("pptsm.report").joinpath("published.csv").read_text()
    header, *lines = [line.split(",") for line in text.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def _of(table: pd.DataFrame, role: str, sampling: str) -> pd.DataFrame:
    return table[(table["role"] == role) & (table["sampling"] == sampling)].reset_index(drop=True)


def _matrix(headline: pd.DataFrame, classes: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    counts = pd.crosstab(headline["label"], headline["top1"])
    return counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy(dtype=np.int64)


def _wrong_clips(
    params: Params, headline: pd.DataFrame, index: pd.DataFrame, frames: FrameSource
) -> list[dict[str, Any]]:
    """The surest mistakes first, each with the frames that the network saw."""
    wrong = headline[headline["label"] != headline["top1"]].sort_values(["score1", "id"], ascending=[False, True])
    num_frames = dict(zip(index["id"], index["num_frames"], strict=True))
    clips = []
    for row in wrong.head(params.report.wrong_clips).itertuples():
        indices = evaluation_indices(num_frames[str(row.id)], params.clip, "uniform")
        clips.append(
            {
                "id": row.id,
                "label": row.label,
                "guess": row.top1,
                "score": row.score1,
                "second": getattr(row, "top2", ""),
                "strip": figures.strip(frames.read(str(row.id), indices)),
            }
        )
    return clips


def _speed(history: pd.DataFrame) -> str:
    if history.empty:
        return "not trained"
    return f"{len(history)} epochs, {history['clips_per_sec'].median():.1f} clips/s"
