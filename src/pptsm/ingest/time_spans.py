"""From the seconds of annotated parts of files to their frames."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pptsm.runtime.errors import UserError
from pptsm.runtime.jobs import Workers, run_jobs
from pptsm.runtime.pool import JobFailure, limit_memory, watchdog
from pptsm.video.image_sequence import ImageSequence, open_clip
from pptsm.video.types import Seconds, VideoError
from pptsm.video.video import Video, silence_sec

SHOWN = 10  # faults in a sentence


def cut_into_parts(clips: pd.DataFrame, found: dict[str, Path], workers: Workers, limit_sec: float) -> pd.DataFrame:
    """Fill in `first_frame`, and of parts of files `num_frames` and `duration_sec`.

    Args:
        clips: rows with path, start_sec and end_sec (NaN: the whole file), `where` the annotation stands, and what
            probing said of the file: status, num_frames, duration_sec.
        found: path -> file.
        workers: processes.
        limit_sec: a decoder that shows no frame for so long (and longer, with the file's size) is ended.

    Raises:
        UserError: a part is not in its file, with the place of its annotation. Files that do not decode are no matter.
    """
    clips = clips.assign(first_frame=0)
    parts = clips[clips["start_sec"].notna() & (clips["status"] == "ok")]
    of_file = {str(path): rows for path, rows in parts.groupby("path", sort=False)}
    jobs = [
        (found[path], list(map(Seconds, rows["start_sec"], rows["end_sec"])), silence_sec(found[path], limit_sec))
        for path, rows in of_file.items()
    ]
    parts_found: dict[Any, _PartFound] = {}
    faults: list[str] = []
    answers = run_jobs(_spans, jobs, workers, timeout_sec=None, prepare=limit_memory)
    for rows, of_one in zip(of_file.values(), answers, strict=True):
        each = [of_one.reason] * len(rows) if isinstance(of_one, JobFailure) else of_one
        for row, answer in zip(rows.itertuples(), each, strict=True):
            if isinstance(answer, str):
                faults.append(f"{row.where} ({row.path}): {answer}")
            else:
                parts_found[row.Index] = answer
    if faults:
        more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise UserError(
            f"{len(faults)} of {len(parts)} annotated parts are not in their videos:\n  "
            + "\n  ".join(faults[:SHOWN])
            + f"{more}\nMend the seconds in the annotations."
        )
    frames = pd.DataFrame(list(parts_found.values()), index=list(parts_found), columns=list(_PartFound._fields))
    clips.loc[frames.index, frames.columns] = frames
    return clips


class _PartFound(NamedTuple):
    """A part of a file, by the names of the index."""

    first_frame: int
    num_frames: int
    duration_sec: float


def _spans(path: Path, parts: list[Seconds], limit_sec: float) -> list[_PartFound | str]:
    """Runs in a worker: the frames of each part, or why there are none."""
    try:
        with watchdog(limit_sec):
            video = open_clip(path)
            return [_span(video, part) for part in parts]
    except VideoError as error:
        return [str(error)] * len(parts)


def _span(video: Video | ImageSequence, part: Seconds) -> _PartFound | str:
    try:
        span = video.span(part)
        return _PartFound(*span, video.length_sec(span))
    except VideoError as error:
        return str(error)
