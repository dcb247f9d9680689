"""Networks from elsewhere, scored on the videos of the evaluation, each by the protocol that it carries.

What was scored is kept under a key of all that decides it (`state_dir`), so that one more network costs its own time
alone, and a run that was stopped goes on with the network at which it was.
"""

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.data.clips import Dataset, EvaluationVideos
from pptsm.data.predictions import TYPES
from pptsm.data.spec import ClipSpec
from pptsm.data.table import read_csv, spread_over_classes, write_csv
from pptsm.data.transforms import ClipArray, normalise
from pptsm.data.views import middle_view
from pptsm.deploy.export import export_checked
from pptsm.deploy.named import KEY, Named
from pptsm.deploy.parity import latency_ms
from pptsm.deploy.published import load_published
from pptsm.distributed.device import use_device
from pptsm.evaluation.engines import PixelScorer, choose_engine, onnx_pixel_scorer, open_session, paddle_pixel_scorer
from pptsm.evaluation.label_match import ClassMatch, match_classes
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.tables import in_words, metric_values, prediction_rows
from pptsm.model.network import VideoNetwork
from pptsm.params.network import NetworkArguments
from pptsm.params.schema import Params
from pptsm.runtime.console import note
from pptsm.runtime.cores import loader_processes
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_folder, sha256_of, state_dir
from pptsm.serving.metadata import ModelMetadata
from pptsm.weights.card import load_network, read_card

FIGURES, PREDICTIONS = "networks.json", "predictions.csv"
PUBLISHED = re.compile(r"Kinetics-400 top-1 ([\d.]+) %")
DECIDES = ["id", "label", "label_index", "group", "first_frame", "num_frames", "sha256"]  # of the rows that are scored


@dataclass(frozen=True)
class Other:
    """A network from elsewhere, looked into."""

    named: Named
    folder: Path  # its files
    labels: list[str]  # in the order of its logits
    clip: ClipSpec
    revision: str
    network: dict[str, Any] | None  # kind, depth, width; an exported file does not say them

    @property
    def file(self) -> Path:
        """The exported file, or the weights."""
        return self.folder / self.named.file

    def build(self) -> VideoNetwork:
        """The network itself; an exported file has none."""
        if self.named.described is None:
            return load_network(self.folder)
        described = NetworkArguments.model_validate(self.named.described["network"])
        return load_published(self.file, described, self.clip.input, len(self.labels), "its dataset")[0]


def look_into(named: Named, links: Path) -> Other:
    """What a network says of itself, or what is known of it.

    Raises:
        UserError: naming the network: it cannot be read, or says too little.
    """
    folder = links / named.folder
    try:
        if named.kind == "onnx":
            said = ModelMetadata.of_file(folder / named.file)
            return Other(named, folder, said.labels, said.clip, said.revision, None)
        if named.kind == "card":
            card = read_card(folder)
            network = card.network.model_dump()
            return Other(named, folder, card.classes, card.clip, card.revision, network)
        assert named.described is not None
        clip = ClipSpec.model_validate(named.described["clip"])
        revision = f"weights-{sha256_of(folder / named.file)[:16]}"
        return Other(named, folder, named.described["labels"], clip, revision, named.described["network"])
    except UserError as error:
        raise UserError(f"{KEY}: {named.name} cannot be scored: {error}") from None


def score_others(networks: list[Named], links: Path, data: Dataset, params: Params, code: str, out: Path) -> None:
    """Score networks and write their figures and predictions into an existing folder.

    Args:
        networks: of the list.
        links: the folder of their files.
        data: the videos.
        params: all parameters.
        code: names the code that scores.
        out: gets `networks.json` and `predictions.csv`.

    Raises:
        UserError: naming the network, and before any is scored: it cannot be read, does not know the dataset's classes,
            or would not see the pixels of its protocol; or as `export_checked` and `score_videos`.
    """
    others = [look_into(named, links) for named in networks]
    matches = [match_classes(data.classes, other.labels, other.named.name) for other in others]
    for other in others:
        _require_pixels(other, params, data.videos)
    figures, predictions = [], []
    for other, match in zip(others, matches, strict=True):
        found, rows = _kept_or_scored(other, match, data, params, code)
        figures.append(found)
        predictions.append(rows.assign(role=other.named.name, sampling=other.clip.sampling))
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False)
    (out / FIGURES).write_text(text + "\n", encoding="utf-8")
    write_csv(pd.concat(predictions) if predictions else pd.DataFrame(columns=["id", "role"]), out / PREDICTIONS)


