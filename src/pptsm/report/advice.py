"""What the report says of each network against chance, in the words of the log (`pptsm.evaluation.diagnosis`)."""

from typing import Any

from pptsm.evaluation.diagnosis import Learning, diagnosis, figures, heading, next_steps
from pptsm.evaluation.signs import evidence_of, signs


def verdicts(metrics: dict[str, Any], sampling: str, split: str, cards: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each role its verdict in `sampling`, the student first: `above_chance`, `heading`, `text`, `signs`, `steps`.

    Args:
        metrics: role -> sampling -> figures, as the evaluation wrote them.
        sampling: the one that the roles were trained for.
        split: of the evaluated videos.
        cards: role -> card, which says how it was trained.
    """
    found = {}
    for role in sorted(metrics, key=lambda role: role != "student"):
        values, learning = metrics[role][sampling], Learning.of(cards.get(role, {}).get("verdict"))
        text = f"Top-1 is {figures(values, split)}."
        if learning is not None:
            text += f" {diagnosis(values, learning)}"
        found[role] = {
            "above_chance": values["above_chance"],
            "heading": heading(f"The {role}", values),
            "text": text,
            "signs": [f"{sign.kind}: {sign.text}" for sign in signs(evidence_of(values, learning))] if learning else [],
            # an older card does not say how it was trained
            "steps": next_steps(role, values, learning) if learning or not cards.get(role, {}).get("epochs") else [],
        }
    student = found["student"]
    copied = next((found[role] for role in ("teacher", "peer") if role in found), None)
    if (
        student["above_chance"] is False
        and cards["student"]["distilled"]
        and copied
        and copied["above_chance"] is False
    ):
        step = (
            "Its teacher is at chance as well, and the student was trained to copy it: improve the teacher first, or "
            "train without it (student.distillation.weight: 0)."
        )
        student["steps"] = [step, *student["steps"]]
    return found


def sampling_gap(samplings: dict[str, Any], trained: str) -> str | None:
    """What it costs to look at videos the other way than training did; None where only one way was evaluated.

    Args:
        samplings: sampling -> figures of one network.
        trained: the sampling of its training.
    """
    other = {"uniform": "dense", "dense": "uniform"}[trained]
    if not {trained, other} <= set(samplings):
        return None
    gap = round((samplings[other]["top1"] - samplings[trained]["top1"]) * 100, 1) + 0.0  # -0.0 becomes 0.0
    text = f"Trained with {trained} sampling, evaluated with {other} sampling: {gap:+.1f} points of top-1"
    if gap < 0:
        text += f". Ask it as it was trained: `pptsm predict` does, unless --sampling says {other}"
    return f"{text}."
