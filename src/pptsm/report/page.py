"""The accuracy report: everything the stages found, gathered once and written as Markdown and as HTML."""

import json
import re
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from pptsm.data.clips import FrameSource, evaluation_indices
from pptsm.data.spec import clip_spec
from pptsm.data.table import load_index, load_labels
from pptsm.files import sha256_of
from pptsm.model.names import TITLES, TRUNKS
from pptsm.params import Params
from pptsm.report import figures

SAMPLINGS = ("uniform", "dense")
KINETICS_CLASSES = 400  # published figures are of that dataset; others with as many classes are not known
NAMES = dict.fromkeys(("id", "label", "top1", "top2", "top3", "top4", "top5", "role", "sampling", "class"), "str")


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
    # names are words, even "001", "1" and "nan"
    predictions = pd.read_csv(sources.evaluation / "predictions.csv", dtype=NAMES, keep_default_na=False)
    per_class = pd.read_csv(sources.evaluation / "classes.csv", dtype=NAMES, keep_default_na=False)
    headline = _of(predictions, "student", params.sampling)
    histories = {role: pd.read_csv(path) for role, path in sources.histories.items()}
    validation = json.loads(sources.validation.read_text())
    return {
        "title": params.report.title,
        "params": params,
        # without section compute, for which no stage runs again
        "params_text": re.sub(r"(?m)^compute:.*\n(?:[ \t#].*\n)*", "", sources.params.read_text(encoding="utf-8")),
        "classes": classes,
        "rows": _accuracy_rows(params, metrics),
        "published": _published_rows(),
        "on_kinetics": len(classes) == KINETICS_CLASSES,
        "doubts": doubts(metrics, params.sampling, histories),
        "advice": advice(params, metrics, histories.get("student"), validation["facts"]["splits"]["train"]),
        "metrics": metrics,
        "best": metrics["student"][params.sampling],
        "validation": validation,
        "card": json.loads(sources.card.read_text()),
        "curves": figures.training_curves(histories),
        "seconds_hint": {role: _speed(table) for role, table in histories.items()},
        "confusion": figures.confusion(headline["label"].tolist(), headline["top1"].tolist()),
        "bars": figures.class_bars(_of(per_class, "student", params.sampling)),
        "drawn_classes": figures.MOST_CLASSES,
        "wrong": _wrong_clips(params, headline, index, frames),
        "revision": git_revision(),
        "hashes": {
            "index": sha256_of(sources.index),
            "predictions": sha256_of(sources.evaluation / "predictions.csv"),
            "ONNX file": sha256_of(sources.onnx),
        },
    }


def doubts(metrics: dict[str, Any], sampling: str, histories: dict[str, pd.DataFrame]) -> dict[str, str]:
    """What was found of each role that is not above chance in `sampling`, the student first.

    Args:
        metrics: role -> sampling -> figures, as the evaluation wrote them.
        sampling: the one that the roles were trained for.
        histories: role -> a row an epoch.
    """
    found = {}
    for role in sorted(metrics, key=lambda role: role != "student"):
        values = metrics[role][sampling]
        if values["above_chance"]:
            continue
        among = f" in {values['groups']} groups" if values["groups"] < values["videos"] else ""
        text = (
            f"Top-1 is {_percent(values['top1'])} of {values['videos']} videos{among} (95 % interval "
            f"{_percent(values['top1_low_by_group'])} to {_percent(values['top1_high_by_group'])}). Guessing among "
            f"{values['classes']} classes reaches {_percent(1 / values['classes'])}, always naming the largest class "
            f"{_percent(values['largest_class'])}."
        )
        if (train_top1 := _last_train_top1(histories.get(role))) is not None:
            text += f" Of its training videos it recognised {_percent(train_top1)} in its last epoch."
        found[role] = text
    return found


