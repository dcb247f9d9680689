"""A timeline as files: a table of windows, segments in ActivityNet's form and as subtitles, features, a picture."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from pptsm.runtime.console import as_json, one_line
from pptsm.runtime.errors import UserError
from pptsm.runtime.extras import require
from pptsm.runtime.files import atomic_file
from pptsm.serving.timeline import Timeline
from pptsm.serving.windows import Segment
from pptsm.video.types import shown

PICTURES = (".png", ".svg", ".pdf")
MOST_CLASSES = 20  # rows of the picture: those that were most probable at any time
MOST_LETTERS = 28  # of a class's name in it
VERSION = "VERSION 1.3"  # of ActivityNet's results
DIGITS = 6


def write_csv(path: Path, found: Timeline) -> None:
    """One row per window: start and end in seconds, its most probable class, and each class's score, not smoothed."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["start_sec", "end_sec", "label", "score", *(f"score:{label}" for label in found.labels)])
        for start_sec, end_sec, scores in found.windows:
            best = int(np.argmax(scores))
            numbers = [round(float(score), DIGITS) for score in scores]
            rows.writerow([start_sec, end_sec, found.labels[best], numbers[best], *numbers])


def write_json(path: Path, found: Timeline, video: Path, details: str) -> None:
    """The segments as ActivityNet's evaluation reads results; the video is named as there, without its suffix.

    Args:
        path: the file to write.
        found: the timeline.
        video: the file that it is of.
        details: by what it was made.
    """
    segments = [
        {"label": segment.label, "score": segment.score, "segment": [segment.start_sec, segment.end_sec]}
        for segment in found.segments
    ]
    results = {
        "version": VERSION,
        "results": {shown(Path(video.stem)): segments},
        "external_data": {"used": True, "details": details},
    }
    with atomic_file(path) as partial:
        partial.write_text(as_json(results) + "\n", encoding="utf-8")


def write_srt(path: Path, segments: list[Segment]) -> None:
    """The segments as subtitles of the video, which players show (SubRip)."""
    blocks = [
        f"{number}\n{_srt_time(segment.start_sec)} --> {_srt_time(segment.end_sec)}\n{_srt_text(segment)}\n"
        for number, segment in enumerate(segments, start=1)
    ]
    with atomic_file(path) as partial:
        partial.write_text("\n".join(blocks), encoding="utf-8")


def _srt_time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def _srt_text(segment: Segment) -> str:
    label = one_line(segment.label).replace("<", "‹").replace(">", "›")  # players take <...> for mark-up
    return f"{label.replace('{', '(').replace('}', ')')} {segment.score:.0%}"


def write_features(path: Path, found: Timeline) -> None:
    """float32 [windows, C] as .npy: what enters the last fully connected layer, one row per window."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.save(file, np.stack(found.features))


def require_picture(path: Path) -> None:
    """Check that `write_picture` can write this file.

    Raises:
        UserError: its name says another kind of file, or matplotlib is missing.
    """
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"--picture writes {', '.join(PICTURES)}, and was given {path}. Name such a file.")
    require("--picture", ["pipeline"])


def write_picture(path: Path, found: Timeline) -> None:
    """Time against class: smoothed scores as shades, segments as lines below them."""
    import matplotlib
    from matplotlib.figure import Figure

    scores_CK = np.array([cell.scores for cell in found.cells])
    rows = np.sort(np.argsort(-scores_CK.max(axis=0), kind="stable")[:MOST_CLASSES])
    edges_sec, shades = [found.cells[0].start_sec], []
    for cell in found.cells:
        if cell.start_sec > edges_sec[-1]:  # nothing was seen in between
            edges_sec.append(cell.start_sec)
            shades.append(np.full(len(rows), np.nan))
        edges_sec.append(cell.end_sec)
        shades.append(cell.scores[rows])
    with matplotlib.rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "pptsm"}):
        figure = Figure(figsize=(10, 1.2 + 0.28 * len(rows)), layout="constrained")
        axes: Any = figure.add_subplot()
        borders = np.arange(len(rows) + 1) - 0.5
        image = axes.pcolormesh(edges_sec, borders, np.array(shades).T, vmin=0, vmax=1, cmap="Blues", rasterized=True)
        places = {found.labels[which]: place for place, which in enumerate(rows.tolist())}
        for segment in found.segments:
            if segment.label in places:
                place = places[segment.label] + 0.42
                axes.plot([segment.start_sec, segment.end_sec], [place, place], color="#c2701c", linewidth=2.5)
        names = [one_line(found.labels[which]) for which in rows]
        axes.set_yticks(range(len(rows)), [name[:MOST_LETTERS] for name in names])
        axes.set(xlabel="seconds", ylim=(len(rows) - 0.5, -0.5))
        figure.colorbar(image, ax=axes, label="score, smoothed", pad=0.01)
        no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix.lower()[1:])
        with atomic_file(path) as partial:
            figure.savefig(partial, format=path.suffix.lower()[1:], dpi=120, metadata=no_date)
