"""Networks and samplings, scored on every video of a split, as figures and tables."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.data.clips import Dataset, EvaluationVideos, FrameSource
from pptsm.data.spec import ClipSpec
from pptsm.data.table import in_split, spread_over_classes, write_csv
from pptsm.distributed.device import use_device
from pptsm.distributed.launcher import launch
from pptsm.distributed.ranks import Ranks
from pptsm.evaluation.calibrate import Scored, calibrate, reached
from pptsm.evaluation.calibration import Calibration
from pptsm.evaluation.engines import PixelScorer, choose_engine, onnx_pixel_scorer, open_session, paddle_pixel_scorer
from pptsm.evaluation.outliers import FEWEST_OF_A_CLASS, MOST_CLASSES, VIDEOS_OF_A_CLASS
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import gain_over
from pptsm.evaluation.tables import class_rows, in_words, metric_values, prediction_rows
from pptsm.params.choices import Sampling
from pptsm.params.schema import Params
from pptsm.runtime.console import note
from pptsm.runtime.cores import loader_processes
from pptsm.runtime.errors import UserError
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
    calibration: dict[str, Any]  # the student's: what its file is to carry of it, and what it reaches; or why not

    def predictions_of(self, role: str, sampling: str) -> pd.DataFrame:
        """The rows of one role and sampling."""
        table = self.predictions
        return table[(table["role"] == role) & (table["sampling"] == sampling)]

    def write(self, folder: Path, sampling: Sampling) -> None:
        """Write figures and tables into a folder; the confusion table is the student's by this sampling."""
        metrics = json.dumps(self.metrics, indent=2, allow_nan=False)
        (folder / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        calibration = json.dumps(self.calibration, indent=2, allow_nan=False)
        (folder / "calibration.json").write_text(calibration + "\n", encoding="utf-8")
        write_csv(self.predictions, folder / "predictions.csv")
        write_csv(self.classes, folder / "classes.csv")
        headline = self.predictions_of("student", sampling)
        write_csv(headline[["label", "top1"]].set_axis(["actual", "predicted"], axis=1), folder / "confusion.csv")


@dataclass(frozen=True)
class CalibrationData:
    """Videos that say how far the student's answers can be trusted, none of which is evaluated."""

    val: Dataset | None
    train: Dataset | None  # the same number of each class; None: there are none, or they would not be used
    reason: str | None = None  # why there are no validation videos


def calibration_data(index: pd.DataFrame, classes: list[str], source: FrameSource, evaluated: str) -> CalibrationData:
    """The videos of an index by which the student is calibrated.

    Args:
        index: all rows.
        classes: names of the classes.
        source: of frames.
        evaluated: the split that is evaluated.
    """
    val, train = in_split(index, "val"), in_split(index, "train")
    if evaluated == "val":
        return CalibrationData(None, None, "the validation videos are those that are evaluated")
    if val.empty:
        return CalibrationData(None, None, "there is no validation split (index.val_share)")
    few = spread_over_classes(train, VIDEOS_OF_A_CLASS * len(classes))
    few = few[few.groupby("label_index").cumcount() < VIDEOS_OF_A_CLASS].reset_index(drop=True)
    usable = few["label_index"].value_counts().reindex(range(len(classes)), fill_value=0).min() >= FEWEST_OF_A_CLASS
    wanted = usable and len(classes) <= MOST_CLASSES
    return CalibrationData(Dataset(val, classes, source), Dataset(few, classes, source) if wanted else None)


def evaluate(
    candidates: list[Candidate], data: Dataset, calibrating: CalibrationData, params: Params
) -> Evaluated | None:
    """Score each network by each of `evaluate.samplings`, in as many processes as `compute.devices` asks for.

    Returns:
        What was found, with the student's gain over the baseline where there are both and the student was distilled;
        None in a process that was launched as another rank than the first.

    Raises:
        UserError: a temperature is asked for, and there are no videos to fit it on; or as `use_device`, `launch` and
            `score_videos`.
    """
    if params.evaluate.temperature and calibrating.val is None:
        raise UserError(
            f"evaluate.temperature is true, but it is fitted on validation videos, and {calibrating.reason}. Nothing "
            "was scored. Set it to false, or hold out validation videos."
        )
    device = use_device(params.compute.device, params.compute.devices)
    engine = choose_engine(params.evaluate.engine, device)
    most = len(data.videos) if engine == "paddle" else 1  # ONNX Runtime takes all cores by itself
    evaluated = launch(
        score_networks, (candidates, data, calibrating, params, device), params.compute, most=most, what="evaluate"
    )
    if evaluated is not None:
        _add_gain(evaluated, candidates, data)
    return evaluated


def score_networks(
    candidates: list[Candidate],
    data: Dataset,
    calibrating: CalibrationData,
    params: Params,
    device: str,
    ranks: Ranks,
) -> Evaluated:
    """Score each network by each sampling, among the ranks that all call this; each of them gets all that is found."""
    engine = choose_engine(params.evaluate.engine, device)
    groups = data.videos["group"].tolist()
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    predictions, per_class = [], []
    calibration: dict[str, Any] = {}
    for network in candidates:
        role = network.role
        if engine == "onnx":
            score = onnx_pixel_scorer(open_session(network.onnx, device))
        else:
            score = paddle_pixel_scorer(load_network(network.folder))
        metrics[role] = {}
        verdict = read_card(network.folder).verdict or {}
        compared = int(verdict.get("compared", 1))  # epochs among which the videos of its split chose
        note(f"evaluate: {role}: scoring {len(data.videos)} videos with {engine}")
        for sampling in params.evaluate.samplings:
            found = _scored(score, network, data, sampling, params, ranks)
            if (role, sampling) == ("student", params.sampling):
                chose_it = verdict.get("split") == "val" and compared > 1
                made, calibration = _calibrated(score, network, found, calibrating, chose_it, params, ranks)
                if made is not None:  # what is measured is what is served: the package answers so
                    found = found._replace(logits_NK=made.softened(found.logits_NK))
            chose = verdict.get("split") == params.evaluate.split
            values = metric_values(found.logits_NK, found.labels_N, groups, compared if chose else 1)
            metrics[role][sampling] = values
            note(f"evaluate: {role}, {sampling}: {in_words(values)}")
            which = {"role": role, "sampling": sampling}
            predictions.append(prediction_rows(data.videos, found.logits_NK, data.classes).assign(**which))
            per_class.append(class_rows(found.logits_NK, found.labels_N, data.classes).assign(**which))
    return Evaluated(metrics, pd.concat(predictions), pd.concat(per_class), calibration)


def _scored(
    score: PixelScorer, network: Candidate, data: Dataset, sampling: Sampling, params: Params, ranks: Ranks
) -> Scored:
    logits_NK, truth_N = score_videos(
        score,
        EvaluationVideos(data.videos, data.source, network.spec, sampling),
        batch_views=params.compute.batch_views,
        workers=loader_processes(params.compute.workers),
        what=f"{network.role}, {sampling}",
        ranks=ranks,
    )
    return Scored(logits_NK, truth_N, data.videos["group"].tolist())


def _calibrated(
    score: PixelScorer,
    network: Candidate,
    evaluated: Scored,
    calibrating: CalibrationData,
    chose: bool,
    params: Params,
    ranks: Ranks,
) -> tuple[Calibration | None, dict[str, Any]]:
    """The student's calibration, and what calibration.json has of it: what it reaches, or why there is none."""
    if calibrating.val is None:
        note(f"evaluate: no calibration: {calibrating.reason}")
        return None, {"calibration": None, "reason": calibrating.reason, "reached": None}
    sampling = params.sampling
    few = calibrating.train
    note(
        f"evaluate: calibrating the {network.role} by {len(calibrating.val.videos)} validation videos"
        + (f" and {len(few.videos)} training videos" if few else "")
    )
    val = _scored(score, network, calibrating.val, sampling, params, ranks)
    train = None if few is None else _scored(score, network, few, sampling, params, ranks)
    made = calibrate(val, train, sampling, chose, temperature=params.evaluate.temperature)
    found = reached(made, evaluated)
    if (softening := found.get("temperature")) is not None:
        note(
            f"evaluate: temperature {softening['temperature']:.4g}: calibration error "
            f"{softening['calibration_error_without']:.2%} without it, {softening['calibration_error']:.2%} with it"
        )
    return made, {"calibration": json.loads(made.to_json()), "reason": None, "reached": found}


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
