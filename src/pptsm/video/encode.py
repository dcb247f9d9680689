"""Frames as a video file."""

import os
from collections.abc import Iterator
from fractions import Fraction

from pptsm.runtime.paths import StrPath
from pptsm.video.types import Image, Images


def write_video(path: StrPath, frames: Images, fps: int, codec: str) -> None:
    """Encode frames [T, H, W, 3] (H and W even) into an .mp4 file; the same frames give the same bytes.

    Args:
        path: the file to write; its name ends in .mp4.
        frames: uint8 RGB.
        fps: frames per second.
        codec: "h264" or "mpeg4".
    """
    import av

    encoder, options = {
        # without macroblock tree and adaptive quantisation: with them, the same frames gave now and then other bytes
        "h264": ("libx264", {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0:aq-mode=0"}),
        "mpeg4": ("mpeg4", {"qscale": "3"}),
    }[codec]
    with av.open(os.fspath(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoder, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def timed_video(path: StrPath, frames: Iterator[tuple[int, Image]], tick_sec: Fraction) -> Iterator[int]:
    """Encode frames as they come, each to be shown at its own time, into an .mp4 file of H.264.

    Args:
        path: the file to write.
        frames: time in ticks and pixels [H, W, 3] of each, H and W even and always the same.
        tick_sec: the unit of times.

    Yields:
        How many frames are encoded, after each.
    """
    import av

    with av.open(os.fspath(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick_sec
        for number, (time, image) in enumerate(frames, start=1):
            if number == 1:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, tick_sec
            container.mux(stream.encode(frame))
            yield number
        container.mux(stream.encode(None))
