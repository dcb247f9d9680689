"""Command-line options that several stages share. The paths themselves stand in dvc.yaml only."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def _replaceable(out: Path) -> Path:
    from pptsm.runtime.files import require_replaceable  # what it imports is not needed for --help

    return require_replaceable(out)


def writable(out: Path | None) -> Path | None:
    """The callback of an option that names a file to write: what cannot be replaced is refused before any work."""
    from pptsm.runtime.files import require_writable

    if out is not None:
        require_writable(out)
    return out


ParamsPath = Annotated[Path, typer.Option("--params", help="The parameters file.")]
IndexIn = Annotated[Path, typer.Option("--index", help="The index table (CSV).")]
LabelsIn = Annotated[Path, typer.Option("--labels", help="Class names, one per line.")]
FramesIn = Annotated[Path, typer.Option("--frames", help="Folder of the frame archives.")]
StartIn = Annotated[Path, typer.Option("--start", help="Folder of the starting weights.")]
TeacherIn = Annotated[Path, typer.Option("--teacher", help="Folder of the trained teacher.")]
StudentIn = Annotated[Path, typer.Option("--student", help="Folder of the trained student.")]
BaselineIn = Annotated[Path, typer.Option("--baseline", help="Folder of the student trained without a teacher.")]
ExportIn = Annotated[Path, typer.Option("--export", help="Folder of the exported files.")]
HistoryOut = Annotated[Path, typer.Option("--history", callback=writable, help="CSV to write, one row per epoch.")]
DocsOut = Annotated[Path, typer.Option("--docs", callback=_replaceable, help="Folder of the HTML pages to write.")]
OutFile = Annotated[Path, typer.Option("--out", callback=writable, help="File to write.")]
OutFolder = Annotated[
    Path,
    typer.Option(
        "--out",
        callback=_replaceable,
        help="Folder to write; one that holds anything but earlier output is refused.",
    ),
]

DEFAULT_PARAMS = Path("params.yaml")

PACKAGE, EXPORTED = Path("models/package"), Path("models/export/model.onnx")
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help=f"Package (a folder) or ONNX file.  [default: {PACKAGE}, or else {EXPORTED}]"),
]
SamplingOption = Annotated[
    Literal["uniform", "dense"] | None,
    typer.Option("--sampling", help="Instead of the sampling that the model was trained for."),
]
RuntimeOption = Annotated[
    Literal["auto", "onnxruntime", "openvino"],
    typer.Option("--runtime", help="What computes the network; auto: what was measured to be the fastest here."),
]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16", "int8"],
    typer.Option("--precision", help="auto: what the file is; of a package the fastest that passed its gate."),
]


def chosen_model(model: Path | None) -> Path:
    """The model that a command asks: the one that was named, or what the stages made here."""
    return model or (PACKAGE if PACKAGE.is_dir() or not EXPORTED.exists() else EXPORTED)
