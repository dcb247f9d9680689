"""Whether a network needs the order of the frames, class by class: the same videos reversed and shuffled.

Shape legend: S segments (frames of a clip), B clips, K classes, N videos.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pptsm.data.clips import EvaluationVideos
from pptsm.data.transforms import Pixels
from pptsm.evaluation.engines import PixelScorer
from pptsm.evaluation.explain import Order, orders
from pptsm.evaluation.metrics import Labels, Logits, ranking
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import interval
from pptsm.runtime.errors import UserError

HALF = 0.5


@dataclass(frozen=True)
class ClassOrder:
    """Of the videos of a class that are answered rightly: how many still are when their frames change places.

    A class needs time where reversing or shuffling takes most answers, and does not where both leave most: by the
    95 % intervals of the shares, which must lie on one side of a half.
    """

    label: int
    videos: int
    kept: dict[str, float]  # "reversed", "shuffled" -> share of the videos, 0 to 1; empty where there is no video
    became: int | None  # what reversing turned most answers into, the lowest of several; None: it turned none
    needs_time: bool | None  # None: the videos are too few to tell


def order_by_class(
    score: PixelScorer, videos: EvaluationVideos, classes: int, *, batch_views: int, workers: int
) -> list[ClassOrder]:
    """Whether the answers to a split outlive reversing and shuffling, class by class.

    Args:
        score: the network.
        videos: the split, at least one video.
        classes: K.
        batch_views: as `score_videos`.
        workers: as `score_videos`.

    Raises:
        UserError: as `score_videos`, or the clips have one frame.
    """
    if videos.spec.segments < 2:
        raise UserError("clips of 1 frame have no order.")

    def scored(order: Order | None, what: str) -> tuple[NDArray[np.float32], Labels]:
        scorer = score if order is None else in_order(score, order)
        return score_videos(scorer, videos, batch_views=batch_views, workers=workers, what=what)

    logits_NK, truth_N = scored(None, "as they are")
    others = [(name, scored(order, name)[0]) for name, order in orders(videos.spec.segments)]
    return survival(logits_NK, others, truth_N, classes)


def in_order(score: PixelScorer, order: Order) -> PixelScorer:
    """A scorer of views [B, S, 3, H, W] that shows the network their segments in another order."""
    return lambda pixels: score(Pixels(pixels.values[:, list(order)], pixels.scale, pixels.offset))


def survival(
    logits_NK: Logits, others: Sequence[tuple[str, Logits]], truth_N: Labels, classes: int
) -> list[ClassOrder]:
    """What became of the right answers, class by class.

    Args:
        logits_NK: of the videos as they are.
        others: "reversed" or "shuffled", and the logits [N, K] of the same videos so; "shuffled" several times.
        truth_N: the classes of the videos.
        classes: K.
    """
    right_N = ranking(logits_NK, 1)[:, 0] == truth_N
    answers = [(name, ranking(logits, 1)[:, 0]) for name, logits in others]
    return [_of_class(label, right_N & (truth_N == label), answers) for label in range(classes)]


def _of_class(label: int, chosen_N: NDArray[np.bool_], answers: list[tuple[str, NDArray[np.int64]]]) -> ClassOrder:
    kept: dict[str, list[NDArray[np.bool_]]] = {}
    for name, answers_N in answers:
        kept.setdefault(name, []).append(answers_N[chosen_N] == label)
    turned = [one for name, answers_N in answers if name == "reversed" for one in answers_N[chosen_N] if one != label]
    counted = Counter(map(int, turned))
    total = int(chosen_N.sum())
    # several shuffles of a video are one observation: the share that they leave, in videos
    shares = {name: float(np.mean(each)) for name, each in kept.items()} if total else {}
    bounds = [interval(round(share * total), total) for share in shares.values()]
    needs = True if any(high < HALF for _, high in bounds) else None
    if bounds and all(low > HALF for low, _ in bounds):
        needs = False
    became = min(counted, key=lambda one: (-counted[one], one)) if counted else None
    return ClassOrder(label, total, shares, became, needs)
