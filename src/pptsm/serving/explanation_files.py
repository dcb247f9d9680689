"""An explanation as files: a strip of pictures, a page, numbers, the video with its maps laid over it."""

import base64
import html
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pptsm.evaluation.gradcam import enlarged
from pptsm.runtime.console import as_json, one_line, progress
from pptsm.runtime.errors import UserError
from pptsm.runtime.feed import FeedFailure, feed
from pptsm.runtime.files import atomic_file
from pptsm.serving.explanation import Explained
from pptsm.serving.overlay import TICKS_A_SEC, with_caption
from pptsm.video.encode import timed_video
from pptsm.video.types import Box, VideoError, shown
from pptsm.video.types import Image as Frame
from pptsm.video.video import Video, silence_sec

TILE_PX, TEXT_PX, GAP_PX = 128, 14, 4
IN_A_ROW = 8  # segments
BAR_PX = 40  # of the largest drop
INK, PAPER, FALLS, RISES = (32, 33, 36), (255, 255, 255), (194, 65, 12), (87, 96, 106)
HEAT = np.array([255, 40, 0], np.float32)
MOST_HEAT = 0.75  # of the picture's colour that the map may replace
DIGITS = 6

Maps = NDArray[np.float32]


def sentences(found: Explained) -> list[str]:
    """What was found, in lines for a person."""
    clip, names = found.clip, [one_line(label) for label in found.labels]
    lines = [f"answer: {names[found.answer]} {found.score:.1%}"]
    if clip.label != found.answer:
        lines.append(f"explained: {names[clip.label]} {clip.score:.1%}")
    if found.views > 1:
        lines.append(f"of {found.views} views the middle clip, centre: {names[clip.label]} {clip.score:.1%}")
    at = clip.decisive
    if clip.drops[at] > 0:
        lines.append(f"decides most: segment {at + 1}{_time(found, at)}; without it {_points(-clip.drops[at])}")
    else:
        lines.append("no segment decides: whichever is replaced, the probability does not fall")
    changed = [one for one in clip.reordered if one.name == "shuffled"]
    turned = clip.reordered[0]
    fate = "the same" if turned.kept else "another answer"
    lines.append(f"reversed: {fate}, {names[turned.answer]} {turned.score:.1%}")
    if changed:
        kept = sum(one.kept for one in changed)
        lines.append(f"shuffled: the same in {kept} of {len(changed)} orders")
    return lines


def _points(change: float) -> str:
    """A change of a probability."""
    return f"{100 * change:+.1f} points"


def _time(found: Explained, segment: int) -> str:
    begins = found.looked.begins_sec
    return "" if begins is None else f" ({begins[segment]:.2f} s)"


def values(found: Explained) -> dict[str, Any]:
    """What was found, as numbers; segments and frames count from 0."""
    clip, begins = found.clip, found.looked.begins_sec
    return {
        "file": shown(found.file),
        "made_by": found.made_by,
        "answer": {"label": found.labels[found.answer], "score": found.score, "views": found.views},
        "clip": {
            "answer": found.labels[clip.answer],
            "explained": found.labels[clip.label],
            "score": round(clip.score, DIGITS),
        },
        "segments": [
            {
                "frame": int(frame),
                "begin_sec": None if begins is None else round(float(begins[number]), 3),
                "drop": round(float(clip.drops[number]), DIGITS),
            }
            for number, frame in enumerate(found.looked.frames)
        ],
        "orders": [
            {
                "name": one.name,
                "order": list(one.order),
                "answer": found.labels[one.answer],
                "score": round(one.score, DIGITS),
                "kept": one.kept,
            }
            for one in clip.reordered
        ],
        "gradcam": None if found.maps is None else np.round(found.maps.astype(float), DIGITS).tolist(),
        "no_gradcam": found.no_maps,
    }


