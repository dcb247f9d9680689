"""A short-GOP clip: a video encoded anew, small and with a key frame every few frames, so that any frame is near one.

H.264 in MP4. Between key frames stand frames that no other looks back at, three of four: a reader passes them over
undecoded (docs/decisions/0008). The file's comment says the video's native size, as that of an archive does.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pptsm.frames.archive import KeptFacts, comment_of, native_size, scaled_down
from pptsm.params.schema import FrameSettings
from pptsm.runtime.files import atomic_file
from pptsm.video.pixels import resized
from pptsm.video.types import Frames, Size, VideoError
from pptsm.video.video import Video

UNSEEN_FRAMES = 3  # in a row, to which no other frame looks back
LAST_BOX = struct.Struct(
    ">I4s32s"
)  # of MP4: its size, its kind ("free": readers pass it over), SHA-256 of all before it
OTHER_FPS = 25  # where the video does not say; a reader goes by numbers
MOST_TICKS = 60_000  # denominator of a frame rate


def clip_name(clip_id: str) -> str:
    """Path below the frames folder of the short-GOP clip of a row of the index."""
    return f"{clip_id}.mp4"


def fitting(frame: NDArray[np.uint8], settings: FrameSettings) -> NDArray[np.uint8]:
    """What a clip keeps of a frame [H, W, 3]: scaled down, with sides that the encoder can take, even ones."""
    small = scaled_down(frame, settings.short_side_px)
    height, width = small.shape[:2]
    return resized(small, (max(2, width - width % 2), max(2, height - height % 2)))


@contextmanager
def clip_writer(
    path: Path, native: Size, fps: float, settings: FrameSettings
) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """What adds the next frame to a new clip; the same frames give the same bytes.

    It is whole or absent, but for a power cut: `is_whole` tells.

    Args:
        path: the file to write.
        native: size of the video's frames.
        fps: the video's; 0 where it is not known.
        settings: section frames.
    """
    import av

    rate = Fraction(fps).limit_denominator(MOST_TICKS) if fps > 0 else Fraction(OTHER_FPS)
    every = settings.key_frame_every
    # without macroblock tree and adaptive quantisation, as in `write_video`: with them bytes were not always the same
    structure = f"keyint={every}:min-keyint={every}:scenecut=0:open-gop=0:mbtree=0:aq-mode=0"
    structure += f":bframes={UNSEEN_FRAMES}:b-adapt=0:b-pyramid=none"
    options = {"crf": str(settings.crf), "preset": "veryfast", "tune": "fastdecode", "x264-params": structure}
    with (
        atomic_file(path, settle=False) as partial,
        av.open(str(partial), "w", format="mp4", options={"fflags": "+bitexact"}) as container,
    ):
        container.metadata["comment"] = comment_of(native).decode()
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1

        def add(frame: NDArray[np.uint8]) -> None:
            if not stream.codec_context.is_open:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

        yield add
        container.mux(stream.encode(None))
        container.close()
        with partial.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0, os.SEEK_END)
            file.write(LAST_BOX.pack(LAST_BOX.size, b"free", digest))


def is_whole(path: Path, num_frames: int) -> bool:
    """Whether a clip holds so many frames, with the bytes that were written: its last box is their hash."""
    try:
        content = path.read_bytes()
        size, kind, digest = LAST_BOX.unpack(content[-LAST_BOX.size :])
        written = (size, kind) == (LAST_BOX.size, b"free")
        return written and hashlib.sha256(content[:-size]).digest() == digest and len(Video(path)) == num_frames
    except (OSError, struct.error, VideoError):
        return False


def read_frames(path: Path, indices: NDArray[np.int64]) -> Frames:
    """The frames at 0-based `indices` of a clip.

    Raises:
        VideoError: the clip is missing, damaged or no such clip, or has no such frame.
    """
    try:
        video = Video(path)
        return Frames(video.frames(indices).images, native_size(video.packets.comment))
    except VideoError as error:
        raise VideoError(f"{path}: {error}") from None


def facts_of(path: Path) -> KeptFacts:
    """Read a clip's packets, of which none is decoded.

    Raises:
        VideoError: as `read_frames`.
    """
    try:
        packets = Video(path).packets
        short_side_px = min(packets.width, packets.height)
        return KeptFacts(packets.count, native_size(packets.comment), short_side_px, path.stat().st_size)
    except VideoError as error:
        raise VideoError(f"{path}: {error}") from None
