"""From the seconds of annotated parts of files to their frames."""

from pathlib import Path

import pandas as pd

from pptsm.data.folders import FrameFolder, open_clip
from pptsm.data.video import Seconds, Span, Video, VideoError, silence_sec
from pptsm.errors import UserError
from pptsm.workers import Unfinished, Workers, ended_if_silent, killable, limit_memory

SHOWN = 10  # faults in a sentence


def cut_into_parts(clips: pd.DataFrame, found: dict[str, Path], workers: Workers, limit_sec: float) -> pd.DataFrame:
    """Fill in `first_frame`, and of parts of files `num_frames` and `duration_sec`.

    Args:
        clips: rows with path, start_sec and end_sec (NaN: the whole file), `where` the annotation stands, and what
            probing said of the file: status, num_frames, fps.
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
    spans, faults = {}, []
    found_out = killable(_spans, jobs, workers, timeout_sec=None, prepare=limit_memory)
    for rows, answer in zip(of_file.values(), found_out, strict=True):
        answers = [answer.reason] * len(rows) if isinstance(answer, Unfinished) else answer
        for row, span in zip(rows.itertuples(), answers, strict=True):
            if isinstance(span, Span):
                spans[row.Index] = span
            else:
                faults.append(f"{row.where} ({row.path}): {span}")
    if faults:
        more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise UserError(
            f"{len(faults)} of {len(parts)} annotated parts are not in their videos:\n  "
            + "\n  ".join(faults[:SHOWN])
            + f"{more}\nMend the seconds in the annotations."
        )
    frames = pd.DataFrame(list(spans.values()), index=list(spans), columns=["first_frame", "num_frames"])
    clips.loc[frames.index, frames.columns] = frames
    rate = clips["fps"].where(clips["fps"] > 0)
    clips.loc[frames.index, "duration_sec"] = (clips["num_frames"] / rate).fillna(0.0)[frames.index]
    return clips


def _spans(path: Path, parts: list[Seconds], limit_sec: float) -> list[Span | str]:
    """Runs in a worker: the frames of each part, or why there are none."""
    try:
        with ended_if_silent(limit_sec):
            video = open_clip(path)
            return [_span(video, part) for part in parts]
    except VideoError as error:
        return [str(error)] * len(parts)


def _span(video: Video | FrameFolder, part: Seconds) -> Span | str:
    try:
        return video.span(part)
    except VideoError as error:
        return str(error)
