"""Stage `export`: teacher and student as ONNX, let through only if ONNX Runtime agrees with Paddle."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    BaselineIn,
    FramesIn,
    IndexIn,
    LabelsIn,
    OutFolder,
    ParamsPath,
    StudentIn,
    TeacherIn,
    writable,
)


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    teacher: TeacherIn,
    student: StudentIn,
    baseline: BaselineIn,
    out: OutFolder,
    card: Annotated[
        Path, typer.Option("--card", callback=writable, help="JSON of cost, latency and agreement to write.")
    ],
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Export teacher and student to ONNX and check them against Paddle on real clips."""
    params = load_params(params_path)

    from pptsm.runtime.console import note

    note("export: loading Paddle and ONNX Runtime")
    import tempfile
    from dataclasses import asdict

    from pptsm.data.clips import EvaluationVideos, frame_source
    from pptsm.data.table import in_split, load_index, load_labels, spread_over_classes
    from pptsm.data.transforms import normalise
    from pptsm.deploy.cached import drop_damaged_copies
    from pptsm.deploy.convert import convert_to_onnx, save_inference
    from pptsm.deploy.parity import compare, latency_ms, middle_view, require
    from pptsm.distributed.device import use_device
    from pptsm.evaluation.engines import onnx_scorer, open_session, paddle_scorer
    from pptsm.model.cost import count_macs, count_parameters
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.files import whole_file, whole_folder
    from pptsm.serving.metadata import FILES, ModelMetadata, chance_warning
    from pptsm.weights.card import load_network, network_folders, read_card

    use_device("cpu")  # the comparison must not mix in a GPU's rounding
    table, source = load_index(index), frame_source(params, frames)
    classes = load_labels(labels, table)
    # held-out clips; a dataset without a validation split lends the clips it is evaluated on
    videos = in_split(table, "val")
    if videos.empty:
        videos = in_split(table, params.evaluate.split)
    if videos.empty:
        raise UserError(
            f"{index} has no usable video in split 'val' or {params.evaluate.split!r}, so there is none to compare "
            "ONNX Runtime with Paddle on. Check the split (section index)."
        )
    videos = spread_over_classes(videos, params.export.check_clips)
    num_classes = int(videos["label_index"].nunique())

    values: dict[str, dict[str, object]] = {}
    with whole_folder(out) as folder, tempfile.TemporaryDirectory() as scratch:
        for role, network in network_folders(teacher, student, baseline).items():
            trained, onnx = read_card(network), folder / FILES[role]
            note(f"export: {role}: writing it as ONNX")
            spec, warning = trained.clip, chance_warning(trained.verdict, role)
            inference = folder / "inference" if role == "student" else Path(scratch) / role
            inference.mkdir()
            save_inference(load_network(network), inference, spec.shape)
            metadata = ModelMetadata(classes, spec, trained.revision, warning)
            convert_to_onnx(inference, onnx, params.export.opset, metadata.to_properties())

            note(f"export: {role}: comparing ONNX Runtime with Paddle on {len(videos)} clips, then timing it")
            model = load_network(network)  # afresh: saving rewrites what it saves
            views = EvaluationVideos(videos, source, spec, spec.sampling)
            clips = [middle_view(normalise(views[number][0]), spec.segments) for number in range(len(views))]
            agreement = compare(paddle_scorer(model), onnx_scorer(open_session(onnx)), clips)
            require(agreement, params.export.tolerance, f"the ONNX file of the {role}")
            model.fuse()  # only now: the comparison was with the network as it was trained
            values[role] = {
                "agreement": asdict(agreement) | {"classes": num_classes},
                "parameters": count_parameters(model),
                "macs_per_view": count_macs(model, spec.shape),
                "onnx_bytes": onnx.stat().st_size,
                "latency_ms_per_view": round(latency_ms(onnx, clips[0], params.export.latency_runs), 3),
                "revision": metadata.revision,
                "computed_with": trained.computed_with,
            }
            checked = f"{agreement.clips} clips of {num_classes} classes"
            note(f"export: {role}: ONNX Runtime agrees to {agreement.max_relative_difference:.2g} on {checked}")
            if warning:
                note(f"export: the file of the {role} carries a warning: {warning}")
        drop_damaged_copies(folder)
        others = {role: figures for role, figures in values.items() if role != "student"}
        with whole_file(card) as partial:
            partial.write_text(
                json.dumps(values["student"] | others, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
