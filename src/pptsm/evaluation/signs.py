"""Why a set is not learned, each reason by what was measured: never by a list of what it may be in general.

A training tells what it knows of its own clips and of held-out videos. Cross-validation tells more: what fewer training
groups would have cost, whether networks of several seeds agree with one another, and which classes are taken for each
other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pptsm.evaluation.diagnosis import GAP, Learning, chance_of
from pptsm.evaluation.statistics import interval

Kind = Literal["too few groups", "labels that disagree", "not told apart", "memorised", "needs custom"]

DOUBTFUL = 0.05  # share of videos that all seeds call by one other name, from which labels are a suspect
PAIR = 0.8  # a pair of classes is told from the others if so many of its videos are called one of the two
TOLD = 0.8  # so many of a pair's videos may be called rightly, and the interval must end below it


@dataclass(frozen=True)
class Sign:
    """A reason, and the figures that show it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Evidence:
    """What was measured; shares are 0 to 1, and None is what was not."""

    top1: float  # of held-out videos
    low: float | None  # ends of the 95 % interval by group; None with one group
    high: float | None
    low_by_video: float  # the same if groups did not matter
    chance: float
    videos: int  # held out
    groups: int
    train_top1: float | None  # of the last epoch's training clips
    rising: bool | None  # whether validation was
    random_start: bool
    segments: int
    crop_px: int
    curve: Sequence[tuple[int, float, float]] = ()  # percent of the training groups, how many these are, top-1
    agreement: float | None = None  # of networks of two seeds with each other
    agreement_by_chance: float = 0.0
    doubtful: int | None = None  # videos that all seeds call by one and the same other name
    pairs: Sequence[str] = field(default_factory=tuple)  # of classes that are taken for each other, in words

    @property
    def above_chance(self) -> bool:
        """Whether the whole interval is."""
        return self.low is not None and self.low > self.chance

    @property
    def learned(self) -> bool:
        """Whether training top-1 is nearer to all than to chance."""
        return self.train_top1 is not None and self.train_top1 > (1 + self.chance) / 2

    @property
    def gained(self) -> float | None:
        """What the whole of the training groups brought over the least share of them."""
        return self.curve[-1][2] - self.curve[0][2] if len(self.curve) > 1 else None

    @property
    def rises(self) -> bool | None:
        """Whether more groups helped, by more than chance moves a difference of two accuracies."""
        return None if self.gained is None else self.gained > 1 / self.videos**0.5


def evidence_of(verdict: Mapping[str, Any], learning: Learning) -> Evidence:
    """What one training and its evaluation show.

    Args:
        verdict: the fields of `statistics.Verdict`, or a row of `tables.metric_values`.
        learning: of the training.
    """
    return Evidence(
        top1=verdict["top1"],
        low=verdict.get("low", verdict.get("top1_low_by_group")) if verdict["groups"] > 1 else None,
        high=verdict.get("top1_high_by_group"),
        low_by_video=verdict.get("low_by_video", verdict.get("top1_low", 0.0)),
        chance=chance_of(verdict),
        videos=verdict["videos"],
        groups=verdict["groups"],
        train_top1=learning.train_top1,
        rising=learning.rising,
        random_start=learning.random_start,
        segments=learning.segments,
        crop_px=learning.crop_px,
    )


def signs(found: Evidence) -> list[Sign]:
    """The reasons for which held-out videos are not recognised, as far as they are measured; none where they are."""
    reasons = [_groups(found), _labels(found), *_frames(found), _memorised(found), _custom(found)]
    return [reason for reason in reasons if reason is not None]


def _groups(found: Evidence) -> Sign | None:
    if found.groups == 1:
        return Sign("too few groups", f"all {found.videos} held-out videos are of one group, which tells of no other.")
    if not found.above_chance and found.low_by_video > found.chance:
        text = (
            f"{_percent(found.top1)} would be above chance ({_percent(found.chance)}) if the {found.videos} held-out "
            f"videos were independent, and is not for {found.groups} groups."
        )
        return Sign("too few groups", text)
    if found.rises and found.top1 < 1 - GAP:
        (_, least, before), (_, most, now) = found.curve[0], found.curve[-1]
        text = (
            f"with {least:.0f} training groups {_percent(before)} of held-out videos are recognised, with {most:.0f} "
            f"{_percent(now)}: it was still rising, so videos of more groups promise more."
        )
        return Sign("too few groups", text)
    return None


