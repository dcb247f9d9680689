"""How well segments of videos are found: mean average precision at a temporal overlap, by ActivityNet's protocol.

Source: Caba Heilbron et al., ActivityNet (CVPR 2015), and the evaluation of its detection challenge: a prediction is
right if it overlaps a segment of its class that no prediction of a higher score has taken; the precision is made
non-increasing before it is averaged over recall (as PASCAL VOC does from 2011 on); the mean is over the classes that
are there.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Found(NamedTuple):
    """A segment of a class in a video, in seconds."""

    label: str
    start_sec: float
    end_sec: float
    score: float = 1.0  # of a prediction


def temporal_iou(segment: Found, others: Sequence[Found]) -> NDArray[np.float64]:
    """Overlap over union in time with each of the others, [N], 0 to 1."""
    starts, ends = (np.array([other[place] for other in others], np.float64) for place in (1, 2))
    overlap = np.maximum(0.0, np.minimum(ends, segment.end_sec) - np.maximum(starts, segment.start_sec))
    union = (ends - starts) + (segment.end_sec - segment.start_sec) - overlap
    return np.asarray(np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0))


def average_precision(
    truth: Mapping[str, Sequence[Found]], predictions: Mapping[str, Sequence[Found]], least_iou: float
) -> float:
    """Of one class: the area below its precision over recall; 0 where nothing is predicted.

    Args:
        truth: video -> its segments, at least one in all.
        predictions: video -> what was found there.
        least_iou: the overlap from which a prediction is right.

    Raises:
        ValueError: a score is not a number.
    """
    ranked = [(video, found) for video, each in predictions.items() for found in each]
    if not all(np.isfinite(found.score) for _, found in ranked):
        raise ValueError("a score is not a number")
    ranked.sort(key=lambda pair: -pair[1].score)  # of equals the first stays first
    taken: set[tuple[str, int]] = set()
    right = np.zeros(len(ranked))
    for rank, (video, found) in enumerate(ranked):
        overlaps = temporal_iou(found, truth.get(video, ()))
        for place in np.argsort(-overlaps, kind="stable"):
            if overlaps[place] < least_iou:
                break
            if (video, int(place)) not in taken:
                taken.add((video, int(place)))
                right[rank] = 1
                break
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(ranked) + 1)
    never_rising = np.maximum.accumulate(precision[::-1])[::-1]
    return float((never_rising * right).sum() / sum(map(len, truth.values())))


def mean_average_precision(
    truth: Mapping[str, Sequence[Found]], predictions: Mapping[str, Sequence[Found]], least_iou: float
) -> float:
    """The mean over the classes of the truth of `average_precision`; predictions of other classes count nothing.

    Raises:
        ValueError: there is no segment in the truth, or a score is not a number.
    """
    labels = sorted({segment.label for segments in truth.values() for segment in segments})
    if not labels:
        raise ValueError("there is no segment to find")

    def of(label: str, segments: Mapping[str, Sequence[Found]]) -> dict[str, list[Found]]:
        return {video: [one for one in each if one.label == label] for video, each in segments.items()}

    return float(np.mean([average_precision(of(one, truth), of(one, predictions), least_iou) for one in labels]))
