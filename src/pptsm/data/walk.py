"""The one walk for videos: what the index takes from a folder, prediction takes from it."""

from collections.abc import Iterator
from pathlib import Path

from pptsm.data.video import VIDEO_SUFFIXES
from pptsm.errors import UserError


def videos_below(folder: Path) -> list[Path]:
    """The video files of a folder and its subfolders, sorted; links are followed, hidden names are not taken.

    A link to a file that is not there is listed: a dataset that was fetched in part must not shrink unseen.

    Raises:
        UserError: a folder cannot be looked into.
    """
    return sorted(_walk(folder, frozenset()))


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link to a folder that it lies in: its videos are being listed already
        return
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot look for videos in the folder {str(folder)!r}: {error.strerror}.") from None
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.suffix.lower() in VIDEO_SUFFIXES and (path.is_file() or path.is_symlink()):
            yield path
