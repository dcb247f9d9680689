"""Stage `export`: the student as inference model and ONNX, let through only if ONNX Runtime agrees."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pptsm.params import load_params
from pptsm.stages.options import DEFAULT_PARAMS, FramesIn, IndexIn, LabelsIn, OutFolder, ParamsPath, StudentIn


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    student: StudentIn,
    out: OutFolder,
    card: Annotated[Path, typer.Option("--card", help="JSON of cost, latency and agreement to write.")],
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Export the student to ONNX and check it against Paddle on real clips."""
    params = load_params(params_path)

    from pptsm.console import note
    from pptsm.data.clips import EvaluationVideos, frame_source
    from pptsm.data.table import in_split, load_index, load_labels, spread_over_classes
    from pptsm.deploy.export import compare, convert_to_onnx, latency_ms, require, save_inference
    from pptsm.deploy.metadata import ModelMetadata, chance_warning
    from pptsm.files import whole_file, whole_folder
    from pptsm.model.card import load_network, read_card
    from pptsm.model.cost import count_macs, count_parameters
    from pptsm.model.device import use_device

    use_device("cpu")  # the comparison must not mix in a GPU's rounding
    classes, table = load_labels(labels), load_index(index)
    trained = read_card(student)
    spec = trained.clip
    warning = chance_warning(trained.verdict)
    metadata = ModelMetadata(classes, spec, trained.revision, warning)
    # held-out clips; a dataset without a validation split lends the clips it is evaluated on
    videos = in_split(table, "val")
    if videos.empty:
        videos = in_split(table, params.evaluate.split)
    videos = spread_over_classes(videos, params.export.check_clips)
    num_classes = int(videos["label_index"].nunique())
    views = EvaluationVideos(videos, frame_source(params, frames), spec, "uniform")
    clips = [views[number][0] for number in range(len(views))]

    with whole_folder(out) as folder:
        inference = folder / "inference"
        inference.mkdir()
        save_inference(load_network(student), inference, spec.shape)
        convert_to_onnx(inference, folder / "model.onnx", params.export.opset, metadata.to_properties())
        model = load_network(student)
        agreement = compare(model, folder / "model.onnx", clips)
        require(agreement, params.export.tolerance)
        values = {
            "agreement": asdict(agreement) | {"classes": num_classes},
            "parameters": count_parameters(model),
            "macs_per_view": count_macs(model, spec.shape),
            "onnx_bytes": (folder / "model.onnx").stat().st_size,
            "latency_ms_per_view": round(latency_ms(folder / "model.onnx", clips[0], params.export.latency_runs), 3),
            "revision": metadata.revision,
            "computed_with": trained.computed_with,
        }
        with whole_file(card) as partial:
            partial.write_text(json.dumps(values, indent=2) + "\n")
    checked = f"{agreement.clips} clips of {num_classes} classes"
    note(f"export: ONNX Runtime agrees to {agreement.max_relative_difference:.2g} on {checked}")
    if warning:
        note(f"export: the file carries a warning: {warning}")
