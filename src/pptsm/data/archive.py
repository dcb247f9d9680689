"""A frame archive: one ZIP of JPEGs a video, stored without compression, readable at random.

Members are `img_00001.jpg`, `img_00002.jpg`, ... as in the classic frame folders. An archive is a few
times faster to version than loose files and opens in any file manager.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.data.transforms import resized_size
from pptsm.data.video import Video, VideoError
from pptsm.files import whole_file
from pptsm.params import Frames


def archive_name(video_id: str) -> str:
    """Path of a video's archive below the frames folder."""
    return f"{video_id}.zip"


def member_name(index: int) -> str:
    """Name in the archive of the frame with 0-based `index`."""
    return f"img_{index + 1:05d}.jpg"


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
