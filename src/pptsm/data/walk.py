"""The one walk for videos: what the index takes from a folder, prediction takes from it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pptsm.data.video import VIDEO_SUFFIXES


def videos_below(folder: Path) -> list[Path]:
    """The video files of a folder and its subfolders, sorted; links are followed, hidden names are not taken.

    What only a reader will find bad is listed too: a link to nothing, a pipe, a file that goes while this looks, and in
    the place of its videos a folder that cannot be looked into. A dataset that is there in part must not shrink unseen.
    """
    return sorted(_walk(folder, frozenset()))


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


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in: its videos are being listed already
        return
    try:
        paths = list(folder.iterdir())
    except OSError:
        yield folder
        return
    for path in paths:
        if path.name.startswith("."):
            continue
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield from _walk(path, above | {real})
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def _mode(path: Path) -> int:
    """0 where there is nothing, or nothing that one may know of."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
