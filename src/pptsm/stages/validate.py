"""Stage `validate`: Great Expectations over the index and its splits. About 8 s, most of it the library's import."""

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, DocsOut, IndexIn, LabelsIn, OutFile, ParamsPath


def run(
    index: IndexIn, labels: LabelsIn, out: OutFile, docs: DocsOut, params_path: ParamsPath = DEFAULT_PARAMS
) -> None:
    """Check the index; a violation stops the pipeline and says which rows."""
    params = load_params(params_path)

    from pptsm.runtime.lighter import collect_rarely

    collect_rarely()
    from pptsm.data.table import load_index, load_labels
    from pptsm.runtime.console import note
    from pptsm.runtime.files import atomic_file, atomic_folder

    table = load_index(index)
    classes = load_labels(labels, table)
    note(f"validate: loading Great Expectations, to check {len(table)} rows")
    from pptsm.validation.index import validate_index
    from pptsm.validation.result import save_result
    from pptsm.validation.verdict import judge

    trains = params.student.epochs > 0 or (params.teacher.enabled and params.teacher.epochs > 0)
    picks = params.training.keep == "best"
    needed = {params.evaluate.split} | ({"train"} if trains else set()) | ({"val"} if picks else set())
    with atomic_folder(docs) as folder:
        result = validate_index(table, classes, params.validate_, folder, sorted(needed))
    judge(result, "validate", f"the index {index}", index, docs, params_path)
    with atomic_file(out) as partial:
        save_result(result, partial, index)
