"""Whether a trained network is above chance: asked at the end of its training, said in words and on its card."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pptsm.data.clips import TrainingClips, clips_of_a_video
from pptsm.evaluation.diagnosis import Learning, in_words, still_rising
from pptsm.evaluation.engines import paddle_pixel_scorer
from pptsm.evaluation.metrics import ranking
from pptsm.evaluation.scoring import score_videos
from pptsm.evaluation.statistics import judge
from pptsm.model.network import VideoNetwork
from pptsm.params.schema import Role
from pptsm.runtime.cores import loader_processes
from pptsm.training.run import Run
from pptsm.training.validation import validation_logits
from pptsm.weights.card import PEER

# The epoch number that seeds the verdict's clips; no training reaches it.
AFTER_ALL = 2_000_000


def judge_network(model: VideoNetwork, name: str, section: Role, history: pd.DataFrame, run: Run) -> dict[str, Any]:
    """Compare a network with chance: on the validation videos or, without any, on its training videos.

    Validation videos are seen as after each epoch (`pptsm.training.validation`); where they chose the epoch that is
    kept, they must show more (`statistics.judge`). Training videos are seen once each, cropped as in training but not
    mixed: what is at chance even there has learned nothing. The answer follows from the weights, so a run that was
    killed meanwhile gives the same.

    Args:
        model: with the weights that are kept.
        name: of the network, a role or `PEER`.
        section: of params.yaml, the network's.
        history: one row per epoch.
        run: its training; each of its ranks gets the answer.

    Returns:
        `split` ("val" or "train"), the fields of `pptsm.evaluation.statistics.Verdict`, `train_top1`, and `learning`,
        the fields of `pptsm.evaluation.diagnosis.Learning`.
    """
    params = run.params
    split, videos = ("train", run.train_videos) if run.val_videos.empty else ("val", run.val_videos)
    what = f"{name}: is it above chance"
    if split == "val":
        logits_NK, truth_N = validation_logits(model, run, what)
    else:
        once = params.training.model_copy(update={"clips_per_video": 1})
        logits_NK, truth_N = score_videos(
            paddle_pixel_scorer(model),
            TrainingClips(videos, run.source, run.labels, run.spec, once, params.seed, AFTER_ALL),
            batch_views=params.compute.batch_views,
            workers=loader_processes(params.compute.workers),
            what=what,
            ranks=run.ranks,
        )
    right_N = np.asarray(ranking(logits_NK, 1)[:, 0] == truth_N)
    compared = len(history) if split == "val" and params.training.keep == "best" else 1
    verdict = judge(right_N, truth_N, videos["group"].tolist(), len(run.labels), compared)
    train_top1 = float(history["peer_train_top1" if name == PEER else "train_top1"].iloc[-1])
    learning = _learning(section, history, train_top1, run)
    return {"split": split, **asdict(verdict), "train_top1": train_top1, "learning": asdict(learning)}


def _learning(section: Role, history: pd.DataFrame, train_top1: float, run: Run) -> Learning:
    """What was done; `run.params.training.clips_per_video` are the clips that an epoch took of each video."""
    recipe, videos = run.params.training, run.train_videos
    floor = clips_of_a_video(recipe.model_copy(update={"clips_per_video": 1}), len(videos), len(history))
    return Learning(
        train_top1=train_top1,
        epochs=len(history),
        clips_per_video=recipe.clips_per_video,
        floor_decides=recipe.min_clips > 0 and floor >= recipe.clips_per_video,
        rising=still_rising(history["val_top1"].tolist(), len(run.val_videos)) if "val_top1" in history else None,
        random_start=section.start.weights is None,
        mirrored=recipe.flip != "none",
        videos=len(videos),
        groups=int(videos["group"].nunique()),
        segments=run.spec.segments,
        crop_px=run.spec.test_crop_px,
    )


def sentence(role: str, verdict: Mapping[str, Any]) -> str:
    """What a person reads of a network at the end of its training: the figures, and what to try first."""
    return in_words(role, verdict, verdict["split"], Learning.of(verdict))
