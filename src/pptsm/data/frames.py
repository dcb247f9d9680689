"""Frame archives: one ZIP of JPEGs a video, stored without compression, readable at random.

Members are `img_00001.jpg`, `img_00002.jpg`, ... as in the classic frame folders. An archive is a few
times faster to version than loose files and opens in any file manager.
"""

import io
import multiprocessing
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pebble import ProcessPool
from PIL import Image

from pptsm.console import progress
from pptsm.data.transforms import resized_size
from pptsm.data.video import Video, VideoError
from pptsm.errors import UserError
from pptsm.files import state_dir, whole_file
from pptsm.params import Frames

LAYOUT = "1"  # part of every archive's key: raise it when the content of an archive changes


def archive_name(video_id: str) -> str:
    """Path of a video's archive below the frames folder."""
    return f"{video_id}.zip"


def member_name(index: int) -> str:
    """Name in the archive of the frame with 0-based `index`."""
    return f"img_{index + 1:05d}.jpg"


def extract_all(videos: pd.DataFrame, root: Path, folder: Path, params: Frames) -> None:
    """Write the archive of every row's video below `folder`, in parallel.

    Finished archives also live in a store keyed by the video's content and the settings, and are linked
    in from there: an interrupted run, or one with a few new videos, extracts only what is missing.

    Args:
        videos: columns `id`, `num_frames` and `sha256`.
        root: folder of the videos.

    Raises:
        UserError: a video that the index called readable does not decode (any more).
    """
    store = state_dir("frames")
    with ProcessPool(params.workers or os.cpu_count() or 1, context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.schedule(_extract_into_store, args=[root / row.id, row.num_frames, _stored(store, row, params), params])
            for row in videos.itertuples()
        ]
        try:
            for row, job in zip(progress(videos.itertuples(), "frames", "videos", len(videos)), jobs, strict=True):
                try:
                    job.result()
                except VideoError as error:
                    raise UserError(
                        f"{root / row.id}: {error}. The index called it readable: it has changed since. "
                        "Run the index stage again."
                    ) from None
                _link(_stored(store, row, params), folder / archive_name(row.id))
        except BaseException:
            pool.stop()
            raise


def write_archive(path: Path, video: Path, num_frames: int, params: Frames) -> None:
    """Decode the first `num_frames` frames of a video into an archive.

    Raises:
        VideoError: fewer frames decode.
    """
    count = 0
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for count, frame in enumerate(Video(video), start=1):
            # a fixed date: the same video gives the same bytes
            member = zipfile.ZipInfo(member_name(count - 1), date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(member, encode_jpeg(frame, params.short_side_px, params.jpeg_quality))
            if count == num_frames:
                break
        if count < num_frames:
            raise VideoError(f"{count} frames decode, {num_frames} were counted before")


def encode_jpeg(frame: NDArray[np.uint8], short_side_px: int | None, quality: int) -> bytes:
    """JPEG of a frame [H, W, 3], first scaled down (never up) to the short side."""
    image = Image.fromarray(frame)
    if short_side_px is not None and min(image.size) > short_side_px:
        image = image.resize(resized_size(*image.size, short_side_px, keep_aspect=True), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def read_frames(archive: Path, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The frames at 0-based `indices` of an archive: uint8 RGB [T, H, W, 3].

    Raises:
        VideoError: the archive is missing or damaged, or has no such frame.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            images = [Image.open(io.BytesIO(file.read(member_name(int(index))))).convert("RGB") for index in indices]
            return np.stack([np.asarray(image) for image in images])
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise VideoError(f"{archive}: {error}") from None


def _extract_into_store(video: Path, num_frames: int, stored: Path, params: Frames) -> None:
    if not stored.exists():
        write_archive(stored, video, num_frames, params)


def _stored(store: Path, row: object, params: Frames) -> Path:
    settings = f"{params.short_side_px or 'native'}-q{params.jpeg_quality}-v{LAYOUT}"
    digest: str = row.sha256  # type: ignore[attr-defined]
    return store / settings / digest[:2] / f"{digest}.zip"


def _link(stored: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(stored, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(stored, target)
