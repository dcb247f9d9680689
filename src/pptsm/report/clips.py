"""The clips that a page shows: mistakes, answers that were nearly wrong, those of each confusion, and wrong labels.

Of several dense clips a strip is the middle one; of several crops it is the one in the centre. Where a clip stands by
itself, all crops are drawn on the whole frames too.
"""

from typing import Any

import numpy as np
import pandas as pd

from pptsm.data.clips import FrameSource
from pptsm.data.geometry import seen_share
from pptsm.data.predictions import surest_mistakes
from pptsm.data.spec import ClipSpec
from pptsm.data.table import excerpts
from pptsm.data.views import middle_clip, seen_clip
from pptsm.params.choices import Sampling
from pptsm.report import figures
from pptsm.report.confusion import Cell
from pptsm.video.types import Frames, Size, resized_size

CELLS = 60  # confusions that open, the largest; of the classes themselves the same number
OF_A_CELL = 3  # strips of one confusion, the surest mistakes; of a class itself the least sure answers
NAMED = 20  # further clips of a confusion, by name
PICTURED_BYTES = 2_000_000  # of the strips of all confusions: a page stays below 5 MB
SMALL_PX = 56  # height of such a strip
NEARLY_WRONG, SUSPECTS = 12, 40  # rows shown

Row = dict[str, Any]


class Strips:
    """Pictures of evaluated clips, by their id; each is read when it is asked for.

    Args:
        clip: of the student.
        sampling: the headline's.
        index: rows of all that may be asked for.
        frames: of the clips.
    """

    def __init__(self, clip: ClipSpec, sampling: Sampling, index: pd.DataFrame, frames: FrameSource) -> None:
        self.clip, self.sampling, self.frames = clip, sampling, frames
        self.clips = {
            excerpt.id: (excerpt, count)
            for excerpt, count in zip(excerpts(index), index["num_frames"].tolist(), strict=True)
        }

    def small(self, name: str) -> str:
        """What the network was given of a clip, as a data URI.

        Raises:
            UserError: it cannot be read.
        """
        return figures.strip(seen_clip(self._read(name), self.clip, self.sampling).images, height_px=SMALL_PX)

    def large(self, name: str) -> Row:
        """As `pictures`, of a clip.

        Raises:
            UserError: it cannot be read.
        """
        return pictures(self._read(name), self.clip, self.sampling)

    def _read(self, name: str) -> Frames:
        excerpt, count = self.clips[name]
        return self.frames.read(excerpt, middle_clip(count, self.clip, self.sampling))


def pictures(frames: Frames, clip: ClipSpec, sampling: Sampling) -> Row:
    """Strips of a clip: what the network is given, the whole frames with the crops, and in words how much that is."""
    shown = seen_clip(frames, clip, sampling)
    return {
        "strip": figures.strip(shown.images),
        "whole": figures.strip(shown.frames, shown.boxes),
        "seen": seen(clip, sampling, frames.native),
        "crops": len(set(shown.boxes)),
    }


def seen(clip: ClipSpec, sampling: Sampling, native: Size) -> str:
    """How much of a picture of this size the crops of evaluation show, in words."""
    crops = clip.crops if sampling == "uniform" else clip.dense_crops
    size, side = resized_size(native, clip.resize_px, clip.aspect), clip.test_crop_px
    return f"{side} of {min(size)} px of the short side, {seen_share(crops, size, side):.0%} of the picture"


def mistakes(headline: pd.DataFrame, shown: int, strips: Strips) -> list[Row]:
    """All mistakes, the surest first; the first `shown` have strips of what the network was given."""
    rows = _rows(surest_mistakes(headline))
    return [row | (strips.large(row["id"]) if place < shown else {"strip": None}) for place, row in enumerate(rows)]


def nearly_wrong(headline: pd.DataFrame, strips: Strips) -> list[Row]:
    """The right answers with the smallest `margin` before another class, with strips; of one class none."""
    if "score2" not in headline:
        return []
    right = headline[headline["label"] == headline["top1"]]
    right = right.assign(margin=right["score1"] - right["score2"]).sort_values(["margin", "id"]).head(NEARLY_WRONG)
    return [row | {"strip": strips.small(row["id"])} for row in _rows(right)]


def suspects(table: pd.DataFrame) -> pd.DataFrame:
    """Videos by how little a network that never saw them believes their labels: the highest `loss` first.

    Args:
        table: one row per video, or per seed and video: `id`, `label`, `top1`, `score1`, `loss`.

    Returns:
        One row per video: `id`, `label`, the likeliest `answer`, its mean probability `score`, the mean `loss`, and
        `believed`, the probability of the label at this loss.
    """
    table = table.sort_values(["id", "score1"], ascending=[True, False], kind="stable")
    rows = table.groupby("id", sort=False).agg(
        label=("label", "first"), answer=("top1", "first"), score=("score1", "mean"), loss=("loss", "mean")
    )
    rows = rows.reset_index().assign(believed=np.exp(-rows["loss"].to_numpy()))
    return rows.sort_values(["loss", "id"], ascending=[False, True]).reset_index(drop=True)


def of_cells(found: list[Cell], headline: pd.DataFrame, strips: Strips) -> list[Row]:
    """The confusions that open, each with its cell, some clips with strips, and more of them by name.

    The mistakes come first, the largest first; then the classes themselves, with the least sure answers.

    Args:
        found: all cells, as `confusion.cells`.
        headline: one row per video.
        strips: of the videos.
    """
    groups = headline.groupby(["label", "top1"])
    opened, left = [], PICTURED_BYTES
    for right in (False, True):
        for cell in [cell for cell in found if cell.right == right][:CELLS]:
            clips = groups.get_group((cell.actual, cell.predicted))
            rows = _rows(clips.sort_values(["score1", "id"], ascending=[right, True]).head(OF_A_CELL + NAMED))
            shown: list[Row] = []
            while len(shown) < min(OF_A_CELL, len(rows)) and left > 0:
                row = rows[len(shown)]
                shown.append(row | {"strip": strips.small(row["id"])})
                left -= len(shown[-1]["strip"])
            named = rows[len(shown) :]
            opened.append({"cell": cell, "shown": shown, "named": named, "more": cell.videos - len(rows)})
    return opened


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
