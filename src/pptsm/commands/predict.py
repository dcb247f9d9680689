"""What videos show: the answer of an exported network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import writable

if TYPE_CHECKING:
    from pptsm.video.types import Seconds

DEFAULT_MODEL = Path("models/export/model.onnx")


def predict(
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of them, or FOLDER/img_%05d.jpg.")],
    model: Annotated[Path, typer.Option(help="ONNX file that the export stage wrote.")] = DEFAULT_MODEL,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON: one list with one entry per file, each on its own line as it comes."),
    ] = False,
    sampling: Annotated[
        Literal["uniform", "dense"] | None, typer.Option(help="Instead of the sampling that the model was trained for.")
    ] = None,
    timeout_sec: Annotated[
        float, typer.Option("--timeout", min=1, max=604_800, help="Seconds that a file may take.")
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
    from pptsm.runtime.console import as_json as json_line
    from pptsm.runtime.console import note, one_line, progress, say
    from pptsm.runtime.pool import limit_memory
    from pptsm.serving.doubts import Doubts
    from pptsm.serving.inbox import predict_arrived
    from pptsm.serving.predictor import Predictor, predict_files
    from pptsm.video.image_sequence import members_pattern
    from pptsm.video.scan import is_folder, scan_for_videos
    from pptsm.video.types import shown
    from pptsm.video.video import VIDEO_SUFFIXES

    if frame_name is not None and (results is not None or members_pattern(frame_name) is None):
        raise UserError(f"--frame-name is {frame_name!r}, but takes a name as img_%05d.jpg, and no --results.")
    files: list[Path] = []
    part = _part(start_sec, end_sec)
    if results is not None:
        if part is not None:
            raise UserError("--results looks at whole videos: leave out --start and --end.")
        if coverage is not None:
            raise UserError("--results has no column for --coverage: leave one of them out.")
        if as_json or len(videos) != 1:
            raise UserError(f"--results takes one folder and no --json; it was given {' '.join(map(str, videos))}.")
    else:
        for path in videos:
            files += scan_for_videos(path, frame_name) if is_folder(path) else [path]
        if not files:
            raise UserError(
                f"no video in {', '.join(map(str, videos))}: looked for {frame_name or ' '.join(VIDEO_SUFFIXES)}."
            )
    limit_memory()  # of this process too: a few bytes of a graph may ask for any amount
    predictor = Predictor(model, sampling)  # a bad model is refused before anything starts
    if not predictor.has_digest:
        note(
            f"predict: {model} was exported before files had a digest: whether it is as it was then cannot be told. "
            "Exported again, it has one."
        )
    doubts = Doubts.of(predictor.metadata, predictor.sampling, coverage)
    used, warning = predictor.sampling, predictor.metadata.warning
    doubt = {"warning": warning} if warning else {}
    if warning:
        note(f"warning: {warning}")
    if results is not None:
        say(predict_arrived(videos[0], results, predictor, model, top_k, timeout_sec))
        return
    failed = 0
    found = predict_files(files, model, sampling, top_k, timeout_sec, [part] * len(files))
    if as_json:
        say("[")
    try:
        answers = progress(found, "predict", "videos", total=len(files), disable=len(files) < 5)
        for number, (file, answer) in enumerate(zip(files, answers, strict=True)):
            name, error = shown(file), answer.error
            if error is not None:
                failed += 1
                note(f"error: {one_line(name)}: {one_line(error)}")
            if as_json:
                what = (
                    {"sampling": used, "top": [vars(guess) for guess in answer.top]} | doubts.values(answer.logits)
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
    if failed:
        raise UserError(f"{failed} of {len(files)} files got no answer, see above.")


def _part(start_sec: float | None, end_sec: float | None) -> "Seconds | None":
    from pptsm.video.types import Seconds

    if start_sec is None and end_sec is None:
        return None
    if start_sec is None or end_sec is None or start_sec >= end_sec:
        raise UserError(
            f"--start ({start_sec}) and --end ({end_sec}) go together, the start first: --start 10 --end 20."
        )
    return Seconds(start_sec, end_sec)
