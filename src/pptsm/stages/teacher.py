"""Stage `teacher`: train the network that the student learns from. Minutes on two cores by default."""

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
)


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    start: StartIn,
    out: OutFolder,
    history: HistoryOut,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Train the teacher; a run that was stopped goes on from its last step."""
    params = load_params(params_path)

    from pptsm.training.fit import Inputs, Plan, fit, skip_role

    if not params.teacher.enabled:
        skip_role("teacher", params.teacher, params, labels, out, history, "teacher.enabled is false")
        return
    if params.student.distillation.kind == "mutual":
        why = "student.distillation.kind is mutual: it learns together with the student, in that stage, as its peer"
        skip_role("teacher", params.teacher, params, labels, out, history, why)
        return
    fit(Plan("teacher", params.teacher, Inputs(index, labels, frames, start), out, history), params)
