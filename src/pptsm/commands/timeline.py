"""What a long video shows, and when: the command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import ModelOption, PrecisionOption, RuntimeOption, SamplingOption, chosen_model, writable

if TYPE_CHECKING:
    from pptsm.serving.stream import Patience, Stream
    from pptsm.serving.timeline import Timeline
    from pptsm.serving.windows import Grid
    from pptsm.video.live import Source

SHORTEST_SEC = 0.01  # between two windows, and of one
MOST_SMOOTH = 9_999  # windows


def timeline(
    video: Annotated[
        str, typer.Argument(help="A video file; or rtsp://..., http://..., /dev/video0, or - for standard input.")
    ],
    model: ModelOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    window_sec: Annotated[float, typer.Option("--window", metavar="S", help="Seconds that a window shows.")] = 2.0,
    every_sec: Annotated[
        float | None, typer.Option("--every", metavar="S", help="Seconds from one window to the next; half a window.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Score from which a class counts as shown, 0 to 1.")] = 0.5,
    smooth: Annotated[int, typer.Option(help="Windows whose scores are averaged, an odd number; 1: none.")] = 3,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", callback=writable, help="Write each window's scores as a table."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", callback=writable, help="Write segments as ActivityNet's results."),
    ] = None,
    srt_file: Annotated[
        Path | None, typer.Option("--srt", metavar="FILE", callback=writable, help="Write segments as subtitles.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=writable, help="Draw time against class: .png, .svg or .pdf."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=writable, help="Write each window's pooled features as .npy."),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=writable, help="Write the video anew with labels on it, as .mp4."),
    ] = None,
    sampling: SamplingOption = None,
    silent_sec: Annotated[
        float, typer.Option("--timeout", min=1, max=604_800, help="Seconds that a decoder may show nothing of a file.")
    ] = 60,
    stall_sec: Annotated[
        float,
        typer.Option("--stall", min=1, max=86_400, help="Seconds without a frame after which a stream has broken."),
    ] = 10,
    reconnect: Annotated[
        int, typer.Option(min=0, help="How often in a row a stream that has broken is opened again.")
    ] = 3,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes a stream's answers name.")] = 5,
) -> None:
    """Say what a long video shows, and when: windows of it are scored, smoothed, and merged into segments by class.

    Without options that name files, the segments are printed. Of a camera, an address or standard input, answers are
    lines of JSON while it goes on. If the model was not above chance when its training ended, the command says so.
    """
    grid = _grid(window_sec, every_sec, threshold, smooth)
    outputs = {
        "--csv": csv_file,
        "--json": json_file,
        "--srt": srt_file,
        "--picture": picture,
        "--features": features,
        "--overlay": overlay,
    }
    source, path = _source(video, outputs), Path(video)
    _require_outputs(outputs, path)

    from pptsm.runtime.console import note
    from pptsm.runtime.pool import limit_memory
    from pptsm.serving.overlay import captions_of, write_overlay
    from pptsm.serving.predictor import Predictor, note_cautions
    from pptsm.serving.stream import Patience, Stream
    from pptsm.serving.timeline import WindowScorer, timeline_of

    limit_memory()  # of this process too: a few bytes of a graph may ask for any amount
    predictor = Predictor(chosen_model(model), sampling, runtime, precision)
    note_cautions(predictor, "timeline")
    note(f"timeline: {predictor.runtime} in {predictor.precision}")
    scorer = WindowScorer(predictor, features=features is not None)
    if source is not None:
        _say_events(Stream(scorer, grid, threshold, smooth, top_k), source, Patience(stall_sec, reconnect))
        return
    found = timeline_of(path, scorer, grid, threshold, smooth, silent_sec)
    if not found.windows:
        raise UserError(
            f"{video} has no frame in any window: windows of {grid.length_sec:g} s every {grid.every_sec:g} s."
        )
    details = (
        f"pptsm timeline, {predictor.metadata.revision}: windows of {grid.length_sec:g} s every {grid.every_sec:g} s, "
        f"{predictor.sampling}, mean of {smooth}, threshold {threshold:g}; {predictor.runtime} in {predictor.precision}"
    )
    _write(found, outputs, path, details)
    if overlay is not None:
        write_overlay(overlay, path, captions_of(found, threshold), silent_sec)
    if not any(outputs.values()):
        _print(found, threshold)


def _grid(window_sec: float, every_sec: float | None, threshold: float, smooth: int) -> "Grid":
    """Check the numbers.

    Raises:
        UserError: one of them cannot be used.
    """
    from pptsm.serving.windows import LONGEST_SEC, Grid

    every = window_sec / 2 if every_sec is None else every_sec
    for option, value in (("--window", window_sec), ("--every", every)):
        if not SHORTEST_SEC <= value <= LONGEST_SEC:  # also not a number
            raise UserError(f"{option} is {value:g} s, and should be {SHORTEST_SEC} to {LONGEST_SEC:g} seconds.")
    if not 0 < threshold <= 1:
        raise UserError(f"--threshold is {threshold:g}, and should be above 0 and at most 1.")
    if not (1 <= smooth <= MOST_SMOOTH and smooth % 2 == 1):
        raise UserError(f"--smooth is {smooth}, and should be an odd number of windows, 1 to {MOST_SMOOTH}.")
    return Grid(window_sec, every)


def _source(video: str, outputs: dict[str, Path | None]) -> "Source | None":
    """What a user's word names, if it is no file.

    Raises:
        UserError: an address of a kind that is not read, or a stream with options that are for files.
    """
    from pptsm.video.live import source_of
    from pptsm.video.types import VideoError

    try:
        source = source_of(video)
    except VideoError as error:
        raise UserError(f"{video} is no address that can be read: {error}.") from None
    given = [option for option, path in outputs.items() if path is not None]
    if source is not None and given:
        raise UserError(
            f"{', '.join(given)}: for files; a stream ({source.shown}) is answered in lines of JSON, printed."
        )
    return source


def _say_events(stream: "Stream", source: "Source", patience: "Patience") -> None:
    from pptsm.runtime.console import as_json, say

    try:
        for event in stream.events(source, patience):
            say(as_json(event))
    finally:  # also when it is interrupted: what was found is said
        for event in stream.closing():
            say(as_json(event))


def _require_outputs(outputs: dict[str, Path | None], video: Path) -> None:
    """Check the files to write before any work.

    Raises:
        UserError: two of them are one, one is the video, or of another kind than its name says.
    """
    named: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        if place in named:
            raise UserError(f"{named[place]} and {option} both name {path}. Give each a file of its own.")
        if place == video.resolve():
            raise UserError(f"{option} names the video itself, which would be lost: {path}. Name another file.")
        named[place] = option
    if (picture := outputs["--picture"]) is not None:
        from pptsm.serving.timeline_files import require_picture

        require_picture(picture)
    if (overlay := outputs["--overlay"]) is not None and overlay.suffix.lower() != ".mp4":
        raise UserError(f"--overlay writes .mp4, and was given {overlay}. Name such a file.")


def _write(found: "Timeline", outputs: dict[str, Path | None], video: Path, details: str) -> None:
    from pptsm.serving import timeline_files

    if path := outputs["--csv"]:
        timeline_files.write_csv(path, found)
    if path := outputs["--json"]:
        timeline_files.write_json(path, found, video, details)
    if path := outputs["--srt"]:
        timeline_files.write_srt(path, found.segments)
    if path := outputs["--features"]:
        timeline_files.write_features(path, found)
    if path := outputs["--picture"]:
        timeline_files.write_picture(path, found)


def _print(found: "Timeline", threshold: float) -> None:
    from pptsm.runtime.console import note, one_line, say

    if not found.segments:
        note(f"timeline: no class reaches {threshold:g} in any window ({len(found.windows)}). Lower --threshold.")
    for segment in found.segments:
        say(f"{segment.start_sec:9.2f} {segment.end_sec:9.2f}  {segment.score:7.2%}  {one_line(segment.label)}")
