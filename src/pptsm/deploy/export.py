"""From a network to an ONNX file that computes the same, or to no file.

One function serves the stage and `pptsm convert`: `export_checked`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pptsm.data.clips import Dataset, EvaluationVideos
from pptsm.data.transforms import ClipArray, normalise
from pptsm.data.views import middle_view
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.deploy.parity import Agreement, compare, latency_ms, require
from pptsm.evaluation.engines import onnx_scorer, open_session, paddle_scorer
from pptsm.model.cost import count_macs, count_parameters
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Export
from pptsm.runtime.console import note
from pptsm.serving.metadata import FILES, ModelMetadata, chance_warning
from pptsm.weights.card import load_network, read_card


def export_checked(
    network: VideoNetwork,
    unchanged: VideoNetwork,
    metadata: ModelMetadata,
    clips: Sequence[ClipArray],
    settings: Export,
    onnx: Path,
    *,
    what: str = "the ONNX file",
    inference: Path | None = None,
) -> Agreement:
    """Write a network as an ONNX file, and compare what ONNX Runtime computes with what Paddle does.

    Args:
        network: is changed by being saved (`save_inference`).
        unchanged: the same network once more, which is compared with the file.
        metadata: what the file says of itself.
        clips: normalised [S, 3, H, W], to compare on.
        settings: section export.
        onnx: the file to write. Where this raises, it is not to be used.
        what: names the file in an error.
        inference: an empty folder that gets Paddle's inference model too; None: nobody does.

    Raises:
        UserError: they do not agree, or there is nothing to compare (`compare`, `require`).
    """
    with tempfile.TemporaryDirectory() as scratch:
        saved = inference or Path(scratch)
        save_inference(network, saved, metadata.clip.shape)
        convert_to_onnx(saved, onnx, settings.opset, metadata.to_properties())
    agreement = compare(paddle_scorer(unchanged), onnx_scorer(open_session(onnx)), clips)
    require(agreement, settings.tolerance, what)
    return agreement


def export_networks(networks: dict[str, Path], data: Dataset, settings: Export, out: Path) -> dict[str, dict[str, Any]]:
    """Export trained networks into a folder, checked on a clip of each video, and measure what they cost.

    Args:
        networks: role -> folder of weights and card.
        data: the videos.
        settings: section export.
        out: an existing folder. The student's Paddle inference model goes into it, too.

    Returns:
        Role -> figures of its file.

    Raises:
        UserError: as `export_checked`.
    """
    return {role: _export(role, folder, data, settings, out) for role, folder in networks.items()}


def _export(role: str, folder: Path, data: Dataset, settings: Export, out: Path) -> dict[str, Any]:
    trained, onnx = read_card(folder), out / FILES[role]
    spec, warning = trained.clip, chance_warning(trained.verdict, role)
    note(f"export: {role}: writing it as ONNX, comparing that with Paddle on {len(data.videos)} clips, timing it")
    inference = None
    if role == "student":
        inference = out / "inference"
        inference.mkdir()
    network, model = load_network(folder), load_network(folder)
    views = EvaluationVideos(data.videos, data.source, spec, spec.sampling)
    clips = [middle_view(normalise(views[number][0]), spec.segments) for number in range(len(views))]
    metadata = ModelMetadata(data.classes, spec, trained.revision, warning)
    what = f"the ONNX file of the {role}"
    agreement = export_checked(network, model, metadata, clips, settings, onnx, what=what, inference=inference)
    num_classes = int(data.videos["label_index"].nunique())
    found = f"agrees to {agreement.max_relative_difference:.2g} on {agreement.clips} clips of {num_classes} classes"
    note(f"export: {role}: ONNX Runtime {found}")
    if warning:
        note(f"export: the file of the {role} carries a warning: {warning}")
    model.fuse()  # only now: the comparison was with the network as it was trained
    return {
        "agreement": asdict(agreement) | {"classes": num_classes},
        "parameters": count_parameters(model),
        "macs_per_view": count_macs(model, spec.shape),
        "onnx_bytes": onnx.stat().st_size,
        "latency_ms_per_view": round(latency_ms(onnx, clips[0], settings.latency_runs), 3),
        "revision": metadata.revision,
        "computed_with": trained.computed_with,
    }
