"""Stage `quantize`: the student in int8, and the table of all runtimes, which pass the same gate or are refused."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    ExportIn,
    FramesIn,
    IndexIn,
    LabelsIn,
    OutFolder,
    ParamsPath,
    writable,
)

if TYPE_CHECKING:
    from pptsm.data.clips import Dataset


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    export: ExportIn,
    out: OutFolder,
    table: Annotated[Path, typer.Option("--table", callback=writable, help="JSON of all runtimes to write.")],
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Quantise the exported student, and score and time it in every runtime and precision that this machine has."""
    params = load_params(params_path)

    from pptsm.runtime.console import note

    note("quantize: loading ONNX Runtime")
    from pptsm.data.clips import Dataset, frame_source
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.deploy.runtimes import Gate, as_values, files_at
    from pptsm.deploy.runtimes import table as runtimes
    from pptsm.runtime.cores import cores, processor_name
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.files import atomic_file, atomic_folder
    from pptsm.serving.metadata import FILES, ModelMetadata
    from pptsm.serving.package_folder import INT8_FILE

    clips = load_index(index)
    classes = load_labels(labels, clips)
    source, settings = frame_source(params, frames), params.quantize
    videos = in_split(clips, params.evaluate.split)
    if videos.empty:
        raise UserError(f"{index} has no usable video in split {params.evaluate.split!r}, nothing to judge int8 on.")
    model = export / FILES["student"]
    metadata = ModelMetadata.of_file(model)
    gate = Gate(settings.max_drop, params.evaluate.served_agreement)
    with atomic_folder(out) as folder, atomic_file(table) as partial:
        int8 = folder / INT8_FILE
        if settings.enabled:
            _quantise(model, int8, Dataset(in_split(clips, "train"), classes, source), settings.clips)
        rows = runtimes(
            files_at(model, int8),
            metadata.clip,
            params.sampling,
            Dataset(videos, classes, source),
            gate,
            params.compute.batch_views,
        )
        passed = settings.enabled and [row for row in rows if row.precision == "int8" and row.passed]
        if settings.enabled and not passed:
            note("quantize: int8 did not pass its gate in any runtime (above): the run goes on without it")
            int8.unlink()
        values = {
            "split": params.evaluate.split,
            "sampling": params.sampling,
            "videos": len(videos),
            "machine": f"{processor_name()}, {cores()} cores",
            "serving": {"runtime": params.serving.runtime, "precision": params.serving.precision},
            "rows": as_values(rows),
        }
        partial.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _quantise(model: Path, target: Path, training: "Dataset", number: int) -> None:
    from pptsm.data.clips import EvaluationVideos
    from pptsm.data.table import spread_over_classes
    from pptsm.data.transforms import normalise
    from pptsm.data.views import middle_view
    from pptsm.deploy.quantize import quantise
    from pptsm.evaluation.model_file import read_exported
    from pptsm.runtime.console import note
    from pptsm.serving.metadata import ModelMetadata

    metadata = ModelMetadata.of_file(model)
    spec = metadata.clip
    videos = EvaluationVideos(spread_over_classes(training.videos, number), training.source, spec, spec.sampling)
    clips = [middle_view(normalise(videos[each][0]), spec.segments) for each in range(len(videos))]
    kept = quantise(read_exported(model), metadata, clips, target)
    stays = f"; {len(kept)} layers stay in float" if kept else ""
    note(f"quantize: int8 by the ranges of {len(clips)} training clips{stays}")