def _require_pixels(other: Other, params: Params, videos: pd.DataFrame) -> None:
    """Frames that were kept smaller than a network resizes them to are not what its protocol sees."""
    kept, needed = params.frames.short_side_px, other.clip.resize_px
    if params.frames.source == "video" or kept is None or kept >= needed:
        return
    shrunk = int((videos[["width", "height"]].min(axis=1) > kept).sum())
    if shrunk:
        raise UserError(
            f"{KEY}: {other.named.name} looks at frames with a short side of {needed} px, but frames.short_side_px "
            f"({kept}) has shrunk those of {shrunk} videos. Nothing was scored. Set it to {needed} or more, to null, "
            "or frames.source to video."
        )


def _kept_or_scored(
    other: Other, match: ClassMatch, data: Dataset, params: Params, code: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    place = state_dir("also") / _key(other, match, data, params, code)
    if not place.is_dir():
        device = use_device(params.compute.device, params.compute.devices)
        with atomic_folder(place) as folder:
            found, rows = _scored(other, match, data, params, device)
            (folder / FIGURES).write_text(json.dumps(found, allow_nan=False) + "\n", encoding="utf-8")
            write_csv(rows, folder / PREDICTIONS)
    else:
        note(f"evaluate_also: {other.named.name}: scored before, with the same videos, clip and code")
    rows = read_csv((place / PREDICTIONS).read_bytes(), TYPES, keep_default_na=False)
    found = json.loads((place / FIGURES).read_text(encoding="utf-8"))
    named = {"name": other.named.name, "published": other.named.published}
    return named | found, rows


def _key(other: Other, match: ClassMatch, data: Dataset, params: Params, code: str) -> str:
    """A name for all that decides a network's figures."""
    decides = [
        other.named.kind,
        sha256_of(other.file),
        other.clip.model_dump_json(),
        other.labels,
        other.network,
        match.columns,
        data.classes,
        data.videos[DECIDES].to_csv(),
        params.frames.model_dump(),
        params.export.model_dump(),
        params.evaluate.engine,
        params.compute.device,
        code,
    ]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def _scored(
    other: Other, match: ClassMatch, data: Dataset, params: Params, device: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    name, clip = other.named.name, other.clip
    engine = choose_engine(params.evaluate.engine, device)
    videos = EvaluationVideos(data.videos, data.source, clip, clip.sampling)
    with tempfile.TemporaryDirectory() as scratch:
        onnx = other.file
        score: PixelScorer | None = None
        clips = _clips(other, data, params.export.check_clips if other.named.kind != "onnx" else 1)
        if other.named.kind != "onnx":
            onnx = Path(scratch) / "model.onnx"
            note(f"evaluate_also: {name}: writing it as ONNX, comparing that with Paddle on {len(clips)} clips")
            use_device("cpu")  # the comparison must not mix in a GPU's rounding
            metadata = ModelMetadata(other.labels, clip, other.revision)
            export_checked(
                other.build(), other.build(), metadata, clips, params.export, onnx, what=f"the file of {name}"
            )
            if engine == "paddle":
                use_device(params.compute.device, params.compute.devices)
                score = paddle_pixel_scorer(other.build())
        score = score or onnx_pixel_scorer(open_session(onnx, device))
        note(f"evaluate_also: {name}: scoring {len(data.videos)} videos by {clip.sampling} sampling")
        logits_NL, labels_N = score_videos(
            score,
            videos,
            batch_views=params.compute.batch_views,
            workers=loader_processes(params.compute.workers),
            what=name,
        )
        latency = round(latency_ms(onnx, clips[0], params.export.latency_runs), 3)
        size = onnx.stat().st_size
    logits_NK = logits_NL[:, match.columns]
    values = metric_values(logits_NK, labels_N, data.videos["group"].tolist())
    among = f", restricted to {len(match.columns)} of its {match.of} classes" if match.restricted else ""
    note(f"evaluate_also: {name}: {in_words(values)}{among}")
    views, crops = clip.views[clip.sampling]
    published = PUBLISHED.match(other.named.published or "")
    found = {
        "kind": other.named.kind,
        "revision": other.revision,
        "network": other.network,
        "clip": json.loads(clip.model_dump_json()),
        "sampling": clip.sampling,
        "views": views * crops,
        "classes_of_its_own": match.of,
        "restricted": match.restricted,
        "published_top1": round(float(published[1]) / 100, 6) if published else None,
        "latency_ms_per_view": latency,
        "onnx_bytes": size,
        "metrics": values,
    }
    return found, prediction_rows(data.videos, logits_NK, data.classes)


def _clips(other: Other, data: Dataset, most: int) -> list[ClipArray]:
    """A clip of each of some videos, as the network takes them: float32 [S, 3, H, W]."""
    some = spread_over_classes(data.videos, most)
    views = EvaluationVideos(some, data.source, other.clip, other.clip.sampling)
    return [middle_view(normalise(views[number][0]), other.clip.segments) for number in range(len(views))]
