"""What a person types beside the stages: predict, views, unpack, convert, preset, weights, fetch, lists and doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import OutFolder, writable

if TYPE_CHECKING:
    from pptsm.params.schema import Params
    from pptsm.video.types import Seconds

DEFAULT_MODEL = Path("models/export/model.onnx")
DEFAULT_INDEX, DEFAULT_LABELS = Path("data/index.csv"), Path("data/labels.txt")


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
    new ones failed). If the model was not above chance when its training ended, the command says so.
    """
    from pptsm.runtime.console import as_json as json_line
    from pptsm.runtime.console import note, one_line, progress, say
    from pptsm.runtime.pool import limit_memory
    from pptsm.serving.inbox import predict_arrived
    from pptsm.serving.predictor import Predictor, predict_files
    from pptsm.video.image_sequence import members_pattern
    from pptsm.video.scan import is_folder, videos_below
    from pptsm.video.types import shown
    from pptsm.video.video import VIDEO_SUFFIXES

    if frame_name is not None and (results is not None or members_pattern(frame_name) is None):
        raise UserError(f"--frame-name is {frame_name!r}, but takes a name as img_%05d.jpg, and no --results.")
    files: list[Path] = []
    part = _part(start_sec, end_sec)
    if results is not None:
        if part is not None:
            raise UserError("--results looks at whole videos: leave out --start and --end.")
        if as_json or len(videos) != 1:
            raise UserError(f"--results takes one folder and no --json; it was given {' '.join(map(str, videos))}.")
    else:
        for path in videos:
            files += videos_below(path, frame_name) if is_folder(path) else [path]
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
                    {"sampling": used, "top": [vars(guess) for guess in answer.top]}
                    if error is None
                    else {"error": error}
                )
                entry = json_line({"file": name} | what | doubt)
                say(f"{',' if number else ''}{entry}")  # whole lines, for who reads along
            elif error is None:
                guesses = (f"  {guess.score:7.2%}  {one_line(guess.label)}" for guess in answer.top)
                say("\n".join([one_line(name), *guesses]))
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


def views(
    video: Annotated[Path, typer.Argument(help="A video file, or FOLDER/img_%05d.jpg.")],
    out: Annotated[
        Path,
        typer.Option(
            callback=writable, help="FILE.npy: float32 [V*S, 3, H, W], normalised; FILE.png: a sheet to look at."
        ),
    ],
    params_path: Annotated[Path, typer.Option("--params", help="Parameters with clip, frames and sampling.")] = Path(
        "params.yaml"
    ),
    source: Annotated[
        Literal["archive", "file"],
        typer.Option(help="archive: as training and evaluation read kept frames; file: as `pptsm predict` reads."),
    ] = "file",
    sampling: Annotated[
        Literal["uniform", "dense"] | None, typer.Option(help="Instead of the sampling in the parameters.")
    ] = None,
    training: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="N augmented training clips (of epoch 0) instead.")
    ] = None,
) -> None:
    """Write what the network sees of a video: the frames of all its evaluation views, cropped and normalised.

    With --training N: N clips as the first epoch may sample them, one row of S frames each, by the parameters' seed.
    """
    import tempfile

    import numpy as np
    import pandas as pd

    from pptsm.data.clips import EvaluationVideos, FrameSource, TrainingClips, views_of_file
    from pptsm.data.spec import clip_spec
    from pptsm.data.transforms import contact_sheet, normalise
    from pptsm.frames.store import Wanted, kept_name, write_kept
    from pptsm.params.checking import load_params
    from pptsm.runtime.console import say
    from pptsm.runtime.files import whole_file
    from pptsm.video.image_sequence import open_clip
    from pptsm.video.types import Span, VideoError

    if out.suffix not in (".npy", ".png"):
        raise UserError(
            f"--out {out} ends in neither .npy (the array) nor .png (a sheet to look at): name one of them."
        )
    params = load_params(params_path)
    spec = clip_spec(params.clip, params.student.network.num_segments, sampling or params.sampling)
    try:
        opened = open_clip(video)
        opened.require_whole()
        row = pd.DataFrame(
            {"id": [video.name], "path": video.name, "first_frame": 0, "num_frames": len(opened), "label_index": 0}
        )
        with tempfile.TemporaryDirectory() as folder:
            frames = FrameSource("video", video.parent)
            if source == "archive":
                kind = params.frames.kept
                frames, kept = FrameSource(kind, Path(folder)), Path(folder) / kept_name(kind, video.name)
                write_kept(video, [Wanted(kept, Span(0, len(opened)))], params.frames)
            if training is not None:
                # the label is not shown, so that of a mirrored clip need not be known
                drawn = params.training.model_copy(update={"clips_per_video": training, "flip_labels": {}})
                epoch = TrainingClips(row, frames, ["any"], spec, drawn, params.seed, epoch=0)
                clips = np.concatenate([normalise(epoch[number][0]) for number in range(training)])
            elif source == "archive":
                clips = normalise(EvaluationVideos(row, frames, spec, spec.sampling)[0][0])
            else:
                clips = views_of_file(video, spec, spec.sampling)
    except VideoError as error:
        raise UserError(f"{video} cannot be read: {error}.") from None
    with whole_file(out) as partial, partial.open("wb") as file:
        if out.suffix == ".npy":
            np.save(file, clips)
        else:
            contact_sheet(clips, spec).save(file, "PNG")
    what = "training clips" if training is not None else "views"
    say(f"{out}: {len(clips) // spec.segments} {what} of {spec.segments} frames, {spec.sampling}")


