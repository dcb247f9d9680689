"""Stage `index`: find, probe, label and split the videos. Decodes every video once, on all cores."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFile, ParamsPath, writable


def run(
    out: OutFile,
    labels_out: Annotated[Path, typer.Option("--labels", callback=writable, help="File of class names to write.")],
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Find, probe, label and split the videos under index.root."""
    params = load_params(params_path)

    from pptsm.runtime.lighter import collect_rarely

    collect_rarely()
    from pptsm.data.table import OTHER_CLASS, save_index, save_labels
    from pptsm.ingest.index import build_index
    from pptsm.ingest.splits import advice, split_sizes
    from pptsm.runtime.console import note
    from pptsm.runtime.files import atomic_file

    table, labels = build_index(params.index, params.validate_.min_frames, params.compute.where)
    with atomic_file(out) as partial, atomic_file(labels_out) as labels_partial:
        save_index(table, partial)
        save_labels(labels, labels_partial)
    usable = table[table["split"] != ""]
    counts = ", ".join(f"{count} {name}" for name, count in table["status"].value_counts().items())
    note(f"index: {len(table)} files ({counts}), {len(labels)} classes, {usable['group'].nunique()} groups")
    if others := int((table["reason"] == OTHER_CLASS).sum()):
        note(f"index: {others} of them are of classes that the split lists do not name: no part of this dataset")
    for line in split_sizes(usable):
        note(f"index: {line}")
    if sentence := advice(usable, params.index):
        note(f"index: warning: {sentence}")
    if not (usable["split"] == "val").any():
        note(
            "index: no video is for validation, so training has no validation curve and cannot keep the best epoch: "
            "index.val_groups takes groups out of the training videos"
        )
