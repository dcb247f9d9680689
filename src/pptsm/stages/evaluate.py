"""Stage `evaluate`: score the exported networks on every video of a split, and ask the shipped one as its users do."""

import json
from pathlib import Path

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
    call = dict(locals())  # as the other ranks are to make it
    params = load_params(params_path)

    from pptsm.runtime.console import note

    note("evaluate: loading Paddle and ONNX Runtime")
    from dataclasses import asdict

    import pandas as pd

    from pptsm.data.clips import EvaluationVideos, frame_source
    from pptsm.data.table import in_split, load_index, load_labels, spread_over_classes, write_csv
    from pptsm.distributed.device import use_device
    from pptsm.distributed.ranks import together
    from pptsm.evaluation.engines import choose_engine, onnx_pixel_scorer, open_session, paddle_pixel_scorer
    from pptsm.evaluation.scoring import score_videos
    from pptsm.evaluation.statistics import gain_over
    from pptsm.evaluation.tables import class_rows, in_words, metric_values, prediction_rows
    from pptsm.runtime.cores import loader_processes
    from pptsm.runtime.errors import UserError
    from pptsm.runtime.files import whole_folder
    from pptsm.serving.metadata import FILES, ModelMetadata
    from pptsm.serving.parity import serve
    from pptsm.weights.card import load_network, network_folders, read_card

    device = use_device(params.compute.device, params.compute.devices)
    engine = choose_engine(params.evaluate.engine, device)
    clips = load_index(index)
    classes = load_labels(labels, clips)
    videos = in_split(clips, params.evaluate.split)
    if videos.empty:
        raise UserError(f"{index} has no usable video in split {params.evaluate.split!r}, nothing to evaluate on.")
    source = frame_source(params, frames)

    most = len(videos) if engine == "paddle" else 1  # ONNX Runtime takes all cores by itself
    with together(run, call, params.compute, most, "evaluate") as ranks:
        metrics: dict[str, dict[str, dict[str, object]]] = {}
        predictions, per_class = [], []
        for role, network in network_folders(teacher, student, baseline).items():
            session = open_session(export / FILES[role], device)
            spec = ModelMetadata.of(session, export / FILES[role]).clip
            score = onnx_pixel_scorer(session) if engine == "onnx" else paddle_pixel_scorer(load_network(network))
            metrics[role] = {}
            verdict = read_card(network).verdict or {}
            chose = verdict.get("split") == params.evaluate.split  # these videos chose the epoch
            compared = int(verdict.get("compared", 1)) if chose else 1
            note(f"evaluate: {role}: scoring {len(videos)} videos with {engine}")
            for sampling in params.evaluate.samplings:
                logits, truth = score_videos(
                    score,
                    EvaluationVideos(videos, source, spec, sampling),
                    batch_views=params.compute.batch_views,
                    workers=loader_processes(params.compute.workers),
                    what=f"{role}, {sampling}",
                    ranks=ranks,
                )
                groups = videos["group"].tolist()
                values = metrics[role][sampling] = metric_values(logits, truth, groups, compared)
                note(f"evaluate: {role}, {sampling}: {in_words(values)}")
                which = {"role": role, "sampling": sampling}
                predictions.append(prediction_rows(videos, logits, classes).assign(**which))
                per_class.append(class_rows(logits, truth, classes).assign(**which))
        if ranks.rank:
            return  # the first writes for all

    table = pd.concat(predictions)
    if "baseline" in metrics and read_card(student).distilled:
        for sampling in params.evaluate.samplings:
            rows = {role: table[(table["role"] == role) & (table["sampling"] == sampling)] for role in metrics}
            right, plain = (rows[role]["top1"].eq(rows[role]["label"]).to_numpy() for role in ("student", "baseline"))
            gain = gain_over(right, plain, videos["group"].tolist())
            metrics["student"][sampling] |= asdict(gain)
            note(f"evaluate: distilled against plain student, {sampling}: {gain.in_words()}")
    headline = table[(table["role"] == "student") & (table["sampling"] == params.sampling)]
    note("evaluate: asking the exported file about the original videos, as `pptsm predict` does")
    asked = spread_over_classes(videos, params.evaluate.served_videos or len(videos))
    asked = videos[videos["id"].isin(asked["id"])]
    root, frame_name = Path(params.index.root), params.index.frame_name
    served = serve(export / FILES["student"], root, asked, headline, params.sampling, frame_name)
    note(f"evaluate: {served.in_words()}")
    served.require_answers()
    above = metrics["student"][params.sampling]["above_chance"]
    if above is not False:  # else the last digit decides, and the report says why; of one group (None) it is asked
        served.require(params.evaluate.served_agreement)
    metrics["student"][params.sampling] |= served.values() | served.rule(params.evaluate.served_agreement)

    with whole_folder(out) as partial:
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        write_csv(table, partial / "predictions.csv")
        write_csv(pd.concat(per_class), partial / "classes.csv")
        confusion = headline[["label", "top1"]].set_axis(["actual", "predicted"], axis=1)
        write_csv(confusion, partial / "confusion.csv")