def unpack(
    frames: Annotated[Path, typer.Argument(help="Folder of frame archives, as stage frames writes it.")],
    out: OutFolder,
) -> None:
    """Turn archives into folders of loose JPEGs (CLASS/VIDEO/img_00001.jpg), byte for byte, for tools that need them.

    With index.root set to that folder and index.frame_name to img_%05d.jpg the pipeline reads them again.
    """
    from pptsm.frames.archive import EXTRACT_AGAIN, archive_name, unpack
    from pptsm.frames.store import call_damaged
    from pptsm.runtime.console import progress, say
    from pptsm.runtime.files import whole_folder
    from pptsm.video.types import VideoError

    suffix = archive_name("")
    archives = sorted(path for path in frames.rglob(f"*{suffix}") if path.is_file())
    if not archives:
        raise UserError(
            f"no archive in {frames}: looked for files that end in {suffix} in it and its folders. With frames.source: "
            "archive, `dvc repro frames` makes them."
        )
    count = 0
    with whole_folder(out) as folder:
        for archive in progress(archives, "unpack", "archives"):
            name = archive.relative_to(frames).as_posix().removesuffix(suffix)
            try:
                count += unpack(archive, folder / name)
            except VideoError as error:
                call_damaged(archive)
                raise UserError(f"cannot unpack {error}. {EXTRACT_AGAIN} mends it.") from None
    say(f"{out}: {count} frames of {len(archives)} archives")


