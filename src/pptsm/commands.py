"""What a person types beside the stages: predict, views, convert, preset, weights, fetch and doctor."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pptsm.errors import UserError

DEFAULT_MODEL = Path("models/export/model.onnx")


def predict(
    videos: Annotated[list[Path], typer.Argument(help="Video files, or folders of them.")],
    model: Annotated[Path, typer.Option(help="ONNX file that the export stage wrote.")] = DEFAULT_MODEL,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one list with an entry a file.")] = False,
    sampling: Annotated[
        Literal["uniform", "dense"] | None, typer.Option(help="Instead of the sampling that the model was trained for.")
    ] = None,
    timeout_sec: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that a file may take.")] = 600,
    results: Annotated[
        Path | None,
        typer.Option(
            help="CSV that gets a row for each video of one FOLDER that is new, changed or has failed before."
        ),
    ] = None,
) -> None:
    """Say what videos show: the most probable classes with their probabilities.

    A file that cannot be read is reported, the others are answered; the exit code is then 1 (with --results only if all
    that were new failed). A model that was not above chance when its training ended says so.
    """
    from pptsm.arrivals import predict_arrived
    from pptsm.console import progress
    from pptsm.data.video import VIDEO_SUFFIXES
    from pptsm.data.walk import videos_below
    from pptsm.deploy.predictor import Predictor, predict_files

    files: list[Path] = []
    if results is not None:
        if as_json or len(videos) != 1:
            raise UserError(f"--results takes one folder and no --json; it was given {' '.join(map(str, videos))}.")
    else:
        for path in videos:
            files += videos_below(path) if path.is_dir() else [path]
        if not files:
            raise UserError(f"no video in {', '.join(map(str, videos))}: looked for {' '.join(VIDEO_SUFFIXES)}.")
    predictor = Predictor(model, sampling)  # a bad model is refused before anything starts
    used, warning = predictor.sampling, predictor.metadata.warning
    doubt = {"warning": warning} if warning else {}
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    if results is not None:
        print(predict_arrived(videos[0], results, predictor, model, top_k, timeout_sec))
        return
    answers: list[dict[str, Any]] = []
    failed = 0
    found = predict_files(files, model, sampling, top_k, timeout_sec)
    for answer in progress(found, "predict", "videos", total=len(files), disable=len(files) < 5):
        if answer.error is None:
            top = [vars(guess) for guess in answer.top]
            answers.append({"file": str(answer.file), "sampling": used, "top": top, **doubt})
        else:
            failed += 1
            answers.append({"file": str(answer.file), "error": answer.error, **doubt})
    if as_json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
    else:
        for answer in answers:
            if "top" in answer:
                print(answer["file"])
                for guess in answer["top"]:
                    print(f"  {guess['score']:7.2%}  {guess['label']}")
    for answer in answers:
        if "error" in answer:
            print(f"error: {answer['file']}: {answer['error']}", file=sys.stderr)
    if failed:
        raise UserError(f"{failed} of {len(files)} files could not be read, see above.")


def views(
    video: Annotated[Path, typer.Argument(help="A video file.")],
    out: Annotated[
        Path, typer.Option(help="FILE.npy: float32 [V*S, 3, H, W], normalised; FILE.png: a sheet to look at.")
    ],
    params_path: Annotated[Path, typer.Option("--params", help="Parameters with clip, frames and sampling.")] = Path(
        "params.yaml"
    ),
    source: Annotated[
        Literal["archive", "file"],
        typer.Option(help="archive: through JPEGs, as training and evaluation read; file: as `pptsm predict` reads."),
    ] = "file",
    sampling: Annotated[
        Literal["uniform", "dense"] | None, typer.Option(help="Instead of the sampling in the parameters.")
    ] = None,
) -> None:
    """Write what the network is given of a video: the frames of all its evaluation views, cropped and normalised."""
    import tempfile

    import numpy as np

    from pptsm.data.archive import read_frames, write_archive
    from pptsm.data.clips import evaluation_indices, views_of, views_of_file
    from pptsm.data.spec import clip_spec
    from pptsm.data.transforms import contact_sheet
    from pptsm.data.video import Video, VideoError
    from pptsm.files import whole_file
    from pptsm.params import load_params

    if out.suffix not in (".npy", ".png"):
        raise UserError(
            f"--out {out} ends in neither .npy (the array) nor .png (a sheet to look at): name one of them."
        )
    params = load_params(params_path)
    spec = clip_spec(params.clip, params.student.segments, params.sampling)
    sampling = sampling or params.sampling
    try:
        if source == "file":
            clips = views_of_file(video, spec, sampling)
        else:
            num_frames = len(Video(video))
            with tempfile.TemporaryDirectory() as folder:
                archive = Path(folder) / "frames.zip"
                write_archive(archive, video, num_frames, params.frames)
                frames = read_frames(archive, evaluation_indices(num_frames, spec, sampling))
            clips = views_of(frames, spec, sampling)
    except VideoError as error:
        raise UserError(f"{video} cannot be read: {error}.") from None
    with whole_file(out) as partial, partial.open("wb") as file:
        if out.suffix == ".npy":
            np.save(file, clips)
        else:
            contact_sheet(clips, spec.segments).save(file, "PNG")
    print(f"{out}: {len(clips) // spec.segments} views of {spec.segments} frames, {sampling}")


def convert(
    weights: Annotated[str, typer.Argument(help="A weights file (.pdparams, .pth), a URL, or a known name.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
    params_path: Annotated[Path, typer.Option("--params", help="Parameters that describe network and clip.")],
    labels: Annotated[Path | None, typer.Option(help="Class names, instead of index.label_file.")] = None,
    check: Annotated[list[Path] | None, typer.Option(help="Video to compare ONNX and Paddle on; repeatable.")] = None,
) -> None:
    """Turn a published checkpoint into an ONNX file that `pptsm predict` answers with, without any dataset.

    ONNX Runtime must agree with Paddle on the --check videos (on a random clip without any), or no file is left.
    """
    import tempfile

    import numpy as np

    from pptsm.data.clips import views_of_file
    from pptsm.data.spec import clip_spec
    from pptsm.data.video import VideoError
    from pptsm.deploy.export import compare, convert_to_onnx, require, save_inference
    from pptsm.deploy.metadata import ModelMetadata
    from pptsm.files import sha256_of, whole_file
    from pptsm.ingest.annotations import read_label_file
    from pptsm.ingest.download import locate_weights
    from pptsm.model.card import network_arguments
    from pptsm.model.device import use_device
    from pptsm.model.weights import load_weights
    from pptsm.params import load_params

    params = load_params(params_path)
    label_file = labels or params.index.label_file
    if label_file is None:
        raise UserError(f"{params_path} has no index.label_file: name the classes with --labels FILE.")
    names = read_label_file(str(label_file))
    path = Path(weights) if Path(weights).is_file() else locate_weights(weights, params.student.start_sha256)
    use_device("cpu")
    model = network_arguments(params.student, len(names)).build()
    report = load_weights(model, path)
    print(f"{path}: {report.summary()}")
    if report.reinitialised:
        raise UserError(f"the last layer of {path} does not fit the {len(names)} classes of {label_file}.")
    spec = clip_spec(params.clip, params.student.segments, params.sampling)
    clips = []
    for video_path in check or []:
        try:
            clips.append(views_of_file(video_path, spec, "uniform"))
        except VideoError as error:
            raise UserError(f"--check {video_path}: {error}.") from None
    clips = clips or [np.random.default_rng(0).normal(0, 1, spec.shape).astype(np.float32)]
    metadata = ModelMetadata(names, spec, f"weights-{sha256_of(path)[:16]}")
    with whole_file(out) as partial, tempfile.TemporaryDirectory() as folder:
        save_inference(model, Path(folder), spec.shape)
        convert_to_onnx(Path(folder), partial, params.export.opset, metadata.to_properties())
        fresh = network_arguments(params.student, len(names)).build()
        load_weights(fresh, path)
        agreement = compare(fresh, partial, clips)
        require(agreement, params.export.tolerance)
    print(f"{out}: agrees with Paddle to {agreement.max_relative_difference:.2g} on {agreement.clips} clips")


def preset(
    name: Annotated[str | None, typer.Argument(help="Name of a file in presets/.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the presets.")] = False,
    force: Annotated[bool, typer.Option(help="Replace params.yaml even if it was edited.")] = False,
    params_path: Annotated[Path, typer.Option("--params", help="The file to put in place.")] = Path("params.yaml"),
) -> None:
    """Put a complete, commented parameters file in place of params.yaml."""
    from pptsm.files import whole_file
    from pptsm.params import load_params

    folder = Path("presets")
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if not known:
        raise UserError(f"no presets here: looked for {folder.absolute()}/*.yaml. Run this in the project's folder.")
    if show_list or name is None:
        for known_name, path in known.items():
            print(f"{known_name:28} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
        return
    if name not in known:
        raise UserError(f"no preset {name!r}; there are {', '.join(known)}.")
    load_params(known[name])
    text = known[name].read_bytes()
    if params_path.exists() and not force:
        current = params_path.read_bytes()
        if current != text and all(current != path.read_bytes() for path in known.values()):
            raise UserError(
                f"{params_path} was edited: it equals none of the presets. Keep a copy, or replace it with "
                f"`pptsm preset {name} --force`."
            )
    with whole_file(params_path) as partial:
        partial.write_bytes(text)
    print(f"{params_path} is now preset {name}. Next: dvc repro")


def weights() -> None:
    """List the published weights that params.yaml can name."""
    from pptsm.ingest.download import known_weights

    for known in known_weights().values():
        print(f"{known.name}\n    {known.note}\n    {known.url}")


def fetch(
    sources: Annotated[list[str], typer.Argument(help="Names that `pptsm weights` lists, or URLs.")],
) -> None:
    """Download weights ahead of their use: resumed, retried, checked, and looked into.

    The pipeline finds them when params.yaml names them. Exit code 75: trying again later may help.
    """
    from pptsm.files import sha256_of
    from pptsm.ingest.download import locate_weights
    from pptsm.model.pickles import read_weights

    for source in sources:
        path = locate_weights(source, sha256=None)
        arrays = len(read_weights(path))
        print(f"{source}: {path}, {path.stat().st_size:,} bytes, {arrays} arrays, SHA-256 {sha256_of(path)}")


def doctor() -> None:
    """Check this machine: versions, device, threads, disk, shared memory, cache, and what is missing."""
    from pptsm.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'BAD '} {finding.what:24} {finding.found}")
        if not finding.good:
            print(f"     {'':24} -> {finding.remedy}")
    if bad := sum(not finding.good for finding in findings):
        raise UserError(f"{bad} of {len(findings)} checks failed, see above.")
