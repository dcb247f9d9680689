"""Stage `evaluate_also`: the networks of evaluate.also on the videos of the evaluation, each by its own protocol.

It knows nothing of the student: a new student scores no other network anew, and another network no student.
"""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, FramesIn, IndexIn, LabelsIn, OutFolder, ParamsPath


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    also: Annotated[Path, typer.Option("--also", help="Folder of the also stage.")],
    out: OutFolder,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Score the networks of evaluate.also on every video of the evaluated split; one that was scored before is not."""
    params = load_params(params_path)

    from pptsm.deploy.named import read_networks
    from pptsm.runtime.console import note
    from pptsm.runtime.files import atomic_folder

    networks = read_networks(also)
    if not networks:
        note("evaluate_also: evaluate.also names no network")
        with atomic_folder(out) as folder:
            (folder / "networks.json").write_text("[]\n", encoding="utf-8")
        return

    note("evaluate_also: loading Paddle and ONNX Runtime")
    from pptsm.data.clips import Dataset, frame_source
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.deploy.others import score_others
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.fingerprint import digest_of, of_stage

    table = load_index(index)
    classes = load_labels(labels, table)
    videos = in_split(table, params.evaluate.split)
    if videos.empty:
        raise UserError(f"{index} has no usable video in split {params.evaluate.split!r}, nothing to evaluate on.")
    data = Dataset(videos, classes, frame_source(params, frames))
    with atomic_folder(out) as folder:
        score_others(networks, also, data, params, digest_of(of_stage("evaluate_also")), folder)
