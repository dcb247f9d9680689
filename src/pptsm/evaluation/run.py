"""Networks and samplings, scored on every video of a split, as figures and tables."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.data.clips import Dataset, EvaluationVideos
from pptsm.data.spec import ClipSpec
from pptsm.data.table import write_csv
from pptsm.distributed.device import use_device
from pptsm.distributed.launcher import launch
from pptsm.distributed.ranks import Ranks
from pptsm.evaluation.engines import choose_engine, onnx_pixel_scorer, open_session, paddle_pixel_scorer
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import gain_over
from pptsm.evaluation.tables import class_rows, in_words, metric_values, prediction_rows
from pptsm.params.choices import Sampling
from pptsm.params.schema import Params
from pptsm.runtime.console import note
from pptsm.runtime.cores import loader_processes
from pptsm.weights.card import load_network, read_card


@dataclass(frozen=True)
class Candidate:
    """A network that is evaluated."""

    role: str
    folder: Path  # weights and card
    onnx: Path  # what was exported of it
    spec: ClipSpec  # of its clips


@dataclass(frozen=True)
class Evaluated:
    """What was found."""

    metrics: dict[str, dict[str, dict[str, Any]]]  # role -> sampling -> figures
    predictions: pd.DataFrame  # one row per role, sampling and video
    classes: pd.DataFrame  # one row per role, sampling and class that has videos

    def predictions_of(self, role: str, sampling: str) -> pd.DataFrame:
        """The rows of one role and sampling."""
        table = self.predictions
        return table[(table["role"] == role) & (table["sampling"] == sampling)]

    def write(self, folder: Path, sampling: Sampling) -> None:
        """Write figures and tables into a folder; the confusion table is the student's by this sampling."""
        metrics = json.dumps(self.metrics, indent=2, allow_nan=False)
        (folder / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        write_csv(self.predictions, folder / "predictions.csv")
        write_csv(self.classes, folder / "classes.csv")
        headline = self.predictions_of("student", sampling)
        write_csv(headline[["label", "top1"]].set_axis(["actual", "predicted"], axis=1), folder / "confusion.csv")


def evaluate(candidates: list[Candidate], data: Dataset, params: Params) -> Evaluated | None:
    """Score each network by each of `evaluate.samplings`, in as many processes as `compute.devices` asks for.

    Returns:
        What was found, with the student's gain over the baseline where there are both and the student was distilled;
        None in a process that was launched as another rank than the first.

    Raises:
        UserError: as `use_device`, `launch` and `score_videos`.
    """
    device = use_device(params.compute.device, params.compute.devices)
    engine = choose_engine(params.evaluate.engine, device)
    most = len(data.videos) if engine == "paddle" else 1  # ONNX Runtime takes all cores by itself
    evaluated = launch(score_networks, (candidates, data, params, device), params.compute, most=most, what="evaluate")
    if evaluated is not None:
        _add_gain(evaluated, candidates, data)
    return evaluated


def score_networks(candidates: list[Candidate], data: Dataset, params: Params, device: str, ranks: Ranks) -> Evaluated:
    """Score each network by each sampling, among the ranks that all call this; each of them gets all that is found."""
    engine = choose_engine(params.evaluate.engine, device)
    groups = data.videos["group"].tolist()
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    predictions, per_class = [], []
    for network in candidates:
        role = network.role
        if engine == "onnx":
            score = onnx_pixel_scorer(open_session(network.onnx, device))
        else:
            score = paddle_pixel_scorer(load_network(network.folder))
        metrics[role] = {}
        verdict = read_card(network.folder).verdict or {}
        chose = verdict.get("split") == params.evaluate.split  # these videos chose the epoch
        compared = int(verdict.get("compared", 1)) if chose else 1
        note(f"evaluate: {role}: scoring {len(data.videos)} videos with {engine}")
        for sampling in params.evaluate.samplings:
            logits_NK, truth_N = score_videos(
                score,
                EvaluationVideos(data.videos, data.source, network.spec, sampling),
                batch_views=params.compute.batch_views,
                workers=loader_processes(params.compute.workers),
                what=f"{role}, {sampling}",
                ranks=ranks,
            )
            values = metrics[role][sampling] = metric_values(logits_NK, truth_N, groups, compared)
            note(f"evaluate: {role}, {sampling}: {in_words(values)}")
            which = {"role": role, "sampling": sampling}
            predictions.append(prediction_rows(data.videos, logits_NK, data.classes).assign(**which))
            per_class.append(class_rows(logits_NK, truth_N, data.classes).assign(**which))
    return Evaluated(metrics, pd.concat(predictions), pd.concat(per_class))


def _add_gain(evaluated: Evaluated, candidates: list[Candidate], data: Dataset) -> None:
    """Add to the student's figures what distillation brought, where a plain student was trained to see it."""
    folders = {network.role: network.folder for network in candidates}
    if "baseline" not in folders or not read_card(folders["student"]).distilled:
        return
    for sampling, values in evaluated.metrics["student"].items():
        rows = [evaluated.predictions_of(role, sampling) for role in ("student", "baseline")]
        right, plain = (row["top1"].eq(row["label"]).to_numpy() for row in rows)
        gain = gain_over(right, plain, data.videos["group"].tolist())
        values.update(asdict(gain))
        note(f"evaluate: distilled against plain student, {sampling}: {gain.in_words()}")
