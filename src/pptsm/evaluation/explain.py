"""Why a clip is answered so, asked of the scores alone: any exported file can answer, whatever runtime computes it.

Two questions: which segment decides (each is replaced by a neighbour, and the score falls or does not), and whether the
order of the frames matters (the same frames reversed and shuffled).

Shape legend: S segments (frames of a clip), B clips, K classes.

Source of occlusion: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014), section 4.2,
there with grey squares in a picture, here with a neighbour's frame in time, which shows the network nothing it does
not know.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pptsm.data.transforms import ClipArray
from pptsm.evaluation.engines import Scorer
from pptsm.evaluation.metrics import ranking, require_numbers, softmax
from pptsm.runtime.errors import UserError

SHUFFLES = 3  # each with its reverse, so that a class of motion gains nothing by the order that is drawn
SEED = 2026  # of the shuffles

Order = tuple[int, ...]  # [S]: which segment stands in each place


@dataclass(frozen=True)
class Reordered:
    """What a clip is answered with when its segments stand in another order."""

    name: str  # "reversed" or "shuffled"
    order: Order
    answer: int  # the class
    score: float  # its probability
    kept: bool  # whether it is the answer to the clip as it is


@dataclass(frozen=True)
class Explanation:
    """What the scores of a clip and of its variants say."""

    answer: int  # the class that the clip is answered with
    label: int  # the class that is explained: the answer, unless another was asked for
    score: float  # its probability
    drops: NDArray[np.float64]  # [S]: how far it falls when a segment is replaced; below 0: it rises
    reordered: list[Reordered]

    @property
    def decisive(self) -> int:
        """The segment whose replacement costs most; of several the first."""
        return int(self.drops.argmax())


def explain_clip(score: Scorer, clip: ClipArray, label: int | None = None) -> Explanation:
    """Occlusion in time and order of one clip, from one call of `score`.

    Args:
        score: the network.
        clip: float32 [S, 3, H, W], normalised.
        label: the class to explain; None: the answer.

    Raises:
        UserError: the clip has one frame, and so neither neighbours nor an order; or a logit is not a number.
    """
    segments = len(clip)
    if segments < 2:
        raise UserError("a clip of 1 frame has no neighbours and no order: there is nothing to explain in time.")
    asked = orders(segments)
    pairs = replacements(segments)
    variants = [tuple(range(segments)), *(order for _, order in asked), *(order for *_, order in pairs)]
    logits_BK = score(np.stack([clip[list(order)] for order in variants]))
    require_numbers(logits_BK, "the network, asked about a clip and its variants,")
    scores_BK, answers_B = softmax(logits_BK), ranking(logits_BK, 1)[:, 0].tolist()
    explained = answers_B[0] if label is None else label
    drops_B = scores_BK[0, explained] - scores_BK[1 + len(asked) :, explained]
    replaced = np.array([segment for segment, *_ in pairs])
    return Explanation(
        answer=answers_B[0],
        label=explained,
        score=float(scores_BK[0, explained]),
        drops=np.array([drops_B[replaced == segment].mean() for segment in range(segments)]),
        reordered=[
            Reordered(name, order, answer, float(scores[answer]), answer == answers_B[0])
            for (name, order), answer, scores in zip(asked, answers_B[1:], scores_BK[1:], strict=False)
        ],
    )


def replacements(segments: int) -> list[tuple[int, int, Order]]:
    """Each segment, the neighbour in its place, and the order that this makes: two of a segment, one at either end."""
    pairs = [(at, by) for at in range(segments) for by in (at - 1, at + 1) if 0 <= by < segments]
    return [(at, by, tuple(by if place == at else place for place in range(segments))) for at, by in pairs]


def orders(segments: int) -> list[tuple[str, Order]]:
    """The reversed order, and shuffled ones by a fixed seed: `SHUFFLES` and their reverses; none of two segments.

    Args:
        segments: S, at least 2.
    """
    rng, as_is = np.random.default_rng(SEED), tuple(range(segments))
    shuffled: list[Order] = []
    while segments > 2 and len(shuffled) < 2 * SHUFFLES:
        order: Order = tuple(rng.permutation(segments).tolist())
        if order not in (as_is, as_is[::-1]):
            shuffled += [order, order[::-1]]
    return [("reversed", as_is[::-1]), *(("shuffled", order) for order in shuffled)]
