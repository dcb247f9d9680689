"""Whether a trained network is above chance: asked at the end of its training, said in words and on its card."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pptsm.data.clips import FrameSource, TrainingClips, clips_of_a_video
from pptsm.data.spec import ClipSpec
from pptsm.distributed.ranks import Ranks
from pptsm.evaluation.diagnosis import Learning, in_words, still_rising
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.metrics import ranking
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import judge
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Params, Role
from pptsm.runtime.cores import loader_processes
from pptsm.training.validation import validation_scores

# The epoch whose number clips are drawn with that the verdict looks at; no training reaches it.
AFTER_ALL = 2_000_000


def judge_network(
    model: VideoNetwork,
    role: str,
    section: Role,
    history: pd.DataFrame,
    train_top1: float,
    *,
    params: Params,
    spec: ClipSpec,
    labels: list[str],
    train_videos: pd.DataFrame,
    val_videos: pd.DataFrame,
    source: FrameSource,
    ranks: Ranks,
) -> dict[str, Any]:
    """Compare a network with chance: on the validation videos or, without any, on its training videos.

    Validation videos are seen as after each epoch (`pptsm.training.validation`); where they chose the epoch that is
    kept, they must show more (`statistics.judge`). Training videos are seen once each, cropped as in training but not
    mixed: what is at chance even there has learned nothing. The answer follows from the weights, so a run that was
    killed meanwhile gives the same.

    Args:
        model: with the weights that are kept.
        role: for the progress bar.
        section: of params.yaml, the network's.
        history: one row per epoch.
        train_top1: the network's in the last epoch.
        params, spec, labels, train_videos, val_videos, source: as in `pptsm.training.loop.train`.
        ranks: among which the videos are shared out; each of them is given the answer.

    Returns:
        `split` ("val" or "train"), the fields of `pptsm.evaluation.statistics.Verdict`, `train_top1`, and `learning`,
        the fields of `pptsm.evaluation.diagnosis.Learning`.
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
    compared = len(history) if split == "val" and params.training.keep == "best" else 1
    verdict = judge(right_N, truth_N, videos["group"].tolist(), len(labels), compared)
    learning = _learning(section, history, train_top1, params, spec, train_videos, len(val_videos))
    return {"split": split, **asdict(verdict), "train_top1": train_top1, "learning": asdict(learning)}


def _learning(
    section: Role,
    history: pd.DataFrame,
    train_top1: float,
    params: Params,
    spec: ClipSpec,
    train_videos: pd.DataFrame,
    val_videos: int,
) -> Learning:
    """What was done; `params.training.clips_per_video` are the clips that were drawn."""
    recipe = params.training
    floor = clips_of_a_video(recipe.model_copy(update={"clips_per_video": 1}), len(train_videos), len(history))
    return Learning(
        train_top1=train_top1,
        epochs=len(history),
        clips_per_video=recipe.clips_per_video,
        floor_decides=recipe.min_clips > 0 and floor >= recipe.clips_per_video,
        rising=still_rising(history["val_top1"].tolist(), val_videos) if "val_top1" in history else None,
        random_start=section.start.weights is None,
        mirrored=recipe.flip != "none",
        videos=len(train_videos),
        groups=int(train_videos["group"].nunique()),
        segments=spec.segments,
        crop_px=spec.test_crop_px,
    )


def sentence(role: str, verdict: Mapping[str, Any]) -> str:
    """What a person reads of a network at the end of its training: the figures, and what to try first."""
    return in_words(role, verdict, verdict["split"], Learning.of(verdict))
