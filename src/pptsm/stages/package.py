"""Stage `package`: the model as a folder to hand on. Seconds."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, ExportIn, IndexIn, LabelsIn, OutFolder, ParamsPath


def run(
    index: IndexIn,
    labels: LabelsIn,
    export: ExportIn,
    evaluation: Annotated[Path, typer.Option("--evaluation", help="Folder of the evaluate stage.")],
    card: Annotated[Path, typer.Option("--card", help="JSON of the export stage.")],
    out: OutFolder,
    quantized: Annotated[Path | None, typer.Option("--quantized", help="Folder of the quantize stage.")] = None,
    runtimes: Annotated[Path | None, typer.Option("--runtimes", help="JSON of the quantize stage.")] = None,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Put the exported student into a folder to hand on, with its calibration, card, labels and checksums."""
    params = load_params(params_path)

    from pydantic import TypeAdapter

    from pptsm.data.table import SPLITS, in_split, load_index, load_labels
    from pptsm.deploy.package import INT8_FILE, MODEL_FILE, read_calibration, write_package
    from pptsm.report.inputs import Calibrated, Exported, Runtimes, read_json, read_metrics
    from pptsm.report.model_card import licence, model_card, triton_config
    from pptsm.runtime.console import note
    from pptsm.runtime.files import atomic_folder
    from pptsm.serving.metadata import ModelMetadata

    table = load_index(index)
    classes = load_labels(labels, table)
    metrics = read_metrics(evaluation / "metrics.json", params.sampling)["student"]
    said = ModelMetadata.of_file(export / MODEL_FILE)
    calibration = evaluation / "calibration.json"
    rows = read_json(runtimes, "the runtimes", "quantize", TypeAdapter(Runtimes))["rows"] if runtimes else []
    values = {
        "title": params.report.title,
        "root": Path(params.index.root).name,  # where it lies is nobody's business
        "split": params.evaluate.split,
        "sampling": params.sampling,
        "labels": classes,
        "splits": {split: len(in_split(table, split)) for split in SPLITS},
        "groups": int(table[table["split"] != ""]["group"].nunique()),
        "metrics": metrics,
        "best": metrics[params.sampling],
        "exported": read_json(card, "the export's figures", "export", TypeAdapter(Exported)),
        "clip": said.clip,
        "revision": said.revision,
        "warning": said.warning,
        "calibrated": read_json(calibration, "the calibration", "evaluate", TypeAdapter(Calibrated)),
        "runtimes": rows,
        "licence": licence(),
    }
    models = {MODEL_FILE: export / MODEL_FILE}
    if quantized is not None and (int8 := quantized / INT8_FILE).is_file():
        models[INT8_FILE] = int8
    texts = {"README.md": model_card(values), "config.pbtxt": triton_config(said.clip.shape, len(classes))}
    if runtimes:
        texts["runtimes.json"] = runtimes.read_text(encoding="utf-8")
    with atomic_folder(out) as folder:
        write_package(folder, models, read_calibration(calibration, len(classes)), classes, texts)
    note(f"package: {out}: {', '.join(models)}, card, labels, Triton's configuration, checksums")
