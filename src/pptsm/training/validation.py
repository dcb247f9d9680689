"""How videos are looked at while a network is trained: the curve, the choice of the best epoch, and the verdict."""

import numpy as np
from numpy.typing import NDArray

from pptsm.data.clips import EvaluationVideos
from pptsm.data.spec import ClipSpec
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.scoring import score_videos
from pptsm.model.network import VideoNetwork
from pptsm.runtime.cores import loader_processes
from pptsm.training.run import Run


def one_view(spec: ClipSpec) -> ClipSpec:
    """The same pixels, but of each video one clip and of it the centre; dense: the window in the middle of the video.

    The protocol of a published dense figure is 30 views: after each epoch that would cost more than the epoch.
    """
    return spec.model_copy(
        update={
            "crops": "center",
            "frame_rule": "centred" if spec.frame_rule == "twice" else spec.frame_rule,
            "dense_clips": 1,
            "dense_crops": "center",
            "average": "logits",
        }
    )


def validation_logits(model: VideoNetwork, run: Run, what: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits [N, K] and labels [N] of each validation video, by `run.spec.sampling` and in `one_view` of it.

    Args:
        model: is left in evaluation mode.
        run: has the videos; each of its ranks gets all logits.
        what: name on the progress bar.
    """
    return score_videos(
        paddle_pixel_scorer(model),
        EvaluationVideos(run.val_videos, run.source, one_view(run.spec), run.spec.sampling),
        batch_views=run.params.compute.batch_views,
        workers=loader_processes(run.params.compute.workers),
        what=what,
        ranks=run.ranks,
    )
