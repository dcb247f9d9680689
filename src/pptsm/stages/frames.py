"""Stage `frames`: the frames of a clip in a file, decoded once, on all cores. 130 of 320x240 take 50 ms of CPU."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, IndexIn, OutFolder, ParamsPath


def run(
    index: IndexIn,
    checked: Annotated[Path, typer.Option("--checked", help="Result of the validate stage; must exist.")],
    out: OutFolder,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Extract the frames of every usable clip into a file each; goes on where it was interrupted."""
    params = load_params(params_path)

    from pptsm.data.table import load_index
    from pptsm.frames.dvc_cache import share_with_dvc
    from pptsm.frames.extract import extract_all
    from pptsm.runtime.console import note
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.files import atomic_folder

    if not checked.is_file():
        raise UserError(f"no {checked}: the index must be validated first (`dvc repro validate`).")
    table = load_index(index)
    videos = table[table["split"] != ""]
    with atomic_folder(out) as folder:
        if params.frames.source != "video":
            note(f"frames: extracting {len(videos)} videos; those that were extracted before are linked in")
            source, workers = params.index, params.compute.where
            root, limit_sec = Path(source.root), source.probe_timeout_sec
            extract_all(videos, root, folder, params.frames, workers, limit_sec, source.frame_name)
            share_with_dvc(folder, out)
