"""From videos to logits: each video once, in order, the mean of its views' logits."""

import numpy as np
import pandas as pd
import pytest

from conftest import params_with
from helpers.clips import CLIP, NUM_FRAMES, Noise, videos_of
from pptsm.data.clips import TrainingClips
from pptsm.data.transforms import Pixels, normalise
from pptsm.evaluation.metrics import softmax
from pptsm.evaluation.scoring import score_videos


def test_a_mirrored_training_clip_counts_as_what_it_shows() -> None:
    """The label is that of the clip, not of its video: a left turn, mirrored, is a right one."""
    rows = videos_of("uniform")
    columns = {"id": list("01234"), "path": list("01234"), "first_frame": 0, "num_frames": NUM_FRAMES}
    table = pd.DataFrame(columns | {"label_index": rows.label_indices})
    training = {"flip": "horizontal", "flip_labels": {"left": "right", "right": "left"}, "clips_per_video": 4}
    recipe = params_with(training=training).training
    clips = TrainingClips(table, Noise(), ["left", "right", "up"], CLIP, recipe, 1, epoch=0)
    _, labels = score_videos(Scorer(), clips, batch_views=4, workers=0, what="test")
    assert labels.tolist() == [int(clips[number][1]) for number in range(len(clips))]
    assert labels.tolist() != [rows.label_indices[number % 5] for number in range(len(clips))]


class Scorer:
    """Three logits of each view, none linear in it; it remembers how many views came at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, pixels: Pixels) -> np.ndarray:
        """[B, S, 3, H, W] -> [B, 3]."""
        views = normalise(pixels)
        self.batches.append(len(views))
        first, last = views[:, 0].mean(axis=(1, 2, 3)), views[:, -1].max(axis=(1, 2, 3))
        return np.stack([5 * first, last**2, np.exp(first - last)], axis=1).astype(np.float32)


@pytest.mark.parametrize(("batch_views", "workers"), [(1, 0), (4, 0), (4, 1), (6, 0), (64, 0)])
@pytest.mark.parametrize(("sampling", "views_a_video"), [("uniform", 1), ("dense", 6)])
def test_a_videos_score_is_the_mean_of_its_views_logits(
    sampling: str, views_a_video: int, batch_views: int, workers: int
) -> None:
    """Whatever shares a batch: views of several videos, parts of one, a last one that is not full."""
    videos, score = videos_of(sampling), Scorer()
    logits, labels = score_videos(score, videos, batch_views=batch_views, workers=workers, what="test")
    assert labels.tolist() == [2, 0, 1, 2, 0]
    all_pixels = [videos[number][0] for number in range(5)]
    whole = [pixels._replace(values=pixels.values.reshape(views_a_video, 2, 3, 16, 16)) for pixels in all_pixels]
    expected = [Scorer()(pixels) for pixels in whole]
    np.testing.assert_allclose(logits, [views.mean(axis=0) for views in expected], rtol=1e-5)
    full, rest = divmod(5 * views_a_video, batch_views)
    assert score.batches == [batch_views] * full + ([rest] if rest else [])


def test_it_is_the_logits_that_are_averaged_not_their_softmax() -> None:
    """One view that is very sure outweighs two that are a little sure of something else."""

    def score(pixels: Pixels) -> np.ndarray:
        sure = np.arange(len(pixels.values)) % 6 == 0  # one of each video's six views
        return np.where(sure[:, None], [[30.0, 0.0]], [[0.0, 2.0]]).astype(np.float32)

    logits, _ = score_videos(score, videos_of("dense"), batch_views=6, workers=0, what="test")
    assert (logits.argmax(axis=1) == 0).all()  # the mean of the softmax would name class 1
    np.testing.assert_allclose(logits, [[5, 10 / 6]] * 5, rtol=1e-6)


def test_probabilities_are_averaged_where_the_clip_says_so() -> None:
    """The same scores: the softmax of the result is the mean of the views' softmax, and names the other class."""

    def score(pixels: Pixels) -> np.ndarray:
        sure = np.arange(len(pixels.values)) % 6 == 0
        return np.where(sure[:, None], [[900.0, 0.0]], [[0.0, 2.0]]).astype(np.float32)

    videos = videos_of("dense", CLIP.model_copy(update={"average": "probabilities"}))
    logits, _ = score_videos(score, videos, batch_views=6, workers=0, what="test")
    unsure = np.exp(2) / (1 + np.exp(2))
    np.testing.assert_allclose(softmax(logits), [[1 - 5 / 6 * unsure, 5 / 6 * unsure]] * 5, rtol=1e-5)