def advice(
    params: Params, metrics: dict[str, Any], student_history: pd.DataFrame | None, train_videos: int
) -> list[str]:
    """What to try first where the student is not above chance, the most promising step first; else nothing.

    A network that knows its training videos by heart lacks videos, any other one lacks training.

    Args:
        params: all parameters.
        metrics: role -> sampling -> figures, as the evaluation wrote them.
        student_history: a row an epoch.
        train_videos: how many videos it was trained on.
    """
    clip, student, values = params.clip, params.student, metrics["student"][params.sampling]
    if values["above_chance"]:
        return []
    labels = (
        "Check the labels by the mistakes on the report's page: are they wrong, and can a person tell the classes "
        f"apart by {student.segments} frames of {clip.test_crop_px} px?"
    )
    train_top1 = _last_train_top1(student_history)
    if train_top1 is None:
        return [
            "Nothing was trained here: check that index.label_file has the classes in the order of the weights, and "
            "that student and clip are those that the weights were trained with (a preset has them).",
            labels,
        ]
    longer = (
        f"Train longer: student.epochs is {student.epochs}, training.clips_per_video {params.training.clips_per_video}."
    )
    more = f"Add videos, above all of other groups: it was trained on {train_videos}."
    steps = []
    if student.start is None:
        steps.append("Start from published weights instead of random ones: student.start, see pptsm weights.")
    if params.training.flip == "none":
        steps.append("Mirror training clips (training.flip: horizontal), unless classes differ by direction.")
    by_heart = train_top1 > (1 + values["chance"]) / 2
    steps = [more, *steps, labels, longer] if by_heart else [longer, *steps, labels, more]
    teacher = metrics.get("teacher", {}).get(params.sampling)
    if student.distillation_weight > 0 and teacher is not None and not teacher["above_chance"]:
        copied = (
            "The teacher is at chance as well, and the student was made to copy it: mend the teacher first, or train "
            "without it (student.distillation_weight: 0)."
        )
        steps = [copied, *steps]
    return steps


def render(template: str, values: dict[str, Any]) -> str:
    """Fill one of the package's templates."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.files("pptsm.report").joinpath(name).read_text("utf-8")),
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
    rows = []
    for role in metrics:
        # a peer of mutual learning has the teacher's network and the student's training
        section = params.student if role == "student" else params.teacher
        epochs = params.teacher.epochs if role == "teacher" else params.student.epochs
        width = "" if section.width == 1 else f", width {section.width:g}"
        distilled = "no"
        if epochs == 0:
            distilled = "as published"  # nothing was trained here
        elif role != "teacher" and params.student.distillation_weight > 0:
            distilled = "yes"
        rows.append(
            {
                "version": f"{TITLES[section.network]} {role}" + ("" if section.shift else ", shift off"),
                "backbone": TRUNKS[section.network].format(depth=section.depth) + width,
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


def _wrong_clips(
    params: Params, headline: pd.DataFrame, index: pd.DataFrame, frames: FrameSource
) -> list[dict[str, Any]]:
    """All mistakes, the surest first; those that are shown have a strip of the frames that the network was given.

    Of several dense clips the strip is the middle one.
    """
    wrong = headline[headline["label"] != headline["top1"]].sort_values(["score1", "id"], ascending=[False, True])
    spec = clip_spec(params.clip, params.student.segments, params.sampling)
    num_frames = dict(zip(index["id"], index["num_frames"], strict=True))
    clips = []
    for place, row in enumerate(wrong.to_dict("records")):
        strip = None
        if place < params.report.wrong_clips:
            indices = evaluation_indices(num_frames[row["id"]], spec, params.sampling)
            middle = (clip_NT := indices.reshape(-1, spec.segments))[len(clip_NT) // 2]
            strip = figures.strip(frames.read(row["id"], middle).pixels)
        clips.append({str(name): value for name, value in row.items()} | {"strip": strip})
    return clips


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _last_train_top1(history: pd.DataFrame | None) -> float | None:
    return None if history is None or history.empty else float(history["train_top1"].iloc[-1])


def _speed(history: pd.DataFrame) -> str:
    if history.empty:
        return "not trained"
    return f"{len(history)} epochs, {history['clips_per_sec'].median():.1f} clips/s"
