"""Stage `student`: train the network that is exported, distilled from the teacher."""

from pptsm.params import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    FramesIn,
    HistoryOut,
    IndexIn,
    LabelsIn,
    OutFolder,
    ParamsPath,
    PretrainedIn,
    TeacherIn,
)


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    pretrained: PretrainedIn,
    teacher: TeacherIn,
    out: OutFolder,
    history: HistoryOut,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Train the student with knowledge distillation; a killed run goes on from its last epoch."""
    params = load_params(params_path)

    from pptsm.data.table import load_labels
    from pptsm.files import sha256_of
    from pptsm.model.device import use_device
    from pptsm.model.roles import WEIGHTS, load_role
    from pptsm.training.fit import Inputs, fit_role
    from pptsm.training.loop import Teaching

    inputs = Inputs(index, labels, frames, pretrained / "student.pdparams")
    teaching, decides = None, {}
    if params.student.distillation_weight > 0 and params.student.epochs > 0:
        use_device(params.training.device)
        teaching = Teaching(
            load_role(params, params.teacher, teacher, len(load_labels(labels))),
            params.student.distillation,
            params.student.distillation_weight,
            params.student.temperature,
        )
        decides["teacher"] = sha256_of(teacher / WEIGHTS)
    fit_role("student", params.student, params, inputs, out, history, teaching, **decides)