def _labels(found: Evidence) -> Sign | None:
    if found.learned and not found.above_chance and found.rises is False:
        (_, least, before), (_, most, now) = found.curve[0], found.curve[-1]
        text = (
            f"it learned its training clips ({_percent(found.train_top1)}), but of held-out videos it knows nothing, "
            f"with {least:.0f} training groups ({_percent(before)}) as with {most:.0f} ({_percent(now)}; chance "
            f"{_percent(found.chance)}): what the labels say is not what the videos have in common."
        )
        if found.agreement is not None:
            text += (
                f" Networks of two seeds agree on {_percent(found.agreement)} of them (by chance "
                f"{_percent(found.agreement_by_chance)})."
            )
        return Sign("labels that disagree", text)
    if found.doubtful is not None and found.doubtful >= max(2, DOUBTFUL * found.videos) and found.above_chance:
        text = (
            f"{found.doubtful} of {found.videos} videos are called by one and the same other name by the networks of "
            "all seeds, none of which had seen them: look at these first, their labels may be wrong."
        )
        return Sign("labels that disagree", text)
    return None


def _frames(found: Evidence) -> list[Sign]:
    shown = f"{found.segments} frames of {found.crop_px} px"
    nothing = found.low_by_video <= found.chance
    if nothing and found.train_top1 is not None and not found.learned and found.rising is not True:
        flat = "and validation was no longer rising" if found.rising is False else "and nothing was validated"
        text = (
            f"it did not even learn its training clips ({_percent(found.train_top1)}, chance {_percent(found.chance)})"
            f", {flat}: {shown} do not show it what tells the classes apart."
        )
        return [Sign("not told apart", text)]
    if found.pairs:
        text = f"{'; '.join(found.pairs)}: {shown} tell these from the others, but not from each other."
        return [Sign("not told apart", text)]
    return []


def _memorised(found: Evidence) -> Sign | None:
    """Where only cross-validation can tell labels from groups."""
    if not found.learned or found.above_chance or found.rises is not None or found.low_by_video > found.chance:
        return None
    text = (
        f"it learned its training clips ({_percent(found.train_top1)}) and knows nothing of held-out videos "
        f"({_percent(found.top1)}, chance {_percent(found.chance)}). Either the groups are too few, or the labels do "
        "not say what the videos show: `pptsm crossval --learning-curve` measures which."
    )
    return Sign("memorised", text)


def _custom(found: Evidence) -> Sign | None:
    if not (found.random_start and found.learned and found.train_top1 is not None):
        return None
    if found.train_top1 <= max(found.top1 + GAP, found.high or 0.0):
        return None
    if found.low_by_video <= found.chance and not found.rises:  # nothing shows that there is something to be learned
        return None
    text = (
        f"from random weights it learned its training clips ({_percent(found.train_top1)}) much better than held-out "
        f"videos ({_percent(found.top1)}): start from published weights (`pptsm preset custom`, or custom-cpu), which "
        "have seen more than this set can show."
    )
    return Sign("needs custom", text)


def pairs_not_told_apart(confusion_KK: Sequence[Sequence[int]], classes: Sequence[str], seeds: int) -> list[str]:
    """Pairs of classes that are told from all others, but not from each other, in words.

    Args:
        confusion_KK: rows are labels, columns answers, counted over all seeds.
        classes: their names.
        seeds: in which the same videos were counted again: a count tells no more than that of one of them.
    """
    matrix = np.asarray(confusion_KK, dtype=np.int64)
    found = []
    for one in range(len(classes) if len(classes) > 2 else 0):  # of two classes alone, chance says it
        for other in range(one + 1, len(classes)):
            pair = matrix[np.ix_([one, other], [one, other])]
            inside, videos = int(pair.sum()) // seeds, int(matrix[[one, other]].sum()) // seeds
            if not inside or inside < PAIR * videos:
                continue
            right = int(np.trace(pair)) // seeds
            low, high = interval(right, inside)
            if low <= 0.5 and high < TOLD:
                names = f"{classes[one]} and {classes[other]}"
                found.append(f"{names}: of {inside} videos that were called one of the two {right} were called rightly")
    return found


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"
