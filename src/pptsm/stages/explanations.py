"""Stage `explanations`: why the student made its mistakes, and which classes need the order of the frames."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, ExportIn, FramesIn, IndexIn, OutFile, ParamsPath


def run(
    index: IndexIn,
    frames: FramesIn,
    export: ExportIn,
    evaluation: Annotated[Path, typer.Option("--evaluation", help="Folder of the evaluate stage.")],
    out: OutFile,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Ask the exported student about its mistakes and about reversed and shuffled videos, on the CPU."""
    params = load_params(params_path)

    from pptsm.data.clips import frame_source
    from pptsm.data.predictions import of_network, read_predictions
    from pptsm.data.table import in_split, load_index
    from pptsm.evaluation.engines import onnx_scorer, open_session
    from pptsm.evaluation.explanations import Looking, explanations
    from pptsm.runtime.console import note
    from pptsm.runtime.cores import loader_processes
    from pptsm.runtime.files import atomic_file
    from pptsm.serving.metadata import FILES, ModelMetadata

    model = export / FILES["student"]
    metadata = ModelMetadata.of_file(model)
    looking = Looking(
        score=onnx_scorer(open_session(model)),
        spec=metadata.clip,
        sampling=params.sampling,
        labels=metadata.labels,
        videos=in_split(load_index(index), params.evaluate.split),
        source=frame_source(params, frames),
    )
    headline = of_network(read_predictions(evaluation / "predictions.csv"), "student", params.sampling)
    found = explanations(
        looking,
        headline,
        mistakes=params.report.wrong_clips,
        videos=params.explanations.videos,
        batch_views=params.compute.batch_views,
        workers=loader_processes(params.compute.workers),
    )
    with atomic_file(out) as partial:
        partial.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    note(f"explanations: wrote {out}")
