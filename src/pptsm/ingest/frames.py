"""Extracting the frames of many videos into archives, in parallel, each video's work done only once."""

import os
import shutil
from pathlib import Path
from typing import Literal

import pandas as pd

from pptsm.console import note, progress
from pptsm.data.archive import archive_name, is_whole, write_archive
from pptsm.data.video import VideoError, silence_sec
from pptsm.errors import UserError
from pptsm.files import remove, state_dir
from pptsm.params import Frames
from pptsm.workers import Unfinished, ended_if_silent, killable, limit_memory

LAYOUT = "3"  # part of every archive's key: raise it when the content of an archive changes


def extract_all(videos: pd.DataFrame, root: Path, folder: Path, params: Frames, workers: Literal["auto"] | int) -> None:
    """Write the archive of every row's video below `folder`, in parallel.

    Finished archives also live in a store keyed by the video's content and the settings, and are linked
    in from there: an interrupted run, or one with a few new videos, extracts only what is missing or damaged.

    Args:
        videos: columns `id`, `num_frames` and `sha256`.
        root: folder of the videos.

    Raises:
        UserError: a video that the index called readable does not decode (any more).
    """
    store = state_dir("frames")
    archives = [
        (str(name), int(count), _stored(store, str(digest), params))
        for name, count, digest in zip(videos["id"], videos["num_frames"], videos["sha256"], strict=True)
    ]
    # one job an archive: files of the same content share theirs
    first = {stored: (root / name, count, stored, params) for name, count, stored in archives}
    done = killable(_extract_into_store, first.values(), workers, timeout_sec=None)  # the index knows that they decode
    for (video, *_), fault in zip(first.values(), progress(done, "frames", "videos", total=len(first)), strict=True):
        if reason := fault.reason if isinstance(fault, Unfinished) else fault:
            raise UserError(
                f"{video}: {reason}. The index called it readable: it has changed since. Run the index stage again."
            )
    for name, _, stored in archives:
        _link(stored, folder / archive_name(name))


def _extract_into_store(video: Path, num_frames: int, stored: Path, params: Frames) -> str:
    """Runs in a worker; what keeps the video from being extracted, or nothing."""
    try:
        if is_whole(stored, num_frames):
            return ""
        if stored.exists():
            note(f"frames: {stored} is damaged: {video} is extracted again")
        if stored.is_dir():  # a file is replaced in one step: another run may be linking it
            remove(stored)
        write_archive(stored, video, num_frames, params)
    except VideoError as error:
        return str(error)
    return ""


def _stored(store: Path, digest: str, params: Frames) -> Path:
    settings = f"{params.short_side_px or 'native'}-q{params.jpeg_quality}-v{LAYOUT}"
    return store / settings / digest[:2] / f"{digest}.zip"


def _link(stored: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(stored, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(stored, target)
