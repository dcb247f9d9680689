"""Stage `motion`: draw the embedded dataset. About 40 ms per video; 800 videos by default."""

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFolder, ParamsPath


def run(out: OutFolder, params_path: ParamsPath = DEFAULT_PARAMS) -> None:
    """Draw the embedded dataset: videos of textured shapes, 8 classes in time-reversed pairs."""
    params = load_params(params_path)

    from pptsm.ingest.motion import draw_dataset
    from pptsm.runtime.files import atomic_folder

    with atomic_folder(out) as folder:
        if params.motion.videos_per_class == 0:
            # not an empty folder: of that DVC would warn whoever has videos of their own
            (folder / "nothing_drawn.txt").write_text("motion.videos_per_class is 0: other videos are used.\n")
            return
        draw_dataset(folder, params.motion)
