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
    from pptsm.data.clips import Dataset, frame_source
    from pptsm.data.table import in_split, load_index, load_labels, spread_over_classes
    from pptsm.deploy.cached import drop_damaged_copies
    from pptsm.deploy.export import export_networks
    from pptsm.distributed.device import use_device
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.files import atomic_file, atomic_folder
    from pptsm.weights.card import network_folders

    use_device("cpu")  # the comparison must not mix in a GPU's rounding
    table, source = load_index(index), frame_source(params, frames)
    classes = load_labels(labels, table)
    # held-out clips; a dataset without a validation split lends the clips it is evaluated on
    splits = [in_split(table, split) for split in ("val", params.evaluate.split)]
    videos = next((videos for videos in splits if not videos.empty), None)
    if videos is None:
        raise UserError(
            f"{index} has no usable video in split 'val' or {params.evaluate.split!r}, so there is none to compare "
            "ONNX Runtime with Paddle on. Check the split (section index)."
        )
    videos = spread_over_classes(videos, params.export.check_clips)
    networks = network_folders(teacher, student, baseline)
    with atomic_folder(out) as folder:
        values = export_networks(networks, Dataset(videos, classes, source), params.export, folder)
        drop_damaged_copies(folder)
        figures = values.pop("student") | values
        with atomic_file(card) as partial:
            partial.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
