"""Why a student answers a split as it does: its mistakes one by one, and class by class what the order is worth.

Shape legend: S segments (frames of a clip), H/W pixels, K classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pptsm.data.clips import EvaluationVideos, FrameSource
from pptsm.data.predictions import surest_mistakes
from pptsm.data.spec import ClipSpec
from pptsm.data.table import excerpts, spread_over_classes
from pptsm.data.transforms import ClipArray, normalise, views_of
from pptsm.data.views import middle_clip
from pptsm.evaluation.engines import Scorer
from pptsm.evaluation.explain import Explanation, explain_clip
from pptsm.evaluation.order import ClassOrder, order_by_class
from pptsm.params.choices import Sampling
from pptsm.runtime.console import progress
from pptsm.runtime.errors import UserError

DIGITS = 6


@dataclass(frozen=True)
class Looking:
    """How an exported network is asked about the videos of a split."""

    score: Scorer
    spec: ClipSpec
    sampling: Sampling
    labels: list[str]  # names of the classes, in the order of the logits
    videos: pd.DataFrame  # rows of the index
    source: FrameSource

    def clip(self, name: str) -> ClipArray:
        """What the network is given of a video by its id: the middle clip, centre crop, float32 [S, 3, H, W]."""
        row = self.videos[self.videos["id"] == name]
        indices = middle_clip(int(row["num_frames"].iloc[0]), self.spec, self.sampling)
        frames = self.source.read(excerpts(row)[0], indices)
        return normalise(views_of(frames, _one_crop(self.spec), self.sampling))


def _one_crop(spec: ClipSpec) -> ClipSpec:
    """The same clips, each cropped in the centre alone, and of dense ones the middle one."""
    return spec.model_copy(update={"crops": "center", "dense_crops": "center", "dense_clips": 1})


def explanations(
    looking: Looking, headline: pd.DataFrame, *, mistakes: int, videos: int, batch_views: int, workers: int
) -> dict[str, Any]:
    """What the pages say of why: `mistakes`, as `explained_mistakes`, and `order`, as `order_of_classes`, or `reason`.

    Args:
        looking: the network and the split.
        headline: as `explained_mistakes`.
        mistakes: how many of them are explained at most.
        videos: how many are reversed and shuffled at most; 0: none.
        batch_views: as `score_videos`.
        workers: as `score_videos`.

    Raises:
        UserError: as the two.
    """
    if looking.spec.segments < 2:
        return {"mistakes": [], "order": None, "reason": "a clip of 1 frame has no order and no neighbours"}
    return {
        "mistakes": explained_mistakes(looking, headline, mistakes),
        "order": order_of_classes(looking, videos, batch_views=batch_views, workers=workers) if videos else None,
        "reason": None if videos else "params.yaml asks for no videos (explanations.videos)",
    }


def explained_mistakes(looking: Looking, headline: pd.DataFrame, most: int) -> list[dict[str, Any]]:
    """Why the surest mistakes were made: one row for each, the surest first.

    Args:
        looking: the network and the split.
        headline: the predictions of this network in this sampling, one row per video: `id`, `label`, `top1`, `score1`.
        most: rows at most.

    Raises:
        UserError: as `explain_clip`; a clip's frames cannot be read; or the predictions are of other videos or classes.
    """
    if not (set(headline["id"]) <= set(looking.videos["id"]) and set(headline["top1"]) <= set(looking.labels)):
        raise UserError(
            f"the {len(headline)} predictions are not all of the {len(looking.videos)} videos and "
            f"{len(looking.labels)} classes of the index and the model file. `dvc repro evaluate` makes them anew."
        )
    rows = surest_mistakes(headline).head(most)
    number_of = {label: number for number, label in enumerate(looking.labels)}
    found = []
    for name, answer in progress(list(zip(rows["id"], rows["top1"], strict=True)), "mistakes", "videos"):
        found.append({"id": name} | _values(explain_clip(looking.score, looking.clip(name), number_of[answer])))
    return found


def _values(found: Explanation) -> dict[str, Any]:
    """An explanation of a video's answer, as figures; `drops` and `score` are of the clip that is explained."""
    reversed_, *shuffled = found.reordered
    return {
        "score": round(found.score, DIGITS),
        "drops": found.drops.round(DIGITS).tolist(),
        "decisive": found.decisive if found.drops.max() > 0 else None,
        "reversed_answer_kept": reversed_.answer == found.label,
        "shuffles": len(shuffled),
        "shuffles_answer_kept": sum(one.answer == found.label for one in shuffled),
    }


def order_of_classes(looking: Looking, most: int, *, batch_views: int, workers: int) -> dict[str, Any]:
    """Which classes need the order of the frames: of some videos of each class, one clip each.

    Args:
        looking: the network and the split.
        most: videos, spread over the classes.
        batch_views: as `score_videos`.
        workers: as `score_videos`.

    Raises:
        UserError: as `order_by_class`.
    """
    videos = spread_over_classes(looking.videos, most)
    asked = EvaluationVideos(videos, looking.source, _one_crop(looking.spec), looking.sampling)
    by_class = order_by_class(
        lambda pixels: looking.score(normalise(pixels)),
        asked,
        len(looking.labels),
        batch_views=batch_views,
        workers=workers,
    )
    present = np.bincount(videos["label_index"], minlength=len(looking.labels))
    rows = [_row(one, looking.labels) | {"asked": int(present[one.label])} for one in by_class if present[one.label]]
    return {"videos": len(videos), "classes": rows}


def _row(one: ClassOrder, labels: list[str]) -> dict[str, Any]:
    return {
        "class": labels[one.label],
        "videos": one.videos,
        "reversed_kept": _rounded(one.kept.get("reversed")),
        "shuffled_kept": _rounded(one.kept.get("shuffled")),
        "became": None if one.became is None else labels[one.became],
        "needs_time": one.needs_time,
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, DIGITS)