def convert(
    weights: Annotated[str, typer.Argument(help="A weights file (.pdparams, .pth), a URL, or a known name.")],
    out: Annotated[Path, typer.Option(callback=writable, help="ONNX file to write.")],
    params_path: Annotated[
        Path | None, typer.Option("--params", help="Parameters that describe network and clip.")
    ] = None,
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="A preset that describes them, instead of --params.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, instead of index.label_file.")] = None,
    check: Annotated[list[Path] | None, typer.Option(help="Video to compare ONNX and Paddle on; repeatable.")] = None,
) -> None:
    """Turn a published checkpoint into an ONNX file for `pptsm predict`, without any dataset.

    Weights that `pptsm weights` lists, by name or as a file that still has its published name, have known
    parameters; for others name --params or --preset. ONNX Runtime must agree with Paddle on the --check videos (without
    any, on a random clip), or no file is left.
    """
    import numpy as np

    from pptsm.data.clips import views_of_file
    from pptsm.data.spec import clip_spec
    from pptsm.deploy.export import export_checked
    from pptsm.deploy.parity import middle_view
    from pptsm.distributed.device import use_device
    from pptsm.ingest.texts import read_label_file
    from pptsm.runtime.console import say
    from pptsm.runtime.files import sha256_of, whole_file
    from pptsm.serving.metadata import ModelMetadata
    from pptsm.video.types import VideoError
    from pptsm.weights.card import network_arguments
    from pptsm.weights.download import locate_weights
    from pptsm.weights.loading import load_weights

    params = _params_for(weights, params_path, preset_name)
    label_file = labels or params.index.label_file
    if label_file is None:
        raise UserError("the parameters have no index.label_file: name the classes with --labels FILE.")
    names = read_label_file(str(label_file))
    path = Path(weights) if Path(weights).is_file() else locate_weights(weights, params.student.start.sha256)
    use_device("cpu")
    model = network_arguments(params.student, len(names)).build()
    report = load_weights(model, path)
    say(f"{path}: {report.summary()}")
    if report.reinitialised:
        raise UserError(f"the last layer of {path} does not fit the {len(names)} classes of {label_file}.")
    spec = clip_spec(params.clip, params.student.network.num_segments, params.sampling)
    clips = []
    for video_path in check or []:
        try:
            clips.append(middle_view(views_of_file(video_path, spec, spec.sampling), spec.segments))
        except VideoError as error:
            raise UserError(f"--check {video_path}: {error}.") from None
    clips = clips or [np.random.default_rng(0).normal(0, 1, spec.shape).astype(np.float32)]
    metadata = ModelMetadata(names, spec, f"weights-{sha256_of(path)[:16]}")
    unchanged = network_arguments(params.student, len(names)).build()
    load_weights(unchanged, path)
    with whole_file(out) as partial:
        agreement = export_checked(model, unchanged, metadata, clips, params.export, partial)
    on = (
        f"{agreement.clips} clips of the --check videos" if check else "a random clip: --check VIDEO compares real ones"
    )
    say(f"{out}: agrees with Paddle to {agreement.max_relative_difference:.2g} on {on}")


def _params_for(weights: str, params_path: Path | None, preset_name: str | None) -> "Params":
    """The parameters of weights: from a file, from a preset, or those that known weights bring along."""
    from pptsm.params.checking import load_params
    from pptsm.presets.compose import PRESETS, Choice, chosen_params
    from pptsm.weights.registry import known_by_file

    if params_path is not None and preset_name is not None:
        raise UserError("--params and --preset both describe the network: give one of them.")
    if params_path is not None:
        return load_params(params_path)
    if preset_name is not None:
        return chosen_params(PRESETS, Choice(preset_name))
    known = known_by_file(weights)
    if known is None:
        raise UserError(
            f"what network is in {weights}? Its name is none that `pptsm weights` lists, so say it with --params FILE "
            "or --preset NAME."
        )
    return chosen_params(PRESETS, Choice("eval", known.name))


def preset(
    name: Annotated[str | None, typer.Argument(help="Name of a preset; --list shows them.")] = None,
    weights_name: Annotated[
        str | None, typer.Option("--weights", help="For preset eval: a name that `pptsm weights` lists.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, laid over the preset; repeatable.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print what differs from the base; write nothing.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the presets.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace params.yaml even if it was edited.")] = False,
    params_path: Annotated[Path, typer.Option("--params", help="The file to write.")] = Path("params.yaml"),
) -> None:
    """Write a complete, commented params.yaml: the base with a preset's values and yours.

    A file that was edited since is not replaced without --force.
    """
    from pptsm.presets.compose import (
        PRESETS,
        Choice,
        as_yaml,
        chosen_params,
        compose,
        difference,
        preset_names,
        written_by,
    )
    from pptsm.runtime.console import say
    from pptsm.runtime.files import require_writable, whole_file

    if show_list or name is None:
        for known, first_line in preset_names(PRESETS).items():
            say(f"{known:28} {first_line}")
        return
    choice = Choice(name, weights_name, tuple(settings or ()))
    if show:
        chosen_params(PRESETS, choice)
        say(as_yaml(difference(PRESETS, choice)).rstrip("\n"))
        return
    text = compose(PRESETS, choice)
    require_writable(params_path)
    replaced = None
    if params_path.exists() and not force:
        replaced = written_by(PRESETS, params_path.read_text(encoding="utf-8", errors="replace"))
        if replaced is None:
            raise UserError(
                f"{params_path} was edited: it is not what the command in its head writes. Keep a copy, or replace it "
                f"with `{choice.command} --force`."
            )
    with whole_file(params_path) as partial:
        partial.write_text(text, encoding="utf-8")
    was = "" if replaced in (None, choice.command) else f" (it was `{replaced}`)"
    here = Path("dvc.yaml").is_file()
    say(f"{params_path} is now preset {name}{was}. Next: dvc repro{'' if here else ', in a clone of the project'}")


