"""Stage `validate`: Great Expectations over the index. About 8 s, most of it the library's import."""

from pathlib import Path
from typing import Annotated

import typer

from pptsm.params import load_params
from pptsm.stages.options import DEFAULT_PARAMS, IndexIn, LabelsIn, OutFile, ParamsPath


def run(
    index: IndexIn,
    labels: LabelsIn,
    out: OutFile,
    docs: Annotated[Path, typer.Option("--docs", help="Folder of the HTML pages to write.")],
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Check the index; a violation stops the pipeline and says which rows."""
    params = load_params(params_path)

    from pptsm.console import note
    from pptsm.data.table import load_index, load_labels
    from pptsm.errors import UserError
    from pptsm.files import whole_file, whole_folder

    table, classes = load_index(index), load_labels(labels)
    note(f"validate: loading Great Expectations, to check {len(table)} rows")
    from pptsm.ingest.validation import save_result, sentences, shown_rows, validate_index

    trains = params.student.epochs > 0 or (params.teacher.enabled and params.teacher.epochs > 0)
    picks = params.training.keep == "best"
    needed = {params.evaluate.split} | ({"train"} if trains else set()) | ({"val"} if picks else set())
    with whole_folder(docs) as folder:
        result = validate_index(table, classes, params.validate_, folder, sorted(needed))
    for warning in result.warnings:
        note(f"validate: warning: {warning.what}:\n    " + "\n    ".join(shown_rows(warning, index)))
    if not result.success:
        raise UserError(
            f"the index {index} breaks {len(result.faults)} of {result.expectations} expectations:\n"
            f"{sentences(result, index)}\n"
            f"Mend the videos or the limits (section validate of {params_path}). The pages are in {docs}."
        )
    with whole_file(out) as partial:
        save_result(result, partial, index)
    note(f"validate: {result.expectations} expectations hold")
