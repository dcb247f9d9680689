"""Stage `evaluate`: score teacher and student, uniform (1 view) and dense (clips x 3 crops)."""

import json

from pptsm.params import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
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
    out: OutFolder,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Score teacher and student on every video of the evaluated split, each exactly once."""
    params = load_params(params_path)

    import pandas as pd

    from pptsm.console import note
    from pptsm.data.clips import EvaluationVideos, frame_source
    from pptsm.data.table import in_split, load_index, load_labels
    from pptsm.deploy.export import onnx_scorer
    from pptsm.errors import UserError
    from pptsm.evaluation.scoring import paddle_scorer, score_videos
    from pptsm.evaluation.tables import class_rows, in_words, metric_values, prediction_rows
    from pptsm.files import whole_folder
    from pptsm.model.card import PEER, load_network, read_card
    from pptsm.model.device import use_device
    from pptsm.processor import loader_processes

    device = use_device(params.compute.device)
    classes = load_labels(labels)
    videos = in_split(load_index(index), params.evaluate.split)
    if videos.empty:
        raise UserError(f"{index} has no usable video in split {params.evaluate.split!r}, nothing to evaluate on.")
    source = frame_source(params, frames)
    roles = {"teacher": teacher, "student": student}
    if read_card(teacher).skipped:  # switched off, or it learned beside the student
        roles = {"peer": student / PEER} if (student / PEER).exists() else {}
        roles["student"] = student

    metrics: dict[str, dict[str, object]] = {}
    predictions, per_class = [], []
    for role, folder in roles.items():
        model, spec = load_network(folder), read_card(folder).clip
        if params.evaluate.engine == "onnx" or (params.evaluate.engine == "auto" and device == "cpu"):
            score = onnx_scorer(model, spec.shape, params.export.opset)
        else:
            score = paddle_scorer(model)
        metrics[role] = {}
        for sampling in params.evaluate.samplings:
            logits, truth = score_videos(
                score,
                EvaluationVideos(videos, source, spec, sampling),
                batch_views=params.compute.batch_views,
                workers=loader_processes(params.compute.workers),
                what=f"{role}, {sampling}",
            )
            values = metrics[role][sampling] = metric_values(logits, truth, videos["group"].tolist())
            note(f"evaluate: {role}, {sampling}: {in_words(values)}")
            which = {"role": role, "sampling": sampling}
            predictions.append(prediction_rows(videos, logits, classes).assign(**which))
            per_class.append(class_rows(logits, truth, classes).assign(**which))

    with whole_folder(out) as partial:
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        table = pd.concat(predictions)
        table.to_csv(partial / "predictions.csv", index=False)
        pd.concat(per_class).to_csv(partial / "classes.csv", index=False)
        headline = table[(table["role"] == "student") & (table["sampling"] == params.sampling)]
        confusion = headline[["label", "top1"]].set_axis(["actual", "predicted"], axis=1)
        confusion.to_csv(partial / "confusion.csv", index=False)
