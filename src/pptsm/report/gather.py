"""Everything the stages found, gathered once for the pages of the report.

What a network is, how it was trained and what it sees stands in its card, what was scored in the figures. params.yaml
may have changed since: it gives the title, the headline's sampling, how many mistakes are shown, and is shown itself.
"""

import csv
import math
import subprocess
from collections import defaultdict
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from pptsm.data.clips import FrameSource
from pptsm.data.predictions import COLUMNS as OF_PREDICTIONS
from pptsm.data.predictions import TYPES as PREDICTIONS
from pptsm.data.predictions import of_network, read_predictions
from pptsm.data.spec import ClipSpec
from pptsm.data.table import load_index, load_labels, read_table
from pptsm.data.views import evaluation_indices
from pptsm.params.choices import TITLES, TRUNKS, Sampling
from pptsm.params.schema import Params
from pptsm.report import clips, confusion, figures, networks, why
from pptsm.report.advice import sampling_gap, verdicts
from pptsm.report.dataset import by_class_and_split, by_split
from pptsm.report.inputs import (
    Calibrated,
    CardOf,
    Explanations,
    Exported,
    FramesValidation,
    OtherNetwork,
    Runtimes,
    Validation,
    read_json,
    read_metrics,
)
from pptsm.report.page import style
from pptsm.report.settings import settings
from pptsm.runtime.errors import unusable
from pptsm.runtime.files import sha256_of
from pptsm.video.types import Size

SAMPLINGS = ("uniform", "dense")
WIDE: Size = (1920, 1080)  # a picture of 16:9
KINETICS_CLASSES = 400  # published figures are of that dataset; others with as many classes are not known
NAMES = dict.fromkeys(("role", "sampling", "class"), "str")  # names are words, even "001", "1" and "nan"
TYPES = defaultdict(lambda: "float64", NAMES | {"videos": "int64", "epoch": "int64"})  # of the other tables' columns
EPOCHS = ("epoch", "lr", "loss", "train_top1", "clips_per_sec", "wait_share")  # columns that a history must have


@dataclass(frozen=True)
class Sources:
    """Files of the stages before."""

    params: Path
    index: Path
    labels: Path
    networks: list[Path]  # folders of the training stages; what is in them says which role it has
    validation: Path  # JSON
    frames_validation: Path  # JSON
    evaluation: Path  # folder
    card: Path  # JSON of the export
    onnx: Path
    histories: dict[str, Path]  # role -> CSV
    runtimes: Path | None = None  # JSON of stage quantize; None: nothing is said of it
    explanations: Path | None = None  # JSON of stage explanations; None: as before
    also: Path | None = None  # folder of stage evaluate_also; None: there are no others


