"""The one walk for videos: what the index takes from a folder, prediction takes from it."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from pptsm.runtime.paths import StrPath
from pptsm.video.image_sequence import members_pattern
from pptsm.video.video import VIDEO_SUFFIXES


def scan_for_videos(folder: StrPath, frame_name: str | None = None) -> list[Path]:
    """The video files of a folder and its subfolders, sorted; links are followed, hidden names are not taken.

    With `frame_name` (img_%05d.jpg) the folders with such frames instead, as `folder/img_%05d.jpg`.

    What only a reader will find bad is listed too: a link to nothing, a pipe, a file that goes while this looks, and in
    the place of its videos a folder that cannot be looked into. A dataset that is there in part must not shrink unseen.
    """
    folder = Path(folder)
    if frame_name is None:
        return sorted(_walk(folder, frozenset()))
    found = _walk(folder, frozenset(), members_pattern(frame_name))
    return sorted(path if is_folder(path) else path.with_name(frame_name) for path in found)


def shut(folder: Path) -> str:
    """Why a folder cannot be looked into; empty where it can."""
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def is_folder(path: Path) -> bool:
    """Whether it is one, or a link to one; not asked of Path, which raises below a folder that may not be entered."""
    return stat.S_ISDIR(_mode(path))


def _walk(folder: Path, above: frozenset[str], frames: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Video files, or of each folder of such frames one."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in: its videos are being listed already
        return
    try:
        paths = list(folder.iterdir())
    except OSError:
        yield folder
        return
    if frames:
        members = [path for path in paths if frames.fullmatch(path.name)]
        yield from members[:1]
        paths = [path for path in paths if path.suffix.lower() not in (".jpg", ".jpeg")]  # of which there are many
    for path in paths:
        if path.name.startswith("."):
            continue
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield from _walk(path, above | {real}, frames)
        elif not frames and path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def _mode(path: Path) -> int:
    """0 where there is nothing, or nothing that one may know of."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
