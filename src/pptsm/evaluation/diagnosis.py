"""What a verdict on chance means, and what to try next: the words of the log, the report and `pptsm predict`.

A verdict is a dictionary: the fields of `statistics.Verdict` as a card has them, or a row of `tables.metric_values`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

VIDEOS = {"train": "training videos", "val": "validation videos", "test": "test videos"}
SECTIONS = {"peer": "teacher", "baseline": "student"}  # of params.yaml, where it is not called as the role
GAP = 0.1  # training top-1 that is so far above the held-out one
WIDE = 0.2  # an interval from so far below the accuracy says little
NOTHING = (
    "Nothing stands out: held-out videos are recognised nearly as well as training clips. What is left are "
    "the mistakes on the report's page."
)


@dataclass(frozen=True)
class Learning:
    """What was done in a training, as far as it bears on what to try next; shares are 0 to 1."""

    train_top1: float  # of the last epoch
    epochs: int
    clips_per_video: int  # drawn from each video in an epoch
    floor_decides: bool  # whether training.min_clips decided that number: then more epochs draw no more clips
    rising: bool | None  # whether validation top-1 still rose in the last third of the epochs; None: not validated
    random_start: bool
    mirrored: bool  # whether training clips were
    videos: int  # trained on
    groups: int
    segments: int
    crop_px: int  # of the clips that the network sees

    @classmethod
    def of(cls, verdict: Mapping[str, Any] | None) -> Self | None:
        """What a card's verdict says of the training; None where it says nothing."""
        found = (verdict or {}).get("learning")
        return cls(**found) if found else None


def still_rising(val_top1: Sequence[float], videos: int) -> bool | None:
    """Whether a validation curve rose from its middle third to its last one by more than chance moves it.

    Args:
        val_top1: after each epoch; fewer than three, or no videos, tell nothing (None).
        videos: how many were looked at: the mean of a third moves by about half of 1 / sqrt(videos).
    """
    third = len(val_top1) // 3
    if third == 0 or videos == 0:
        return None
    last, middle = sum(val_top1[-third:]) / third, sum(val_top1[-2 * third : -third]) / third
    return bool(last - middle > 0.5 / videos**0.5)


def chance_of(verdict: Mapping[str, Any]) -> float:
    """The accuracy of the better of two ways to know nothing: guessing, and naming the largest class."""
    return float(verdict["chance"] if "chance" in verdict else max(verdict["guessing"], verdict["largest_class"]))


def heading(name: str, verdict: Mapping[str, Any]) -> str:
    """The verdict in a line: of a role ("the student") or of a model."""
    if verdict["above_chance"] is None:
        return f"{name}: one group cannot tell whether it is above chance"
    if verdict["above_chance"]:
        return f"{name} is above chance"
    return f"{name}: NOT ABOVE CHANCE"


def figures(verdict: Mapping[str, Any], split: str) -> str:
    """The figures that the verdict rests on: accuracy, videos, groups, interval and chance.

    Args:
        verdict: as above.
        split: of its videos.
    """
    groups, low = verdict["groups"], verdict.get("low", verdict.get("top1_low_by_group"))
    among = f" in {groups} groups" if 1 < groups < verdict["videos"] else ", all of one group" if groups == 1 else ""
    text = f"{_percent(verdict['top1'])} of {verdict['videos']} {VIDEOS[split]}{among}"
    if low is not None and groups > 1:
        text += f", 95 % interval from {_percent(low)}"
        if verdict.get("compared", 1) > 1:
            chosen = f"these videos chose the best of {verdict['compared']} epochs: it allows for that choice"
            text = text.replace("95 % interval", "interval") + f" ({chosen})"
    if groups > 1 and verdict["above_chance"] is False and _by_video_above(verdict):
        text += ", though it would be above chance if groups did not matter"
    guessing = verdict["guessing"] if "guessing" in verdict else 1 / verdict["classes"]
    return (
        f"{text}; chance is {_percent(chance_of(verdict))} (guessing {_percent(guessing)}, always the largest class "
        f"{_percent(verdict['largest_class'])})"
    )