def gather(params: Params, sources: Sources, frames: FrameSource) -> dict[str, Any]:
    """All that the templates show, by name.

    Raises:
        UserError: a file is missing or damaged.
    """
    index = load_index(sources.index)
    classes = load_labels(sources.labels, index)
    metrics = read_metrics(sources.evaluation / "metrics.json", params.sampling)
    per_class = read_table(
        sources.evaluation / "classes.csv",
        "the accuracy by class",
        "evaluate",
        ("class", "videos", "accuracy", "role", "sampling"),
        TYPES,
        keep_default_na=False,
    )
    cards = _cards(sources.networks)
    clip = ClipSpec.model_validate(cards["student"]["clip"])
    predictions = read_predictions(sources.evaluation / "predictions.csv")
    headline = of_network(predictions, "student", params.sampling)
    histories = {role: read_table(path, "the epochs", role, EPOCHS, TYPES) for role, path in sources.histories.items()}
    evaluated = index[index["id"].isin(headline["id"])]
    split = evaluated["split"].iloc[0] if len(evaluated) else params.evaluate.split
    validation = read_json(sources.validation, "the validation's result", "validate", TypeAdapter(Validation))
    checked_frames = read_json(
        sources.frames_validation, "the frames' validation", "validate_frames", TypeAdapter(FramesValidation)
    )
    if not sources.onnx.is_file():
        raise unusable("the exported file", sources.onnx, "there is no such file", "export")
    explained: dict[str, Any] | None = None
    if sources.explanations:
        explained = read_json(sources.explanations, "the explanations", "explanations", TypeAdapter(Explanations))
    counts = confusion.counts(headline)
    classes_found = confusion.by_class(of_network(per_class, "student", params.sampling), counts)
    card = read_json(sources.card, "the export's figures", "export", TypeAdapter(Exported))
    on_kinetics = len(classes) == KINETICS_CLASSES
    own = _own_networks(cards, metrics, predictions, card, params.sampling)
    asked = [*own, *_other_networks(sources.also, headline)]
    groups = dict(zip(index["id"], index["group"], strict=True))
    compared = networks.compare(asked, groups, of_kinetics=on_kinetics and split == "val")
    agree = networks.agreement(asked)
    return {
        "title": params.report.title,
        "style": style(),
        "params": params,
        "settings": settings(sources.params),
        "classes": classes,
        "cards": cards,
        "backbone": backbone,
        "clip": clip,
        "views": {sampling: words for sampling, words in _views(clip).items() if sampling in metrics["student"]},
        "rows": _accuracy_rows(cards, metrics),
        "published": _published_rows(),
        "on_kinetics": on_kinetics,
        "compared": compared,
        "agreement": agree.tolist(),
        "networks_table": networks.table(compared, agree),
        "reliability": figures.reliability({one.name: one.bins for one in compared}),
        "verdicts": verdicts(metrics, params.sampling, split, cards),
        "split": split,
        "seen": {sampling: clips.seen(clip, sampling, WIDE) for sampling in metrics["student"]},
        "gap": sampling_gap(metrics["student"], clip.sampling),
        "taught_by": _taught_by(cards),
        "kept": {role: words for role, card in cards.items() if (words := _kept(card))},
        "metrics": metrics,
        "runtimes": sources.runtimes and read_json(sources.runtimes, "the runtimes", "quantize", TypeAdapter(Runtimes)),
        "calibrated": read_json(
            sources.evaluation / "calibration.json", "the calibration", "evaluate", TypeAdapter(Calibrated)
        ),
        "best": metrics["student"][params.sampling],  # the headline
        "validation": validation,
        "checked_frames": checked_frames,
        "card": card,
        "looks": _looks(clip, list(metrics["student"]), evaluated if len(headline) else index),
        "curves": figures.training_curves(histories),
        "histories": {role: table.to_dict("records") for role, table in histories.items() if len(table)},
        "seconds_hint": {role: _speed(table, cards.get(role, {})) for role, table in histories.items() if len(table)},
        "counts": counts,
        "by_class": classes_found.to_dict("records"),
        "bars": figures.class_bars(classes_found),
        "drawn_classes": figures.MOST_CLASSES,
        "time": explained and why.of_time(explained),
        **_shown_clips(params, headline, counts, explained, clips.Strips(clip, params.sampling, evaluated, frames)),
        "splits": by_split(index),
        "class_splits": by_class_and_split(index),
        "revision": git_revision(),
        "hashes": {
            "index": sha256_of(sources.index),
            "predictions": sha256_of(sources.evaluation / "predictions.csv"),
            "ONNX file": sha256_of(sources.onnx),
        },
    }


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


def _cards(networks: list[Path]) -> dict[str, dict[str, Any]]:
    """Role -> card, of all networks in these folders and below."""
    files = [file for folder in networks for file in sorted({folder / "card.json", *folder.rglob("card.json")})]
    cards = [read_json(file, "the card of a network", "student", TypeAdapter(CardOf)) for file in files]
    return {card["role"]: card for card in cards}


def _views(clip: ClipSpec) -> dict[str, str]:
    """Sampling -> how often evaluation looks at a video, in words."""
    return {
        sampling: f"{clips} {'clip' if clips == 1 else 'clips'} x {crops} {'crop' if crops == 1 else 'crops'}"
        for sampling, (clips, crops) in clip.views.items()
    }


def backbone(network: dict[str, Any]) -> str:
    """A card's trunk in words."""
    width = "" if network["width"] == 1 else f", width {network['width']:g}"
    return TRUNKS[network["network"]].format(depth=network["depth"]) + width