def heated(pictures: NDArray[np.uint8], maps: Maps) -> NDArray[np.uint8]:
    """Pictures [S, H, W, 3] with their maps [S, h, w] laid over them, all in one scale: red where a map is high."""
    height, width = pictures.shape[1:3]
    most = float(maps.max())
    share = enlarged(maps, width, height)[..., None] * (MOST_HEAT / most if most > 0 else 0)
    mixed: NDArray[np.uint8] = (pictures * (1 - share) + HEAT * share).round().clip(0, 255).astype(np.uint8)
    return mixed


def strip(found: Explained) -> Image.Image:
    """The frames that the network saw, their maps below, then how far the probability falls without each."""
    rows = [found.images] if found.maps is None else [found.images, heated(found.images, found.maps)]
    texts, segments = sentences(found), len(found.images)
    if found.no_maps:
        texts.append(found.no_maps)
    across = min(segments, IN_A_ROW)
    tall = len(rows) * (TILE_PX + GAP_PX) + BAR_PX + 2 * TEXT_PX + 2 * GAP_PX
    bands = -(-segments // IN_A_ROW)
    width = max(across * (TILE_PX + GAP_PX) + GAP_PX, 4 * TILE_PX)
    font = ImageFont.load_default(TEXT_PX)
    lines = [line for text in texts for line in _wrapped(text, font, width - 2 * GAP_PX)]
    head = 2 * GAP_PX + len(lines) * (TEXT_PX + GAP_PX)
    sheet = Image.new("RGB", (width, head + bands * tall), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((GAP_PX, GAP_PX + number * (TEXT_PX + GAP_PX)), line, fill=INK, font=font)
    for segment in range(segments):
        left = GAP_PX + segment % IN_A_ROW * (TILE_PX + GAP_PX)
        top = head + segment // IN_A_ROW * tall
        for row in rows:
            sheet.paste(Image.fromarray(row[segment]).resize((TILE_PX, TILE_PX)), (left, top))
            top += TILE_PX + GAP_PX
        _bar(draw, found, segment, left, top, font)
    return sheet


def _bar(draw: ImageDraw.ImageDraw, found: Explained, segment: int, left: int, top: int, font: Any) -> None:
    drop, most = float(found.clip.drops[segment]), float(np.abs(found.clip.drops).max())
    height = round(BAR_PX * abs(drop) / most) if most > 0 else 0
    foot = top + BAR_PX
    colour = FALLS if drop > 0 else RISES
    draw.rectangle((left + TILE_PX // 3, foot - height, left + 2 * TILE_PX // 3, foot), fill=colour)
    draw.text((left, foot + GAP_PX), f"{segment + 1}{_time(found, segment)} {-100 * drop:+.1f}", fill=INK, font=font)


def _wrapped(text: str, font: Any, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


def write_json(path: Path, found: Explained) -> None:
    """Numbers: occlusion, orders, and the maps where there are any."""
    with atomic_file(path) as partial:
        partial.write_text(as_json(values(found)) + "\n", encoding="utf-8")


def write_png(path: Path, found: Explained) -> None:
    """The strip."""
    with atomic_file(path) as partial:
        strip(found).save(partial, "PNG")


def write_html(path: Path, found: Explained) -> None:
    """A page of its own: what was found in words, the strip, and its numbers as tables."""
    picture = io.BytesIO()
    strip(found).save(picture, "PNG")
    data = base64.b64encode(picture.getvalue()).decode()
    said = "".join(f"<li>{html.escape(line)}</li>" for line in [*sentences(found), *filter(None, [found.no_maps])])
    clip, begins = found.clip, found.looked.begins_sec
    segments = "".join(
        _row(number + 1, frame, "" if begins is None else f"{begins[number]:.2f}", _points(-clip.drops[number]))
        for number, frame in enumerate(found.looked.frames.tolist())
    )
    orders = "".join(
        _row(
            one.name,
            " ".join(str(place + 1) for place in one.order),
            found.labels[one.answer],
            f"{one.score:.1%}",
            "yes" if one.kept else "no",
        )
        for one in clip.reordered
    )
    name = html.escape(one_line(shown(found.file)))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Why {name} is answered so</title>
<style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;
padding:0 1rem}}img{{max-width:100%}}table{{border-collapse:collapse;margin:1rem 0}}td,th{{padding:.2rem .8rem;
text-align:left;border-bottom:1px solid}}caption{{text-align:left;font-weight:bold}}</style></head><body><main>
<h1>Why {name} is answered so</h1><ul>{said}</ul>
<img src="data:image/png;base64,{data}" alt="The frames that the network saw; the tables below say what was found.">
<table><caption>Each segment replaced by its neighbours</caption>
<tr><th>segment</th><th>frame</th><th>second</th><th>change of the probability</th></tr>{segments}</table>
<table><caption>The same frames in another order</caption>
<tr><th>order</th><th>segments</th><th>answer</th><th>probability</th><th>the same</th></tr>{orders}</table>
<p>{html.escape(one_line(found.made_by))}</p></main></body></html>
"""
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _row(*cells: object) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(one_line(str(cell)))}</td>" for cell in cells) + "</tr>"


class _Heat(NamedTuple):
    """What is laid over the frames of a video."""

    maps: Maps
    frames: list[int]  # [S]: the frame that each map is of
    box: Box
    texts: list[str]  # [S]


def write_overlay(path: Path, found: Explained, silent_sec: float) -> None:
    """Write the video anew (H.264 in .mp4, without sound), over each frame the map of the segment nearest to it.

    Raises:
        VideoError: the file does not decode any more, or is a folder of frames.
        UserError: there are no maps.
    """
    if found.maps is None:
        raise UserError(f"an overlay shows maps, and {found.no_maps} Or name a file of .png, .html or .json.")
    name = one_line(found.labels[found.clip.label])
    texts = [
        f"{name} {found.clip.score:.0%}   {number + 1}: {_points(-drop)}"
        for number, drop in enumerate(found.clip.drops)
    ]
    heat = _Heat(found.maps, found.looked.frames.tolist(), found.looked.box, texts)
    video = found.file.absolute()
    try:
        with (
            atomic_file(path) as partial,
            feed(_overlaid, (partial, video, heat), silence_sec(video, silent_sec)) as done,
        ):
            for _ in progress(done, "overlay", "frames"):
                pass
    except (FeedFailure, VideoError) as error:
        raise VideoError(f"{shown(found.file)} gets no overlay: {error}.") from None


def _overlaid(target: Path, video: Path, heat: _Heat) -> Iterator[int]:
    def drawn() -> Iterator[tuple[int, Frame]]:
        for number, frame in enumerate(Video(video).presented()):
            segment = nearest(heat.frames, number)
            picture = laid_over(frame.image(), heat.maps, segment, heat.box)
            yield round(frame.begin_sec * TICKS_A_SEC), with_caption(picture, heat.texts[segment])

    yield from timed_video(target, drawn(), Fraction(1, TICKS_A_SEC))


def nearest(frames: list[int], number: int) -> int:
    """The place in `frames` of the frame nearest to a number; of several the first (short videos show some twice)."""
    return min(range(len(frames)), key=lambda place: abs(frames[place] - number))


def laid_over(frame: Frame, maps: Maps, segment: int, box: Box) -> Frame:
    """A frame [H, W, 3] with the map of a segment over the box that the network saw of it."""
    left, top, right, bottom = (round(side) for side in box)
    share = maps[segment : segment + 1] / max(float(maps.max()), float(np.finfo(np.float32).tiny))
    mixed = frame.copy()
    part = mixed[top:bottom, left:right]
    weight = enlarged(share, part.shape[1], part.shape[0])[0, ..., None] * MOST_HEAT
    part[...] = (part * (1 - weight) + HEAT * weight).round()
    return mixed
