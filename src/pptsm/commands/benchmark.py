"""What each runtime and precision answers on this machine, and how fast."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import DEFAULT_PARAMS, EXPORTED, ModelOption, ParamsPath, chosen_model

if TYPE_CHECKING:
    from pptsm.data.clips import Dataset
    from pptsm.deploy.runtimes import Row
    from pptsm.params.schema import Params
    from pptsm.serving.metadata import ModelMetadata

INDEX, LABELS, FRAMES = Path("data/index.csv"), Path("data/labels.txt"), Path("data/frames")
QUANTIZED = Path("models/quantized")


def benchmark(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON: a list of rows.")] = False,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Compare runtimes and precisions of a model: accuracy, agreement with ONNX Runtime in float32, time, size.

    In a project the videos of the evaluated split are scored; elsewhere random clips are compared, and no accuracy is
    known. All rows pass through the gate of stage quantize.
    """
    from pptsm.deploy.runtimes import Gate, as_values, files_at, table
    from pptsm.runtime.console import as_json as json_line
    from pptsm.runtime.console import say
    from pptsm.serving.metadata import ModelMetadata
    from pptsm.serving.package_folder import INT8_FILE, package_at

    path = chosen_model(model)
    package = package_at(path)
    exact = package.model if package else path
    beside = exact.with_name(INT8_FILE)
    int8 = QUANTIZED / INT8_FILE if exact == EXPORTED and not beside.exists() else beside
    metadata = ModelMetadata.of_file(exact)
    if metadata.precision != "float32":
        raise UserError(f"{exact} is of {metadata.precision}: name the file of float32 that it is compared with.")
    params, data = _project(params_path, metadata)
    gate = Gate(params.quantize.max_drop, params.evaluate.served_agreement) if params else Gate(0.3, 0.99)
    sampling = params.sampling if params else metadata.clip.sampling
    batch_views = params.compute.batch_views if params else 1
    rows = table(files_at(exact, int8), metadata.clip, sampling, data, gate, batch_views)
    if as_json:
        say(json_line(as_values(rows)))
        return
    say("\n".join(_lines(rows)))


def _project(params_path: Path, metadata: "ModelMetadata") -> "tuple[Params | None, Dataset | None]":
    """The parameters of the project here, and its evaluated videos if they are of the model's classes."""
    if not (params_path.exists() and INDEX.exists() and LABELS.exists()):
        return None, None
    from pptsm.data.clips import Dataset, frame_source
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.params.checking import load_params
    from pptsm.runtime.console import note

    params = load_params(params_path)
    clips = load_index(INDEX)
    classes = load_labels(LABELS, clips)
    videos = in_split(clips, params.evaluate.split)
    if classes != metadata.labels or videos.empty:
        note("benchmark: the videos here are not of the model's classes, so random clips are compared")
        return params, None
    return params, Dataset(videos, classes, frame_source(params, FRAMES))


def _lines(rows: "list[Row]") -> list[str]:
    head = ("runtime", "precision", "top-1", "agreement", "ms p50", "ms p95", "clips/s", "start s", "MB")
    widths = (-12, -9, 7, 9, 8, 8, 8, 7, 7)
    said = (f"{name:<{-width}}" if width < 0 else f"{name:>{width}}" for name, width in zip(head, widths, strict=True))
    lines = [f"{' '.join(said)}  gate"]
    for row in rows:
        top1 = "-" if row.top1 is None else f"{row.top1:.2%}"
        lines.append(
            f"{row.runtime:12} {row.precision:9} {top1:>7} {row.agreement:>9.2%} {row.ms_p50:>8.2f} {row.ms_p95:>8.2f} "
            f"{row.clips_per_sec:>8.1f} {row.start_sec:>7.2f} {row.size_mb:>7.2f}  {row.reason or 'passed'}"
        )
    return lines
