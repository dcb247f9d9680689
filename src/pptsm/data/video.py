"""The only place where videos are decoded.

Frames are uint8 RGB arrays; shape legend: T frames, H/W pixels. Decoding is decord's; the container's own
claims (which may be wrong) are read with PyAV for comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # [T, H, W, 3]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
# Fewer decodable frames than this share of what the container claims: the file was cut off.
COMPLETE_SHARE = 0.95


class VideoError(Exception):
    """A file cannot be decoded; the message says why."""


@dataclass(frozen=True)
class Probe:
    """What decoding a whole file showed."""

    status: str  # "ok", "truncated" or "unreadable"
    reason: str  # empty when ok
    num_frames: int  # frames that really decode
    fps: float
    width: int
    height: int

    @property
    def duration_sec(self) -> float:
        """Length by frame count and rate."""
        return self.num_frames / self.fps if self.fps > 0 else 0.0


class Video:
    """An open video file with random access to its frames.

    Open it in the process that reads it: decord's readers do not survive a fork.

    Raises:
        VideoError: the file cannot be opened, or has no frames.
    """

    def __init__(self, path: Path) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self.path = path
        if not path.is_file():
            raise VideoError(f"no such file: {path}")
        if path.stat().st_size == 0:
            raise VideoError("the file is empty")
        try:
            # one thread: several readers work side by side in processes, and memory stays small
            self._reader = decord.VideoReader(str(path), num_threads=1)
        except (RuntimeError, decord.DECORDError) as error:
            raise VideoError(f"not a readable video ({_first_line(error)})") from None
        if len(self._reader) == 0:
            raise VideoError("the file has no frames")
        self.fps = float(self._reader.get_avg_fps())

    def __len__(self) -> int:
        """Frames that the file's packets promise; fewer may decode."""
        return len(self._reader)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """All frames [H, W, 3] in order.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        import decord

        for index in range(len(self._reader)):
            try:
                yield _rgb(self._reader.next().asnumpy())
            except (StopIteration, RuntimeError, decord.DECORDError) as error:
                raise VideoError(f"frame {index} does not decode ({_first_line(error)})") from None

    def frames(self, indices: NDArray[np.int64]) -> Frames:
        """The frames at 0-based `indices`, in that order: [T, H, W, 3].

        Raises:
            VideoError: one of them cannot be decoded.
        """
        import decord

        try:
            return np.stack([_rgb(self._reader[int(index)].asnumpy()) for index in indices])
        except (IndexError, RuntimeError, decord.DECORDError) as error:
            raise VideoError(f"frames {list(map(int, indices))} do not decode ({_first_line(error)})") from None


def probe(path: Path) -> Probe:
    """Decode a whole file and say what is in it; never raises for a bad file.

    A broken container can keep a decoder busy without end: call this in a process that can be killed.
    """
    try:
        video = Video(path)
        count, height, width, problem = 0, 0, 0, ""
        try:
            for frame in video:
                count += 1
                height, width = frame.shape[:2]
        except VideoError as error:
            problem = str(error)
        if count == 0:
            return Probe("unreadable", problem or "no frame decodes", 0, 0.0, 0, 0)
        promised = max(_promised_frames(path), len(video))
        if count < COMPLETE_SHARE * promised:
            problem = f"cut off: the file promises {promised} frames, {count} decode"
        status = "truncated" if problem else "ok"
        return Probe(status, problem, count, video.fps, width, height)
    except VideoError as error:
        return Probe("unreadable", str(error), 0, 0.0, 0, 0)


def _rgb(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At some widths (48, 72) decord takes the padding at each row's end for a fourth channel."""
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)


def _promised_frames(path: Path) -> int:
    """The frame count in the container's header; 0 where it has none."""
    import av

    try:
        with av.open(str(path)) as container:
            return int(container.streams.video[0].frames)
    except (av.FFmpegError, IndexError):
        return 0


def write_video(path: Path, frames: Frames, fps: int, codec: str) -> None:
    """Encode frames [T, H, W, 3] (H and W even) into an .mp4 file; the same frames give the same bytes.

    Args:
        path: the file to write; its name ends in .mp4.
        frames: uint8 RGB.
        fps: frames a second.
        codec: "h264" or "mpeg4".
    """
    import av

    encoder, options = {
        # without macroblock tree and adaptive quantisation: with them, the same frames gave now and then other bytes
        "h264": ("libx264", {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0:aq-mode=0"}),
        "mpeg4": ("mpeg4", {"qscale": "3"}),
    }[codec]
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoder, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split("] ", 2)[-1][:160]
