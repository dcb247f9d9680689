"""From videos to logits: every video exactly once, in the order of the table."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pptsm.console import progress
from pptsm.data.clips import EvaluationVideos, TrainingClips
from pptsm.data.transforms import Pixels
from pptsm.evaluation.engines import PixelScorer
from pptsm.evaluation.metrics import video_logits


def score_videos(
    score: PixelScorer, videos: EvaluationVideos | TrainingClips, *, batch_views: int, workers: int, what: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of each video, as `videos.spec.average` makes them of its views' (`video_logits`).

    Args:
        score: computes the logits of the pixels of a batch of views.
        videos: what to score; a training clip counts as a video of one view.
        batch_views: views that are scored together; views of several videos may share a batch.
        workers: processes that prepare views; 0 is this one.
        what: name on the progress bar.

    Returns:
        logits [N, K] and labels [N], in the order of `videos`.
    """
    scored_NK: list[NDArray[np.float32]] = []
    views_VK: list[NDArray[np.float32]] = []  # of the video at hand
    labels = np.zeros(len(videos), dtype=np.int64)
    bar = progress(None, what, "videos", total=len(videos))
    with bar:
        for owners, views in _batches(videos, labels, batch_views, workers):
            for owner, logits_K in zip(owners, score(views), strict=True):
                if owner > len(scored_NK):  # the first view of the next video
                    scored_NK.append(video_logits(np.stack(views_VK), videos.spec.average))
                    views_VK.clear()
                    bar.update()
                views_VK.append(logits_K)
        scored_NK.append(video_logits(np.stack(views_VK), videos.spec.average))
        bar.update()
    return np.stack(scored_NK), labels


def _batches(
    videos: EvaluationVideos | TrainingClips, labels: NDArray[np.int64], batch_views: int, workers: int
) -> Iterator[tuple[list[int], Pixels]]:
    """(owning video of each view, pixels [B, S, 3, H, W] as arrays), filling `labels` on the way."""
    from pptsm.data.loading import load_batches  # Paddle's: only where there is something to load

    waiting: list[tuple[int, Pixels]] = []
    one_by_one = ([number] for number in range(len(videos)))
    for number, (loaded, label) in enumerate(load_batches(videos, one_by_one, workers, "cpu")):
        labels[number] = label.item()
        frames, scale, offset = (np.asarray(field)[0] for field in loaded)
        views = frames.reshape(-1, videos.spec.segments, *frames.shape[1:])
        waiting += [(number, Pixels(view, scale, offset)) for view in views]
        while len(waiting) >= batch_views:
            yield _stack(waiting[:batch_views])
            waiting = waiting[batch_views:]
    if waiting:
        yield _stack(waiting)


def _stack(views: list[tuple[int, Pixels]]) -> tuple[list[int], Pixels]:
    fields = zip(*(view for _, view in views), strict=True)
    return [owner for owner, _ in views], Pixels(*map(np.stack, fields))