def weights() -> None:
    """List the published weights that params.yaml can name."""
    from pptsm.runtime.console import say
    from pptsm.weights.registry import known_weights

    for known in known_weights().values():
        say(f"{known.name}\n    {'; '.join(filter(None, [known.note, known.published]))}\n    {known.url}")


def fetch(
    sources: Annotated[list[str], typer.Argument(help="Names that `pptsm weights` lists, or URLs.")],
) -> None:
    """Download weights ahead of their use: resumed, retried, and checked.

    The pipeline finds them when params.yaml names them. Exit code 75: trying again later may help.
    """
    from pptsm.runtime.console import say
    from pptsm.runtime.files import sha256_of
    from pptsm.weights.download import locate_weights
    from pptsm.weights.state_dict import read_weights

    for source in sources:
        path = locate_weights(source, sha256=None)
        arrays = len(read_weights(path))
        say(f"{source}: {path}, {path.stat().st_size:,} bytes, {arrays} arrays, SHA-256 {sha256_of(path)}")


def lists(
    toolbox: Annotated[
        Literal["paddlevideo", "paddlex", "mmaction2"],
        typer.Option("--format", help="The toolbox whose lists to write."),
    ],
    out: OutFolder,
    index: Annotated[Path, typer.Option(help="Index that stage index wrote.")] = DEFAULT_INDEX,
    labels: Annotated[Path, typer.Option(help="Class names that stage index wrote.")] = DEFAULT_LABELS,
    frames: Annotated[
        bool, typer.Option("--frames", help="List folders of frames, as `pptsm unpack` makes them.")
    ] = False,
) -> None:
    """Write the split as lists of another toolbox, to run it on the same clips.

    Refused is what such lists cannot hold: parts of files, and paths with spaces.
    """
    from pptsm.data.table import load_index, load_labels
    from pptsm.ingest.export_lists import lists_for
    from pptsm.runtime.console import note, say
    from pptsm.runtime.files import whole_folder

    table = load_index(index)
    texts, notes = lists_for(toolbox, table, load_labels(labels, table), frames)
    with whole_folder(out) as partial:
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
    for name, text in texts.items():
        say(f"{out / name}: {text.count(chr(10))} lines")
    for line in notes:
        note(f"lists: {line}")
    if toolbox == "paddlex":
        note(f"lists: the paths begin with videos/: link the videos there, `ln -s ROOT {out}/videos`")
    else:
        note(
            f"lists: the paths are below {'the unpacked frames' if frames else 'index.root'}: that is their data prefix"
        )


def doctor() -> None:
    """Check this machine: versions, device, threads, disk, shared memory, cache, and what is missing."""
    from pptsm.commands.doctor import examine
    from pptsm.runtime.console import say

    findings = examine()
    for finding in findings:
        say(f"{'ok  ' if finding.good else 'BAD '} {finding.what:24} {finding.found}")
        if not finding.good:
            say(f"     {'':24} -> {finding.remedy}")
    if bad := sum(not finding.good for finding in findings):
        raise UserError(f"{bad} of {len(findings)} checks failed, see above.")
