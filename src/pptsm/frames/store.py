"""Frames that are kept beside the videos, so that training need not decode those: in which form, written and read.

The forms are an archive of JPEGs (`archive`) and a clip with many key frames (`short_gop`), one a row of the index;
archives of many clips can lie in one file (`shards`).
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pptsm.frames import archive, short_gop
from pptsm.frames.shards import place_in_shard, shard_name, shards_in
from pptsm.params.choices import StoredAs
from pptsm.params.schema import FrameSettings
from pptsm.runtime.paths import StrPath
from pptsm.video.image_sequence import ImageSequence, open_clip
from pptsm.video.types import FrameRange, Frames, Size, VideoError
from pptsm.video.video import Video

MARK = "user.pptsm.whole"  # an attribute of a file that was found whole: its frames, size and time then


class FrameRequest(NamedTuple):
    """A file to be written, and the part of a video that it holds."""

    file: Path
    span: FrameRange


class Kept:
    """Where the kept frames of clips are: below a folder, a file per clip or in shards, which their names tell.

    Args:
        kind: their form.
        folder: where to look.
    """

    def __init__(self, kind: StoredAs, folder: Path) -> None:
        self.kind, self.folder = kind, folder

    @cached_property
    def shards(self) -> int | None:
        """How many files hold the archives of all clips; None: each clip has a file."""
        return shards_in(self.folder) if self.kind == "archive" else None

    def file_of(self, clip_id: str) -> Path:
        """The file that a clip's frames are in."""
        name = stored_name(self.kind, clip_id) if self.shards is None else shard_name(clip_id, self.shards)
        return self.folder / name

    def read(self, clip_id: str, indices: NDArray[np.int64]) -> Frames:
        """As `read_stored`, of a clip."""
        if self.shards is None:
            return read_stored(self.kind, self.file_of(clip_id), indices)
        return archive.frames_in(place_in_shard(self.folder, clip_id, self.shards), indices)

    def facts(self, clip_id: str) -> archive.KeptFacts:
        """What a clip's frames say without any being decoded.

        Raises:
            VideoError: as `read`.
        """
        if self.shards is None:
            return kept_facts(self.kind, self.file_of(clip_id))
        return archive.facts_of(place_in_shard(self.folder, clip_id, self.shards))

    def size(self, clip_id: str) -> int:
        """How many bytes are kept of a clip, in either layout as many; -1 where nothing is."""
        if self.shards is None:
            file = self.file_of(clip_id)
            return file.stat().st_size if file.is_file() else -1
        with suppress(VideoError):
            return place_in_shard(self.folder, clip_id, self.shards).size or 0
        return -1


def stored_name(kind: StoredAs, clip_id: str) -> str:
    """Path below the frames folder of the file of a row of the index."""
    return archive.archive_name(clip_id) if kind == "archive" else short_gop.clip_name(clip_id)


def read_stored(kind: StoredAs, file: StrPath, indices: NDArray[np.int64]) -> Frames:
    """The frames at 0-based `indices` of a file of this form; those of an archive are decoded when they are asked for.

    Raises:
        VideoError: the file is missing, damaged or of an older version, or has no such frame; when a frame is asked for
            that is no whole JPEG.
    """
    file = Path(file)
    return archive.frames_in(file, indices) if kind == "archive" else short_gop.read_frames(file, indices)


def kept_facts(kind: StoredAs, file: Path) -> archive.KeptFacts:
    """What a file of this form says without any frame being decoded.

    Raises:
        VideoError: as `read_stored`.
    """
    return archive.facts_of(file) if kind == "archive" else short_gop.facts_of(file)


def is_whole(file: Path, num_frames: int) -> bool:
    """Whether a file, whose name gives the form, holds so many frames, each with the bytes that were written.

    It is read once: a file that was found whole and has not changed since is not read again.
    """
    if _found_whole(file, num_frames):
        return True
    is_zip = file.suffix == archive.archive_name("")
    whole = archive.is_whole(file, num_frames) if is_zip else short_gop.is_whole(file, num_frames)
    if whole:
        _mark_whole(file, num_frames)
    return whole


