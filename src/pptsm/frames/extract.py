"""Extracting the frames of many clips, in parallel, each video decoded only once: a file per clip, or shards."""

import glob
import hashlib
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.frames.shards import Member, shard_name, taken_out, write_shard
from pptsm.frames.store import FrameRequest, is_whole, stored_name, write_stored
from pptsm.params.schema import FrameSettings
from pptsm.runtime import fingerprint
from pptsm.runtime.console import note, progress
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import remove, state_dir
from pptsm.runtime.jobs import Workers, run_jobs
from pptsm.runtime.pool import JobFailure, limit_memory, watchdog
from pptsm.video.image_sequence import source_path
from pptsm.video.types import FrameRange, VideoError
from pptsm.video.video import silence_sec

SHARDS = "shards"  # folder in the store


def extract_all(
    videos: pd.DataFrame,
    root: Path,
    folder: Path,
    params: FrameSettings,
    workers: Workers,
    limit_sec: float = 0.0,
    frame_name: str | None = None,
) -> None:
    """Write the kept frames of every row below `folder`, in parallel: a file per row, or as many as `shards` says.

    Finished files also live in a store keyed by the video's content, the settings and the code that extracts, and are
    linked in from there: an interrupted run, or one with a few new videos, extracts only what is missing or damaged.

    Args:
        videos: columns `id`, `path`, `first_frame`, `num_frames` and `sha256`.
        root: folder of the videos.
        folder: where to.
        params: section frames.
        workers: processes.
        limit_sec: a decoder that shows no frame for so long (and longer, with the file's size) is ended; 0: none is.
        frame_name: of the frames, where a video is a folder of them.

    Raises:
        UserError: a video that the index called readable does not decode (any more).
    """
    store = state_dir("frames") / _store_name(params)
    _say_what_is_left(store)
    requested = [_requested(store, row, params) for row in videos.itertuples()]
    source = _Videos(videos, root, params, workers, limit_sec, frame_name)
    if params.shards is None:
        source.extract(requested)
        for name, each in zip(videos["id"], requested, strict=True):
            _link(each.file, folder / stored_name(params.stored_as, name))
    else:
        _extract_into_shards(source, requested, store / SHARDS, folder, params.shards)


@dataclass(frozen=True)
class _Videos:
    """The rows of an index, and how their videos are decoded."""

    rows: pd.DataFrame
    root: Path
    params: FrameSettings
    workers: Workers
    limit_sec: float
    frame_name: str | None

    def extract(self, requested: Sequence[FrameRequest | None]) -> None:
        """Have what is requested of each row in the store.

        Args:
            requested: for each row; None: nothing.

        Raises:
            UserError: a video does not decode.
        """
        # one job per video; files of the same content, and rows of the same frames, share what is kept
        parts: dict[Any, list[FrameRequest]] = defaultdict(list)
        for digest, each in zip(self.rows["sha256"], requested, strict=True):
            if each is not None:
                parts[digest].append(each)
        files = dict(zip(self.rows["sha256"], self.rows["path"], strict=True))
        paths = {digest: source_path(self.root, files[digest], self.frame_name) for digest in parts}
        jobs = [
            (path, list(dict.fromkeys(parts[digest])), self.params, silence_sec(path, self.limit_sec))
            for digest, path in paths.items()
        ]
        done = run_jobs(_extract_into_store, jobs, self.workers, timeout_sec=None, prepare=limit_memory)
        for (video, *_), fault in zip(jobs, progress(done, "frames", "videos", total=len(jobs)), strict=True):
            if reason := fault.reason if isinstance(fault, JobFailure) else fault:
                raise UserError(
                    f"{video}: {reason}. The index called it readable: it has changed since. Run the index stage again."
                )


def _extract_into_shards(
    source: _Videos, requested: list[FrameRequest], store: Path, folder: Path, shards: int
) -> None:
    """Link each shard in from the store, after those that are not whole there are written.

    A shard is named by what is in it. What an older one of the same place has is taken from there, so that one more
    video is one extraction and one shard. Archives that are in a shard then, and nowhere else, are removed.
    """
    names = [shard_name(name, shards) for name in source.rows["id"]]
    members: dict[str, list[Member]] = defaultdict(list)
    for name, clip_id, each in zip(names, source.rows["id"], requested, strict=True):
        members[name].append(Member(clip_id, each.file))
    stored = {name: store / name.removesuffix(".zip") / f"{_digest(of)}.zip" for name, of in members.items()}
    missing = {name for name, file in stored.items() if not is_whole(file, len(members[name]))}
    for name in missing:
        wanted = {member.file for member in members[name]}
        for earlier in sorted(stored[name].parent.glob("*.zip")):
            taken_out(earlier, wanted)
    source.extract([each if name in missing else None for name, each in zip(names, requested, strict=True)])
    left = Counter(member.file for name in missing for member in members[name])
    for name in progress(sorted(missing), "frames", "shards", total=len(missing)):
        write_shard(stored[name], members[name])
        for other in set(stored[name].parent.glob("*.zip")) - {stored[name]}:
            other.unlink()
        left.subtract(member.file for member in members[name])
        for member in members[name]:
            if not left[member.file] and member.file.exists() and member.file.stat().st_nlink == 1:
                member.file.unlink()
    for name, file in stored.items():
        _link(file, folder / name)


def _digest(members: list[Member]) -> str:
    said = [(member.clip_id, member.file.name) for member in sorted(members)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def _extract_into_store(video: Path, requested: list[FrameRequest], params: FrameSettings, limit_sec: float) -> str:
    """Runs in a worker; what keeps the video from being extracted, or nothing."""
    missing = []
    try:
        for each in requested:
            if is_whole(each.file, each.span.num_frames):
                continue
            if each.file.exists():
                note(f"frames: {each.file} is damaged: {video} is extracted again")
            if each.file.is_dir():  # a file is replaced in one step: another run may be linking it
                remove(each.file)
            missing.append(each)
        if missing:
            with watchdog(limit_sec):
                write_stored(video, missing, params)
    except VideoError as error:
        return str(error)
    except MemoryError:
        return "a frame does not fit into memory"
    return ""


def _store_name(settings: FrameSettings) -> str:
    """What decides a kept file beside its video: the settings of its form, the code and the libraries."""
    form = settings.stored_as
    code = fingerprint.of_files("frames/store.py")
    if form == "archive":
        code.pop("frames/short_gop.py")
    quality = f"q{settings.jpeg_quality}" if form == "archive" else f"crf{settings.crf}-every{settings.key_frame_every}"
    return f"{settings.short_side_px or 'native'}-{quality}-{fingerprint.digest_of(code)}"


def _requested(store: Path, row: Any, params: FrameSettings) -> FrameRequest:
    span = FrameRange(int(row.first_frame), int(row.num_frames))
    part = "" if row.path == row.id else f"-{span.first}-{span.num_frames}"
    return FrameRequest(store / row.sha256[:2] / stored_name(params.stored_as, f"{row.sha256}{part}"), span)


def _say_what_is_left(store: Path) -> None:
    """Name the stores that other code filled with the same settings: they take room, and nobody empties them."""
    settings = store.name.rpartition("-")[0]
    left = [each for each in store.parent.glob(f"{glob.escape(settings)}-*") if each != store]
    if left and not store.exists():
        note(
            "frames: the code that extracts, or a library of it, has changed: all is extracted anew. What was "
            f"extracted before lies in {', '.join(map(str, left))}; delete it if no other checkout uses it"
        )


def _link(stored: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(stored, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(stored, target)
