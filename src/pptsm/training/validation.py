"""How videos are looked at while a network is trained: the curve, the choice of the best epoch, and the verdict."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pptsm.data.clips import EvaluationVideos, FrameSource
from pptsm.data.spec import ClipSpec
from pptsm.distributed.ranks import Ranks
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.scoring import score_videos
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Compute
from pptsm.runtime.cores import loader_processes


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


def validation_scores(
    model: VideoNetwork,
    videos: pd.DataFrame,
    source: FrameSource,
    spec: ClipSpec,
    compute: Compute,
    what: str,
    ranks: Ranks,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits [N, K] and labels [N] of each video, by `spec.sampling` and in `one_view` of it.

    Args:
        model: is left in evaluation mode.
        videos: rows of the index.
        source: where frames come from.
        spec: of the network.
        compute: section compute; changes no result.
        what: name on the progress bar.
        ranks: among which the videos are dealt; each of them is given all scores.
    """
    return score_videos(
        paddle_pixel_scorer(model),
        EvaluationVideos(videos, source, one_view(spec), spec.sampling),
        batch_views=compute.batch_views,
        workers=loader_processes(compute.workers),
        what=what,
        ranks=ranks,
    )
