"""Why a video is answered so: the command."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import ModelOption, PrecisionOption, RuntimeOption, SamplingOption, chosen_model, writable

KINDS = (".png", ".html", ".json", ".mp4")
WEIGHTS = Path("models/student")  # where the stages put the network of the exported file


def explain(
    video: Annotated[Path, typer.Argument(help="A video file, or FOLDER/img_%05d.jpg.")],
    out: Annotated[
        Path,
        typer.Option(
            callback=writable,
            metavar="FILE",
            help="What to write: .png, a strip of the frames that the network saw; .html, the same as a page with "
            "tables; .json, all numbers; .mp4, the video with its Grad-CAM maps over it (needs weights).",
        ),
    ],
    model: ModelOption = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Weights of the model, for Grad-CAM; by itself models/student, if that belongs to the model.",
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Explain this class instead of the answer.")] = None,
    sampling: SamplingOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    silent_sec: Annotated[
        float, typer.Option("--timeout", min=1, max=604_800, help="Seconds that a decoder may show nothing of a file.")
    ] = 60,
) -> None:
    """Say why a video is answered so: which frames decide, whether their order matters, and where the network looks.

    Each segment of the clip is replaced by its neighbours, and the clip is reversed and shuffled: that needs the model
    file alone. Where its weights are there, Grad-CAM adds a map for each segment.
    """
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise UserError(f"--out writes {', '.join(KINDS)}, and was given {out}. Name such a file.")
    if out.resolve() == video.resolve():
        raise UserError(f"--out names the video itself, which would be lost: {out}. Name another file.")

    from pptsm.evaluation.gradcam import gradcam, network_of
    from pptsm.runtime.console import note, say
    from pptsm.runtime.pool import limit_memory
    from pptsm.serving import explanation_files
    from pptsm.serving.explanation import explain_video
    from pptsm.serving.predictor import Predictor, note_cautions

    limit_memory()  # of this process too: a few bytes of a graph may ask for any amount
    predictor = Predictor(chosen_model(model), sampling, runtime, precision)
    note_cautions(predictor, "explain")
    network = network_of(weights or WEIGHTS, predictor.metadata.revision, named=weights is not None)
    if isinstance(network, str):
        if kind == ".mp4":
            raise UserError(f"an overlay shows maps, but {network} Or let --out end in .png, .html or .json.")
        note(f"explain: {network}")
    look = network if isinstance(network, str) else partial(gradcam, network)
    found = explain_video(video, predictor, look, label, silent_sec)
    if kind == ".mp4":
        explanation_files.write_overlay(out, found, silent_sec)
    else:
        {".png": explanation_files.write_png, ".html": explanation_files.write_html}.get(
            kind, explanation_files.write_json
        )(out, found)
    say("\n".join(explanation_files.sentences(found)))
