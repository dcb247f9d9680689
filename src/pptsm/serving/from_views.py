"""From normalised views to an answer, with a `Predictor`."""

import numpy as np
from numpy.typing import NDArray

from pptsm.data.transforms import ClipArray
from pptsm.evaluation.metrics import ranking, require_numbers, softmax, video_logits
from pptsm.serving.predictor import BATCH_VALUES, MOST_VIEWS, Guess, Predictor


def logits_of(predictor: Predictor, views: ClipArray) -> NDArray[np.float32]:
    """Views [V, S, 3, H, W] -> logits [V, K].

    Raises:
        UserError: the network cannot be computed, or answers with what is not a number.
    """
    at_once = min(MOST_VIEWS, max(1, BATCH_VALUES // views[0].size))
    logits_VK = np.concatenate(
        [predictor._score(views[start : start + at_once]) for start in range(0, len(views), at_once)]
    )
    require_numbers(logits_VK, "the network")
    return logits_VK


def guesses_of(predictor: Predictor, views: ClipArray, top_k: int) -> list[Guess]:
    """The most probable classes of the video that views [V, S, 3, H, W] show.

    Raises:
        UserError: as `logits_of`.
    """
    said = predictor.metadata
    logits = video_logits(logits_of(predictor, views), said.clip.average)[None]
    scores = softmax(logits)[0]
    return [Guess(said.labels[i], round(float(scores[i]), 6)) for i in ranking(logits, top_k)[0]]
