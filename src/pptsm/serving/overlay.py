"""A video with what was found written on its frames."""

import functools
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.console import one_line, progress
from pptsm.runtime.feed import FeedFailure, feed
from pptsm.runtime.files import atomic_file
from pptsm.serving.timeline import Timeline
from pptsm.video.encode import timed_video
from pptsm.video.types import Image, VideoError, shown
from pptsm.video.video import Video, silence_sec

TICKS_A_SEC = 90_000
TEXT_SHARE = 0.06  # of the frame's height
SMALLEST_TEXT_PX = 8
MOST_CLASSES = 3  # named at once


class Caption(NamedTuple):
    """What is written on the frames from a time on, until the next caption."""

    start_sec: float
    text: str  # empty: nothing


def captions_of(found: Timeline, threshold: float) -> list[Caption]:
    """For each cell the classes whose smoothed score is at least `threshold`, the most probable first."""
    captions, end_sec = [Caption(-1.0, "")], 0.0
    for cell in found.cells:
        if cell.start_sec > end_sec:
            captions.append(Caption(end_sec, ""))
        above = [which for which in np.argsort(-cell.scores, kind="stable") if cell.scores[which] >= threshold]
        named = [f"{one_line(found.labels[which])} {cell.scores[which]:.0%}" for which in above[:MOST_CLASSES]]
        captions.append(Caption(cell.start_sec, "   ".join(named)))
        end_sec = cell.end_sec
    return captions


def write_overlay(target: Path, video: Path, captions: list[Caption], silent_sec: float) -> None:
    """Write the video anew (H.264 in .mp4, without sound) with the captions on its frames.

    Raises:
        VideoError: the file does not decode any more.
        UserError: the frames cannot be encoded.
    """
    video = video.absolute()
    try:
        with atomic_file(target) as partial:
            arguments = (partial, video, captions)
            with feed(overlaid, arguments, silence_sec(video, silent_sec)) as frames:
                total = next(frames)
                for _ in progress(frames, "overlay", "frames", total=total):
                    pass
    except (FeedFailure, VideoError) as error:
        raise VideoError(f"{shown(video)} gets no overlay: {error}.") from None


def overlaid(target: Path, video: Path, captions: list[Caption]) -> Iterator[int | None]:
    """How many frames there will be, if that is known, then a number for each one that is written; for `feed`."""
    opened = Video(video)
    yield len(opened.timing().begins_sec) if opened.times_are_known else None
    starts_sec = [caption.start_sec for caption in captions]

    def drawn() -> Iterator[tuple[int, Image]]:
        for frame in opened.presented():
            text = captions[bisect_right(starts_sec, frame.begin_sec) - 1].text
            yield round(frame.begin_sec * TICKS_A_SEC), with_caption(frame.image(), text)

    yield from timed_video(target, drawn(), Fraction(1, TICKS_A_SEC))


def with_caption(frame: Image, text: str) -> Image:
    """The frame [H, W, 3] with a text at its lower edge, its sides made even (as H.264 in 4:2:0 wants them)."""
    height, width = (side - side % 2 for side in frame.shape[:2])
    frame = frame[:height, :width]
    if not text:
        return frame
    strip = _strip(text, width, height)
    return np.concatenate([frame[: height - len(strip)], strip])


@functools.lru_cache(maxsize=16)
def _strip(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """A dark line of text [h, width, 3]; a text that is too long is made smaller."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    size = max(SMALLEST_TEXT_PX, round(TEXT_SHARE * height))
    font = ImageFont.load_default(size)
    if (length := font.getlength(text)) > width:
        font = ImageFont.load_default(max(SMALLEST_TEXT_PX, size * width / length))
    picture = Pillow.new("RGB", (width, min(height, round(1.5 * size))), (0, 0, 0))
    ImageDraw.Draw(picture).text((size // 4, picture.height // 2), text, fill=(255, 255, 255), font=font, anchor="lm")
    return np.asarray(picture)