def _accuracy_rows(cards: dict[str, Any], metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each role that was scored; a sampling that was not is None."""
    rows = []
    for role, samplings in metrics.items():
        card, network = cards[role], cards[role]["network"]
        taught = "yes" if card["distilled"] else "no"
        rows.append(
            {
                "version": f"{TITLES[network['network']]} {role}" + ("" if network["shift"] else ", shift off"),
                "backbone": backbone(network),
                "distilled": taught if card["epochs"] else "not trained here",
                **{sampling: samplings.get(sampling) for sampling in SAMPLINGS},
            }
        )
    return rows


def _own_networks(
    cards: dict[str, Any],
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    card: dict[str, Any],
    sampling: Sampling,
) -> list[networks.Answers]:
    """The networks of this run that were scored by the headline's sampling; the student's first."""
    found = []
    for role in sorted(metrics, key=lambda role: role != "student"):
        asked = of_network(predictions, role, sampling)
        if sampling not in metrics[role] or asked.empty:
            continue
        network, clip = cards[role]["network"], ClipSpec.model_validate(cards[role]["clip"])
        exported = card if role == "student" else card.get(role, {})
        found.append(
            networks.Answers(
                name=role,
                what=f"{TITLES[network['network']]}, {backbone(network)}",
                sampling=sampling,
                views=math.prod(clip.views[sampling]),
                metrics=metrics[role][sampling],
                predictions=asked,
                latency_ms_per_view=exported.get("latency_ms_per_view"),
                onnx_bytes=exported.get("onnx_bytes"),
            )
        )
    student = found[0].predictions
    return [replace(one, predictions=networks.same_videos(student, one.predictions, "evaluate")) for one in found]


def _other_networks(folder: Path | None, headline: pd.DataFrame) -> list[networks.Answers]:
    """The networks of evaluate.also."""
    what, stage = "the figures of other networks", "evaluate_also"
    rows = [] if folder is None else read_json(folder / "networks.json", what, stage, TypeAdapter(list[OtherNetwork]))
    if folder is None or not rows:
        return []
    what = "the predictions of other networks"
    asked = read_table(folder / "predictions.csv", what, stage, OF_PREDICTIONS, PREDICTIONS, keep_default_na=False)
    found = []
    for row in rows:
        network = row["network"]
        words = f"{TITLES[network['network']]}, {backbone(network)}" if network else f"exported file, {row['revision']}"
        own = asked[asked["role"] == row["name"]]
        found.append(
            networks.Answers(
                name=row["name"],
                what=words,
                sampling=row["sampling"],
                views=row["views"],
                metrics=row["metrics"],
                predictions=networks.same_videos(headline, own, stage),
                latency_ms_per_view=row["latency_ms_per_view"],
                onnx_bytes=row["onnx_bytes"],
                published=row["published"],
                published_top1=row["published_top1"],
                restricted_from=row["classes_of_its_own"] if row["restricted"] else None,
            )
        )
    return found


def _published_rows() -> list[dict[str, str]]:
    return list(
        csv.DictReader(resources.files("pptsm.report").joinpath("published.csv").read_text("utf-8").splitlines())
    )


def _shown_clips(
    params: Params,
    headline: pd.DataFrame,
    counts: pd.DataFrame,
    explained: dict[str, Any] | None,
    strips: clips.Strips,
) -> dict[str, Any]:
    """The confusion with its clips, mistakes, what was nearly wrong, and labels to look at."""
    cells = confusion.cells(counts)
    opened = clips.of_cells(cells, headline, strips)
    suspects = clips.suspects(headline).head(clips.SUSPECTS)
    suspects = suspects[suspects["answer"] != suspects["label"]]
    return {
        "matrix": confusion.matrix(cells),
        "opened": opened,
        "anchors": {(of["cell"].actual, of["cell"].predicted): of["cell"].anchor for of in opened},
        "wrong": why.with_reasons(clips.mistakes(headline, params.report.wrong_clips, strips), explained),
        "nearly_wrong": clips.nearly_wrong(headline, strips),
        "suspects": suspects.to_dict("records"),
    }


def _looks(clip: ClipSpec, samplings: list[str], videos: pd.DataFrame) -> dict[str, Any]:
    """Which frames evaluation takes of a video of median length: its frames, and sampling -> clips -> indices."""
    count = int(videos["num_frames"].median())
    rows = {
        sampling: evaluation_indices(count, clip, sampling).reshape(-1, clip.segments).tolist()  # type: ignore[arg-type]
        for sampling in samplings
    }
    return {"frames": count, "rows": rows}


def _taught_by(cards: dict[str, Any]) -> str:
    """The network that the student learned from or with, and how."""
    other = "peer" if "peer" in cards else "teacher"
    words = f"{other} {backbone(cards[other]['network'])}" if other in cards else "another network"
    how = cards["student"].get("distillation")  # older cards do not say
    if not how:
        return words
    temperature = "" if how["distillation"] == "mutual" else f", temperature {how['temperature']:g}"
    return f"{words} ({how['distillation']}, weight {how['distillation_weight']:g}{temperature})"


def _kept(card: dict[str, Any]) -> str | None:
    """Which epoch's weights a trained network has, and whether validation chose it."""
    if not card["epochs"] or card.get("kept_epoch") is None:
        return None
    chose = (card.get("verdict") or {}).get("compared", 1) > 1
    words = f"weights of epoch {card['kept_epoch']} of {card['epochs']}"
    return f"{words}, which validation chose" if chose else words


def _speed(history: pd.DataFrame, card: dict[str, Any]) -> str:
    rate, waited = history["clips_per_sec"].median(), history["wait_share"].median()
    steps = f" of steps of {clips} clips" if (clips := card.get("clips_per_step")) else ""
    return f"{len(history)} epochs{steps}, {rate:.1f} clips/s, {waited:.0%} of the time waiting for clips"
