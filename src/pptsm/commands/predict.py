"""What videos show: the answer of an exported network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import ModelOption, PrecisionOption, RuntimeOption, SamplingOption, chosen_model, writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pptsm.serving.doubts import Doubts
    from pptsm.serving.predictor import Answer, Predictor
    from pptsm.video.types import Seconds


def predict(
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of them, or FOLDER/img_%05d.jpg.")],
    model: ModelOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON: one list with one entry per file, each on its own line as it comes."),
    ] = False,
    sampling: SamplingOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    timeout_sec: Annotated[
        float, typer.Option("--timeout", min=1, max=604_800, help="Seconds that a file may take to decode.")
    ] = 600,
    start_sec: Annotated[
        float | None,
        typer.Option("--start", min=0, metavar="S", help="Look at a part of each video: from second S"),
    ] = None,
    end_sec: Annotated[float | None, typer.Option("--end", min=0, metavar="S", help="to second S.")] = None,
    frame_name: Annotated[
        str | None, typer.Option("--frame-name", help="img_%05d.jpg: folders hold such frames, not video files.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Also show all classes that may be, so that this share of sets has the right one."
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            callback=writable,
            help="CSV with one row per video of one FOLDER; those that are new, changed or failed are predicted.",
        ),
    ] = None,
) -> None:
    """Say what videos show: the most probable classes with their probabilities, each answer as it comes.

    A file that gets no answer is reported, and the others go on; the exit code is then 1 (with --results only if all
    new ones failed). If the model was not above chance when its training ended, the command says so. A packaged model
    also says of a video that is unlike those it knows that it shows none of its classes.
    """
    from pptsm.runtime.cores import cores
    from pptsm.runtime.pool import limit_memory
    from pptsm.serving.decode import decoders

    if frame_name is not None and (results is not None or not _is_frame_name(frame_name)):
        raise UserError(f"--frame-name is {frame_name!r}, but takes a name as img_%05d.jpg, and no --results.")
    part = _part(start_sec, end_sec)
    if results is not None:
        if part is not None:
            raise UserError("--results looks at whole videos: leave out --start and --end.")
        if coverage is not None:
            raise UserError("--results has no column for --coverage: leave one of them out.")
        if as_json or len(videos) != 1:
            raise UserError(f"--results takes one folder and no --json; it was given {' '.join(map(str, videos))}.")
    several = results is not None or len(videos) > 1 or videos[0].is_dir()
    with decoders(cores() if several else 1) as processes:  # they begin while the model is opened here
        files = [] if results is not None else _files(videos, frame_name)
        from pptsm.runtime.console import say
        from pptsm.serving.doubts import Doubts
        from pptsm.serving.predictor import Predictor, note_cautions

        limit_memory()  # of this process too: a few bytes of a graph may ask for any amount
        predictor = Predictor(chosen_model(model), sampling, runtime, precision)
        note_cautions(predictor, "predict")
        if results is not None:
            from pptsm.serving.inbox import predict_arrived

            say(predict_arrived(videos[0], results, predictor, processes, top_k, timeout_sec))
            return
        doubts = Doubts.of(predictor.metadata, predictor.sampling, coverage)
        answers = predictor.answers(files, processes, top_k, timeout_sec, [part] * len(files))
        failed = _say_answers(files, answers, predictor, doubts, as_json)
    if failed:
        raise UserError(f"{failed} of {len(files)} files got no answer, see above.")


def _files(videos: list[Path], frame_name: str | None) -> list[Path]:
    """What is to be predicted: files as they were named, and the videos of folders.

    Raises:
        UserError: there is none.
    """
    from pptsm.video.scan import is_folder, scan_for_videos
    from pptsm.video.video import VIDEO_SUFFIXES

    files: list[Path] = []
    for path in videos:
        files += scan_for_videos(path, frame_name) if is_folder(path) else [path]
    if not files:
        raise UserError(
            f"no video in {', '.join(map(str, videos))}: looked for {frame_name or ' '.join(VIDEO_SUFFIXES)}."
        )
    return files


def _is_frame_name(name: str) -> bool:
    from pptsm.video.image_sequence import members_pattern

    return members_pattern(name) is not None


def _say_answers(
    files: list[Path], answers: "Iterator[Answer]", predictor: "Predictor", doubts: "Doubts", as_json: bool
) -> int:
    """Print answers as they come; how many files got none."""
    from pptsm.runtime.console import as_json as json_line
    from pptsm.runtime.console import note, one_line, progress, say
    from pptsm.video.types import shown

    how = {"sampling": predictor.sampling, "runtime": predictor.runtime, "precision": predictor.precision}
    doubt = {"warning": predictor.metadata.warning} if predictor.metadata.warning else {}
    failed = 0
    if as_json:
        say("[")
    else:
        note(f"predict: {predictor.runtime} in {predictor.precision}")
    if len(files) >= 5:
        answers = iter(progress(answers, "predict", "videos", total=len(files)))
    try:
        for number, (file, answer) in enumerate(zip(files, answers, strict=True)):
            name, error = shown(file), answer.error
            if error is not None:
                failed += 1
                note(f"error: {one_line(name)}: {one_line(error)}")
            if as_json:
                what = (
                    how | {"top": [vars(guess) for guess in answer.top]} | doubts.values(answer.logits)
                    if answer.logits is not None
                    else {"error": error}
                )
                entry = json_line({"file": name} | what | doubt)
                say(f"{',' if number else ''}{entry}")  # whole lines, for who reads along
            elif answer.logits is not None:
                guesses = (f"  {guess.score:7.2%}  {one_line(guess.label)}" for guess in answer.top)
                say("\n".join([one_line(name), *guesses, *doubts.lines(answer.logits)]))
    finally:
        if as_json:  # also when it is interrupted: the list so far is whole
            say("]")
    return failed


def _part(start_sec: float | None, end_sec: float | None) -> "Seconds | None":
    from pptsm.video.types import Seconds

    if start_sec is None and end_sec is None:
        return None
    if start_sec is None or end_sec is None or start_sec >= end_sec:
        raise UserError(
            f"--start ({start_sec}) and --end ({end_sec}) go together, the start first: --start 10 --end 20."
        )
    return Seconds(start_sec, end_sec)
