"""Stage `student`: train the network that is exported, distilled from the teacher."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    FramesIn,
    HistoryOut,
    IndexIn,
    LabelsIn,
    OutFolder,
    ParamsPath,
    StartIn,
    TeacherIn,
)


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    start: StartIn,
    teacher: TeacherIn,
    teacher_start: Annotated[Path, typer.Option("--teacher-start", help="Folder of a peer's starting weights.")],
    out: OutFolder,
    history: HistoryOut,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Train the student with knowledge distillation; a run that was stopped goes on from its last step."""
    params = load_params(params_path)

    from pptsm.runtime.console import note
    from pptsm.runtime.errors import UserError
    from pptsm.training.chance_test import sentence
    from pptsm.training.fit import Inputs, Peer, Plan, fit
    from pptsm.weights.card import read_card

    student = params.student
    inputs = Inputs(index, labels, frames, start)
    if student.distillation.kind == "mutual":
        fit(Plan("student", student, inputs, out, history, peer=Peer(params.teacher, teacher_start)), params)
        return
    taught = student.distillation.weight > 0 and student.epochs > 0
    verdict = read_card(teacher).verdict if taught else None
    if verdict is not None and verdict["above_chance"] is False:
        found = sentence("teacher", verdict)
        if student.distillation.weak_teacher == "stop":
            raise UserError(
                f"student: no training, for its teacher ({teacher}) has nothing to teach.\n{found}\nTo train "
                "without it set student.distillation.weak_teacher to without, or student.distillation.weight to 0."
            )
        why = "as student.distillation.weak_teacher says: its teacher knows nothing"
        note(f"student: trains on the labels alone, {why}.\n{found}")
        taught = False
    fit(Plan("student", student, inputs, out, history, teacher=teacher if taught else None), params)