def _found_whole(file: Path, num_frames: int) -> bool:
    try:
        return os.getxattr(file, MARK) == _state_of(file, num_frames)
    except OSError:  # no such file, no mark, or a file system without any
        return False


def _mark_whole(file: Path, num_frames: int) -> None:
    with suppress(OSError), file.open("rb") as opened:
        os.fsync(opened.fileno())  # what was read may not be on the disk yet
        os.setxattr(file, MARK, _state_of(file, num_frames))


def call_damaged(file: Path) -> None:
    """Change the time of a file that was found damaged, so that neither `is_whole` nor DVC takes it for unchanged.

    Store, output and DVC's cache are one file: the extraction then writes another in the place of all three.
    """
    with suppress(OSError):  # another user's, or gone: what is read next says it again
        os.utime(file)


def _state_of(file: Path, num_frames: int) -> bytes:
    facts = file.stat()
    return f"{num_frames} {facts.st_size} {facts.st_mtime_ns}".encode()


def write_stored(video: StrPath, requested: Sequence[FrameRequest], settings: FrameSettings) -> None:
    """Decode a video once, in order, as far as it is needed, and write a file for each part of it.

    Each is whole or absent, but for a power cut: `is_whole` tells.

    Raises:
        VideoError: fewer frames decode.
    """
    video = Path(video)
    kind, waiting = settings.stored_as, deque(sorted(requested, key=lambda each: each.span.first))
    count, stop = 0, max(span.first + span.num_frames for _, span in requested)
    with ExitStack() as unfinished:
        opened = open_clip(video)
        begun: list[_Part] = []
        for number, frame in enumerate(opened.in_order()):
            native = (frame.shape[1], frame.shape[0])
            while waiting and waiting[0].span.first == number:
                part = waiting.popleft()
                begun.append(_Part(part.span, _writer(kind, part.file, native, opened, settings), unfinished))
            if begun:  # what parts of a video share is made once
                shared = _shared(kind, opened, number, frame, settings)
                begun = [part for part in begun if part.add(shared)]
            count = number + 1
            if count == stop:
                return
        raise VideoError(f"{count} frames decode, {stop} were counted before")


def _shared(
    kind: StoredAs, opened: Video | ImageSequence, number: int, frame: NDArray[np.uint8], settings: FrameSettings
) -> Any:
    if kind == "short_gop":
        return short_gop.fitting(frame, settings)
    if isinstance(opened, ImageSequence) and archive.scaled_down(frame, settings.short_side_px) is frame:
        return opened.jpeg(number)  # not encoded once more
    return archive.jpeg_of(frame, settings)


def write_archive(file: StrPath, video: StrPath, num_frames: int, settings: FrameSettings) -> None:
    """Decode the first `num_frames` frames of a video into an archive, as `write_stored`."""
    write_stored(
        video, [FrameRequest(Path(file), FrameRange(0, num_frames))], settings.model_copy(update={"source": "archive"})
    )


def _writer(
    kind: StoredAs, file: Path, native: Size, opened: Video | ImageSequence, settings: FrameSettings
) -> AbstractContextManager[Callable[[Any], None]]:
    if kind == "archive":
        return archive.archive_writer(file, native)
    return short_gop.clip_writer(file, native, opened.rate, settings)


class _Part:
    """A file that is being written; what is left of it when `unfinished` ends is removed."""

    def __init__(
        self, span: FrameRange, writer: AbstractContextManager[Callable[[Any], None]], unfinished: ExitStack
    ) -> None:
        self._open = unfinished.enter_context(ExitStack())
        self._add = self._open.enter_context(writer)
        self._missing = span.num_frames

    def add(self, frame: Any) -> bool:
        """Write the next frame; whether more are to come."""
        self._add(frame)
        self._missing -= 1
        if not self._missing:
            self._open.close()
        return self._missing > 0
