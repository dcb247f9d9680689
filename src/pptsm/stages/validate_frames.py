"""Stage `validate_frames`: Great Expectations over the frames. About 10 s, most of it the library's import.

Of a kept file only the directory is read, 0.1 ms; comparing how clips look takes about 5 ms per clip and core
(validate.near_duplicate_bits: null leaves it out).
"""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, DocsOut, FramesIn, IndexIn, OutFile, ParamsPath, writable

CONTENT = "The frames can be trained on.\n"


def run(
    index: IndexIn,
    frames: FramesIn,
    out: OutFile,
    result_out: Annotated[Path, typer.Option("--result", callback=writable, help="JSON to write: what was found.")],
    docs: DocsOut,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Check the kept frames, and whether clips of different splits look alike."""
    params = load_params(params_path)

    from pptsm.runtime.lighter import collect_rarely

    collect_rarely()
    from pptsm.data.clips import frame_source
    from pptsm.data.table import load_index
    from pptsm.runtime.console import note
    from pptsm.runtime.files import atomic_file, atomic_folder

    table, source = load_index(index), frame_source(params, frames)
    clips = table[table["split"] != ""]
    note(f"validate_frames: loading Great Expectations, to check the frames of {len(clips)} clips")
    from pptsm.validation.frames import validate_frames
    from pptsm.validation.result import save_result
    from pptsm.validation.verdict import judge

    side, workers = params.frames.short_side_px, params.compute.workers
    with atomic_folder(docs) as folder:
        result = validate_frames(clips, source, side, params.validate_, folder, workers)
    judge(result, "validate_frames", f"the frames of {index} in {source.folder}", index, docs, params_path)
    with atomic_file(result_out) as partial, atomic_file(out) as checked:
        save_result(result, partial, index)
        checked.write_text(CONTENT, encoding="utf-8")
