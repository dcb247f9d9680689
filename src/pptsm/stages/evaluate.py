"""Stage `evaluate`: score the exported networks on every video of a split, and ask the shipped one as its users do."""

from pptsm.params.checking import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    BaselineIn,
    ExportIn,
    FramesIn,
    IndexIn,
    LabelsIn,
    OutFolder,
    ParamsPath,
    StudentIn,
    TeacherIn,
)


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    teacher: TeacherIn,
    student: StudentIn,
    baseline: BaselineIn,
    export: ExportIn,
    out: OutFolder,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Score teacher and student on every video of the evaluated split, each exactly once."""
    params = load_params(params_path)

    from pptsm.runtime.console import note

    note("evaluate: loading Paddle and ONNX Runtime")
    from pptsm.data.clips import Dataset, frame_source
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.evaluation.run import Candidate, calibration_data, evaluate
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.files import atomic_folder
    from pptsm.serving.metadata import FILES, ModelMetadata
    from pptsm.serving.parity import check_served
    from pptsm.weights.card import network_folders

    clips = load_index(index)
    classes = load_labels(labels, clips)
    videos = in_split(clips, params.evaluate.split)
    if videos.empty:
        raise UserError(f"{index} has no usable video in split {params.evaluate.split!r}, nothing to evaluate on.")
    networks = network_folders(teacher, student, baseline)
    files = {role: export / FILES[role] for role in networks}
    candidates = [
        Candidate(role, folder, files[role], ModelMetadata.of_file(files[role]).clip)
        for role, folder in networks.items()
    ]
    source = frame_source(params, frames)
    calibrating = calibration_data(clips, classes, source, params.evaluate.split)
    evaluated = evaluate(candidates, Dataset(videos, classes, source), calibrating, params)
    if evaluated is None:
        return  # the first rank writes for all
    evaluated.metrics["student"][params.sampling] |= check_served(files["student"], videos, evaluated, params)
    with atomic_folder(out) as folder:
        evaluated.write(folder, params.sampling)
