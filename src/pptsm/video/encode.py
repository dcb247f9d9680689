"""Frames as a video file."""

import os

from pptsm.runtime.paths import StrPath
from pptsm.video.types import Images


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
