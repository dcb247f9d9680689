"""Whether a trained network is above chance: asked at the end of its training, told in words and on its card."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pptsm.data.clips import FrameSource, TrainingClips
from pptsm.data.spec import ClipSpec
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.metrics import ranking
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import judge
from pptsm.model.network import VideoNetwork
from pptsm.model.parallel import Ranks
from pptsm.params import Params
from pptsm.processor import loader_processes
from pptsm.training.validation import validation_scores

# The epoch whose number clips are drawn with that the verdict looks at; no training reaches it.
AFTER_ALL = 2_000_000
# Training top-1 that is so far above chance has learned its clips, whatever validation says.
LEARNED = 0.2


def judge_network(
    model: VideoNetwork,
    role: str,
    params: Params,
    spec: ClipSpec,
    labels: list[str],
    train_videos: pd.DataFrame,
    val_videos: pd.DataFrame,
    source: FrameSource,
    train_top1: float,
    ranks: Ranks,
) -> dict[str, Any]:
    """Compare a network with chance: on the validation videos or, without any, on its training videos.

    Validation videos are seen as after each epoch (`pptsm.training.validation`). Training videos are seen once
    each, cropped as in training but not mixed: what is at chance even there has learned nothing. The answer
    follows from the weights, so a run that was killed meanwhile gives the same.

    Args:
        model: with the weights that are kept.
        role: for the progress bar.
        params, spec, labels, train_videos, val_videos, source: as in `pptsm.training.loop.train`.
        train_top1: the last epoch's, for the card.
        ranks: among which the videos are dealt; each of them is given the answer.

    Returns:
        `split` ("val" or "train"), the fields of `pptsm.evaluation.statistics.Verdict`, and `train_top1`.
    """
    split, videos = ("train", train_videos) if val_videos.empty else ("val", val_videos)
    what = f"{role}: is it above chance"
    if split == "val":
        logits_NK, truth_N = validation_scores(model, videos, source, spec, params.compute, what, ranks)
    else:
        once = params.training.model_copy(update={"clips_per_video": 1})
        logits_NK, truth_N = score_videos(
            paddle_pixel_scorer(model),
            TrainingClips(videos, source, labels, spec, once, params.seed, AFTER_ALL),
            batch_views=params.compute.batch_views,
            workers=loader_processes(params.compute.workers),
            what=what,
            ranks=ranks,
        )
    right_N = np.asarray(ranking(logits_NK, 1)[:, 0] == truth_N)
    verdict = judge(right_N, truth_N, videos["group"].tolist(), len(labels))
    return {"split": split, **asdict(verdict), "train_top1": train_top1}


def sentence(role: str, verdict: dict[str, Any]) -> str:
    """What a person is told of a network that is not above chance: the figures, and what to try first."""
    chance = max(verdict["guessing"], verdict["largest_class"])
    where = {"val": "validation", "train": "training"}[verdict["split"]]
    return (
        f"{role}: NOT ABOVE CHANCE: {verdict['top1']:.1%} of {verdict['videos']} {where} videos in "
        f"{verdict['groups']} groups, 95 % interval from {verdict['low']:.1%}; chance is {chance:.1%} (guessing "
        f"{verdict['guessing']:.1%}, always the largest class {verdict['largest_class']:.1%}). Training accuracy "
        f"{verdict['train_top1']:.1%}. {try_first(verdict)}"
    )


def try_first(verdict: dict[str, Any]) -> str:
    """Advice for a network that is not above chance, by whether it has learned its training clips."""
    chance = max(verdict["guessing"], verdict["largest_class"])
    if verdict["split"] == "val" and verdict["train_top1"] > chance + LEARNED:
        return (
            "It knows its training clips and nothing beyond them: try first published weights to start from "
            "(`pptsm weights`, a role's start), then more videos from more groups."
        )
    return (
        "It has not even learned its training clips: try first published weights to start from (`pptsm weights`, "
        "a role's start) or several times the epochs; then look whether clips of that size show what tells the "
        "classes apart (clip.resize_px, sampling)."
    )
