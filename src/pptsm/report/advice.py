"""What the report says of a network that is not above chance: what was found, and what to try first."""

from typing import Any

import pandas as pd

from pptsm.params import Params


def doubts(metrics: dict[str, Any], sampling: str, histories: dict[str, pd.DataFrame]) -> dict[str, str]:
    """What was found of each role that is not above chance in `sampling`, the student first.

    Args:
        metrics: role -> sampling -> figures, as the evaluation wrote them.
        sampling: the one that the roles were trained for.
        histories: role -> a row an epoch.
    """
    found = {}
    for role in sorted(metrics, key=lambda role: role != "student"):
        values = metrics[role][sampling]
        if values["above_chance"]:
            continue
        among = f" in {values['groups']} groups" if values["groups"] < values["videos"] else ""
        text = (
            f"Top-1 is {_percent(values['top1'])} of {values['videos']} videos{among} (95 % interval "
            f"{_percent(values['top1_low_by_group'])} to {_percent(values['top1_high_by_group'])}). Guessing among "
            f"{values['classes']} classes reaches {_percent(1 / values['classes'])}, always naming the largest class "
            f"{_percent(values['largest_class'])}."
        )
        if (train_top1 := _last_train_top1(histories.get(role))) is not None:
            text += f" Of its training videos it recognised {_percent(train_top1)} in its last epoch."
        found[role] = text
    return found


def advice(
    params: Params, metrics: dict[str, Any], student_history: pd.DataFrame | None, train_videos: int
) -> list[str]:
    """What to try first where the student is not above chance, the most promising step first; else nothing.

    A network that knows its training videos by heart lacks videos, any other one lacks training.

    Args:
        params: all parameters.
        metrics: role -> sampling -> figures, as the evaluation wrote them.
        student_history: a row an epoch.
        train_videos: how many videos it was trained on.
    """
    clip, student, values = params.clip, params.student, metrics["student"][params.sampling]
    if values["above_chance"]:
        return []
    labels = (
        "Check the labels by the mistakes on the report's page: are they wrong, and can a person tell the classes "
        f"apart by {student.segments} frames of {clip.test_crop_px} px?"
    )
    train_top1 = _last_train_top1(student_history)
    if train_top1 is None:
        return [
            "Nothing was trained here: check that index.label_file has the classes in the order of the weights, and "
            "that student and clip are those that the weights were trained with (a preset has them).",
            labels,
        ]
    longer = (
        f"Train longer: student.epochs is {student.epochs}, training.clips_per_video {params.training.clips_per_video}."
    )
    more = f"Add videos, above all of other groups: it was trained on {train_videos}."
    steps = []
    if student.start is None:
        steps.append("Start from published weights instead of random ones: student.start, see pptsm weights.")
    if params.training.flip == "none":
        steps.append("Mirror training clips (training.flip: horizontal), unless classes differ by direction.")
    by_heart = train_top1 > (1 + values["chance"]) / 2
    steps = [more, *steps, labels, longer] if by_heart else [longer, *steps, labels, more]
    teacher = metrics.get("teacher", {}).get(params.sampling)
    if student.distillation_weight > 0 and teacher is not None and not teacher["above_chance"]:
        copied = (
            "The teacher is at chance as well, and the student was made to copy it: mend the teacher first, or train "
            "without it (student.distillation_weight: 0)."
        )
        steps = [copied, *steps]
    return steps


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _last_train_top1(history: pd.DataFrame | None) -> float | None:
    return None if history is None or history.empty else float(history["train_top1"].iloc[-1])
