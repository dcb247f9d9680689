"""A frame archive: one ZIP of JPEGs a video, stored without compression, readable at random.

Members are `img_00001.jpg`, `img_00002.jpg`, ... as in the classic frame folders. An archive is a few
times faster to version than loose files and opens in any file manager. Its comment is JSON and says the video's native
size, which decides where a pixel goes: an archive is a cache, and stores frames in whatever size it likes.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.data.geometry import Frames, Size, resized_size
from pptsm.data.video import Video, VideoError
from pptsm.files import whole_file
from pptsm.params import Frames as Settings


def archive_name(video_id: str) -> str:
    """Path of a video's archive below the frames folder."""
    return f"{video_id}.zip"


def member_name(index: int) -> str:
    """Name in the archive of the frame with 0-based `index`."""
    return f"img_{index + 1:05d}.jpg"


def write_archive(path: Path, video: Path, num_frames: int, settings: Settings) -> None:
    """Decode the first `num_frames` frames of a video into an archive.

    It is whole or absent, but for a power cut: `is_whole` tells.

    Raises:
        VideoError: fewer frames decode.
    """
    count = 0
    with whole_file(path, settle=False) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for count, frame in enumerate(Video(video), start=1):
            # a fixed date: the same video gives the same bytes
            member = zipfile.ZipInfo(member_name(count - 1), date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(member, encode_jpeg(frame, settings.short_side_px, settings.jpeg_quality))
            if count == num_frames:
                break
        if count < num_frames:
            raise VideoError(f"{count} frames decode, {num_frames} were counted before")
        height, width = frame.shape[:2]
        archive.comment = json.dumps({"native": [width, height]}).encode()


def is_whole(path: Path, num_frames: int) -> bool:
    """Whether an archive holds so many frames, each with the bytes that were written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return len(archive.infolist()) == num_frames and archive.testzip() is None
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def encode_jpeg(frame: NDArray[np.uint8], short_side_px: int | None, quality: int) -> bytes:
    """JPEG of a frame [H, W, 3], first scaled down (never up) to the short side."""
    image = Image.fromarray(frame)
    if short_side_px is not None and min(image.size) > short_side_px:
        image = image.resize(resized_size(image.size, short_side_px, "kept"), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def read_frames(archive: Path, indices: NDArray[np.int64]) -> Frames:
    """The frames at 0-based `indices` of an archive.

    Raises:
        VideoError: the archive is missing, damaged or of an older version, or has no such frame.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            native = _native_size(file.comment)
            images = [Image.open(io.BytesIO(file.read(member_name(int(index))))).convert("RGB") for index in indices]
            return Frames(np.stack([np.asarray(image) for image in images]), native)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise VideoError(f"{archive}: {error}") from None


def _native_size(comment: bytes) -> Size:
    try:
        width, height = json.loads(comment)["native"]
        return int(width), int(height)
    except (ValueError, TypeError, KeyError):
        raise zipfile.BadZipFile(
            "it does not say the video's native size, as archives of older versions; extract again "
            "(`dvc repro --force --single-item frames`)"
        ) from None
