"""Stage `report`: the accuracy report as Markdown and as one self-contained page. Seconds."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params.checking import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    BaselineIn,
    FramesIn,
    IndexIn,
    LabelsIn,
    ParamsPath,
    StudentIn,
    TeacherIn,
    writable,
)


def run(
    index: IndexIn,
    labels: LabelsIn,
    frames: FramesIn,
    teacher: TeacherIn,
    student: StudentIn,
    baseline: BaselineIn,
    validation: Annotated[Path, typer.Option("--validation", help="Result of the validate stage.")],
    frames_validation: Annotated[
        Path, typer.Option("--frames-validation", help="Result of the validate_frames stage.")
    ],
    evaluation: Annotated[Path, typer.Option("--evaluation", help="Folder of the evaluate stage.")],
    card: Annotated[Path, typer.Option("--card", help="JSON of the export stage.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The exported file.")],
    teacher_history: Annotated[Path, typer.Option("--teacher-history", help="The teacher's epochs.")],
    student_history: Annotated[Path, typer.Option("--student-history", help="The student's epochs.")],
    baseline_history: Annotated[
        Path, typer.Option("--baseline-history", help="Epochs of the student without a teacher.")
    ],
    runtimes: Annotated[Path, typer.Option("--runtimes", help="JSON of the quantize stage.")],
    explanations: Annotated[Path, typer.Option("--explanations", help="JSON of the explanations stage.")],
    markdown: Annotated[Path, typer.Option("--markdown", callback=writable, help="Markdown file to write.")],
    html: Annotated[Path, typer.Option("--html", callback=writable, help="Page to write.")],
    confusion: Annotated[
        Path, typer.Option("--confusion", callback=writable, help="CSV to write: videos of each class by answer.")
    ],
    networks: Annotated[
        Path, typer.Option("--networks", callback=writable, help="CSV to write: all networks, compared.")
    ],
    also: Annotated[Path | None, typer.Option("--also", help="Folder of the evaluate_also stage.")] = None,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Write the accuracy report."""
    params = load_params(params_path)

    from pptsm.runtime.lighter import collect_rarely

    collect_rarely()
    from pptsm.runtime.console import note

    note("report: gathering what the stages found, and drawing it")
    from pptsm.data.clips import frame_source
    from pptsm.data.table import write_csv
    from pptsm.report.gather import Sources, gather
    from pptsm.report.page import render
    from pptsm.runtime.files import atomic_file

    histories = {"teacher": teacher_history, "baseline": baseline_history, "student": student_history}
    trained = [teacher, baseline, student]
    files = validation, frames_validation, evaluation, card, onnx, histories, runtimes, explanations, also
    sources = Sources(params_path, index, labels, trained, *files)
    values = gather(params, sources, frame_source(params, frames))
    with (
        atomic_file(markdown) as markdown_partial,
        atomic_file(html) as html_partial,
        atomic_file(confusion) as confusion_partial,
        atomic_file(networks) as networks_partial,
    ):
        markdown_partial.write_text(render("accuracy.md", values), encoding="utf-8")
        html_partial.write_text(render("index.html", values), encoding="utf-8")
        write_csv(values["counts"], confusion_partial)
        write_csv(values["networks_table"], networks_partial)
    note(f"report: open {html}")
