"""From videos to logits: every video exactly once, in the order of the table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pptsm.data.clips import EvaluationVideos, TrainingClips
from pptsm.data.prefetch import prepared
from pptsm.data.transforms import Pixels
from pptsm.evaluation.engines import PixelScorer
from pptsm.evaluation.metrics import require_numbers, video_logits
from pptsm.runtime.console import progress
from pptsm.runtime.errors import UserError

if TYPE_CHECKING:
    from pptsm.distributed.ranks import Ranks


def score_videos(
    score: PixelScorer,
    videos: EvaluationVideos | TrainingClips,
    *,
    batch_views: int,
    workers: int,
    what: str,
    ranks: "Ranks | None" = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of each video, as `videos.spec.average` makes them of its views' (`video_logits`).

    Args:
        score: computes the logits of the pixels of a batch of views.
        videos: what to score; a training clip counts as a video of one view.
        batch_views: views that are scored together; views of several videos may share a batch.
        workers: processes that prepare views; 0 is this one.
        what: name on the progress bar.
        ranks: the processes that share the videos; each of them gets all logits.

    Returns:
        logits [N, K] and labels [N], in the order of `videos`.

    Raises:
        UserError: there is no video; or, naming it, a video's logits are not finite numbers.
    """
    if not len(videos):
        raise UserError(f"{what}: there is no video to score.")
    labels = np.array([videos.label_of(number) for number in range(len(videos))], dtype=np.int64)
    numbers: Sequence[int] = range(len(videos))
    if ranks is not None:
        numbers = ranks.share(numbers)
    views_VK: list[NDArray[np.float32]] = []  # of the video at hand
    scored: list[NDArray[np.float32]] = []  # [K] of each video before it

    def video_is_whole() -> None:
        scored.append(video_logits(np.stack(views_VK), videos.spec.average))
        views_VK.clear()
        bar.update()

    with progress(None, what, "videos", total=len(numbers)) as bar:
        for owners, views in _batches(videos, numbers, batch_views, workers):
            for owner, logits_K in zip(owners, score(views), strict=True):
                if owner > len(scored):  # the first view of the next video
                    video_is_whole()
                require_numbers(logits_K, f"{what}: the network, asked about {videos.video_of(numbers[owner])!r},")
                views_VK.append(logits_K)
        if views_VK:
            video_is_whole()
    if ranks is not None:
        scored = ranks.gather(scored)
    return np.stack(scored), labels


def _batches(
    videos: EvaluationVideos | TrainingClips,
    numbers: Sequence[int],
    batch_views: int,
    workers: int,
) -> Iterator[tuple[list[int], Pixels]]:
    """(place in `numbers` of each view's video, pixels [B, S, 3, H, W] as arrays)."""
    waiting: list[tuple[list[int], Pixels]] = []  # fewer views than a batch has
    room = batch_views
    one_by_one = ([number] for number in numbers)
    for place, (values, scale, offset, _) in enumerate(prepared(videos, one_by_one, workers)):
        views = values.reshape(-1, videos.spec.segments, *values.shape[2:])
        while len(views):
            first, views = views[:room], views[room:]
            owners = [place] * len(first)
            waiting.append(
                (owners, Pixels(first, *(np.repeat(field, len(first), axis=0) for field in (scale, offset))))
            )
            room -= len(first)
            if not room:
                yield _joined(waiting)
                waiting, room = [], batch_views
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[list[int], Pixels]]) -> tuple[list[int], Pixels]:
    """One batch of several; a single one, which may have many megabytes, is not copied."""
    if len(parts) == 1:
        return parts[0]
    fields = zip(*(pixels for _, pixels in parts), strict=True)
    return [owner for owners, _ in parts for owner in owners], Pixels(*map(np.concatenate, fields))