def diagnosis(verdict: Mapping[str, Any], learning: Learning) -> str:
    """What the training's own figures say: whether it learned its clips, and what validation did meanwhile."""
    learned = _learned(verdict, learning)
    text = f"In its last epoch it recognised {_percent(learning.train_top1)} of its training clips"
    if learned and verdict["top1"] < learning.train_top1 - GAP:
        text += ": it knows these better than new videos"
    elif not learned:
        text += ": it has not learned these either"
    curve = {
        True: "validation was still rising",
        False: "validation was no longer rising",
        None: "nothing was validated",
    }
    return f"{text}; {curve[learning.rising]}."


def next_steps(role: str, verdict: Mapping[str, Any], learning: Learning | None) -> list[str]:
    """What to try next, the most promising step first.

    Args:
        role: whose keys of params.yaml are named.
        verdict: as above.
        learning: of its training; None: nothing was trained.
    """
    section = SECTIONS.get(role, role)
    if learning is None:
        return _untrained(section, verdict)
    longer = _longer(section, learning)
    more = f"Add videos, above all of other groups: it was trained on {learning.videos} of {learning.groups} groups."
    aids = []
    if learning.random_start:
        aids.append(f"Start from published weights instead of random ones: {section}.start, see `pptsm weights`.")
    if not learning.mirrored:
        aids.append("Mirror training clips (training.flip: horizontal), unless classes differ by direction.")
    labels = _labels(f"{learning.segments} frames of {learning.crop_px} px")
    first = [longer] if learning.rising else []
    if _is_open(verdict):
        return [_hold_out(verdict), *first, more]
    if verdict["above_chance"]:
        if verdict["top1"] < learning.train_top1 - GAP:
            return [*first, more, *aids]
        low = verdict.get("low", verdict.get("top1_low_by_group"))
        wide = [_hold_out(verdict)] if low is not None and verdict["top1"] - low > WIDE else []
        return [*first, *wide] or [NOTHING]
    if _learned(verdict, learning):
        return [*first, more, *aids, labels]
    flat = learning.rising is False  # then more of the same promises least
    return [*aids, labels, longer, more] if flat else [longer, *aids, labels, more]


def _untrained(section: str, verdict: Mapping[str, Any]) -> list[str]:
    if _is_open(verdict):
        return [_hold_out(verdict)]
    if verdict["above_chance"]:
        return []
    return [
        "Nothing was trained here: check that index.label_file has the classes in the order of the weights, and "
        f"that {section} and clip are those that the weights were trained with (a preset has them).",
        _labels("the network's frames"),
    ]


def in_words(role: str, verdict: Mapping[str, Any], split: str, learning: Learning | None) -> str:
    """All of it on one log line: verdict, figures, diagnosis and, unless it is above chance, the first steps."""
    text = f"{heading(role, verdict)}: {figures(verdict, split)}."
    if learning is not None:
        text += f" {diagnosis(verdict, learning)}"
    steps = [] if verdict["above_chance"] else next_steps(role, verdict, learning)[:2]
    return " ".join([text, *(f"({number}) {step}" for number, step in enumerate(steps, start=1))])


def _learned(verdict: Mapping[str, Any], learning: Learning) -> bool:
    """Whether training top-1 is nearer to all than to chance."""
    return learning.train_top1 > (1 + chance_of(verdict)) / 2


def _by_video_above(verdict: Mapping[str, Any]) -> bool:
    """Whether it is above chance if each video counts by itself, as if groups did not matter."""
    return bool(verdict.get("low_by_video", verdict.get("top1_low", 0.0)) > chance_of(verdict))


def _is_open(verdict: Mapping[str, Any]) -> bool:
    """Whether only the number of groups stands between this network and a verdict."""
    return verdict["above_chance"] is None or (not verdict["above_chance"] and _by_video_above(verdict))


def _longer(section: str, learning: Learning) -> str:
    if learning.floor_decides:
        return (
            f"Train longer: raise training.min_clips. It decided that {learning.clips_per_video} clips of each video "
            f"were drawn in each of {learning.epochs} epochs; with more epochs they would be fewer."
        )
    return f"Train longer: {section}.epochs was {learning.epochs}, training.clips_per_video {learning.clips_per_video}."


def _hold_out(verdict: Mapping[str, Any]) -> str:
    return (
        f"Hold out more videos, above all of more groups: {verdict['videos']} videos of {verdict['groups']} "
        f"{'group' if verdict['groups'] == 1 else 'groups'} say little about others."
    )


def _labels(shown: str) -> str:
    return (
        "Check the labels by the mistakes on the report's page: are they wrong, and can a person tell the classes "
        f"apart by {shown}?"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"
