"""A published checkpoint as an ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import writable

if TYPE_CHECKING:
    from pptsm.params.schema import Params


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

    from pptsm.data.spec import clip_spec
    from pptsm.data.views import middle_view, views_of_file
    from pptsm.deploy.export import export_checked
    from pptsm.deploy.published import load_published
    from pptsm.distributed.device import use_device
    from pptsm.ingest.texts import read_label_file
    from pptsm.runtime.console import say
    from pptsm.runtime.files import atomic_file, sha256_of
    from pptsm.serving.metadata import ModelMetadata
    from pptsm.video.types import VideoError
    from pptsm.weights.download import locate_weights

    params = _params_for(weights, params_path, preset_name)
    label_file = labels or params.index.label_file
    if label_file is None:
        raise UserError("the parameters have no index.label_file: name the classes with --labels FILE.")
    names = read_label_file(str(label_file))
    path = Path(weights) if Path(weights).is_file() else locate_weights(weights, params.student.start.sha256)
    use_device("cpu")
    described = (params.student.network, params.clip.input, len(names), str(label_file))
    model, report = load_published(path, *described)
    say(f"{path}: {report.summary()}")
    spec = clip_spec(params.clip, params.student.network.num_segments, params.sampling)
    clips = []
    for video_path in check or []:
        try:
            clips.append(middle_view(views_of_file(video_path, spec, spec.sampling), spec.segments))
        except VideoError as error:
            raise UserError(f"--check {video_path}: {error}.") from None
    clips = clips or [np.random.default_rng(0).normal(0, 1, spec.shape).astype(np.float32)]
    metadata = ModelMetadata(names, spec, f"weights-{sha256_of(path)[:16]}")
    unchanged, _ = load_published(path, *described)
    with atomic_file(out) as partial:
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
