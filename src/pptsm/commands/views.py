"""What the network is given of a video, as an array or a sheet to look at."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pptsm.runtime.errors import UserError
from pptsm.stages.options import writable

if TYPE_CHECKING:
    pass


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

    from pptsm.data.clips import EvaluationVideos, FrameSource, TrainingClips
    from pptsm.data.spec import clip_spec
    from pptsm.data.transforms import contact_sheet, normalise
    from pptsm.data.views import views_of_file
    from pptsm.frames.store import FrameRequest, stored_name, write_stored
    from pptsm.params.checking import load_params
    from pptsm.runtime.console import say
    from pptsm.runtime.files import atomic_file
    from pptsm.video.image_sequence import open_clip
    from pptsm.video.types import FrameRange, VideoError

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
                kind = params.frames.stored_as
                frames, kept = FrameSource(kind, Path(folder)), Path(folder) / stored_name(kind, video.name)
                write_stored(video, [FrameRequest(kept, FrameRange(0, len(opened)))], params.frames)
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
    with atomic_file(out) as partial, partial.open("wb") as file:
        if out.suffix == ".npy":
            np.save(file, clips)
        else:
            contact_sheet(clips, spec).save(file, "PNG")
    what = "training clips" if training is not None else "views"
    say(f"{out}: {len(clips) // spec.segments} {what} of {spec.segments} frames, {spec.sampling}")
