"""Stage `baseline`: the student once more, without a teacher, to see what distillation gains; as long again."""

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
    """Train a plain student: same network, start, seed, clips and epochs; a killed run goes on from its last epoch."""
    params = load_params(params_path)

    from pptsm.training.fit import Inputs, Plan, fit, skip_role

    if not params.student.baseline:
        skip_role("baseline", params.student, params, labels, out, history, "student.baseline is false")
        return
    fit(Plan("baseline", params.student, Inputs(index, labels, frames, start), out, history), params)
