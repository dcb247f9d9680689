"""What a validation's result means for the pipeline: on, on with warnings, or a stop."""

from pathlib import Path

from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.validation.result import ROWS_SHOWN, Result, sentences


def judge(result: Result, stage: str, what: str, index: Path, docs: Path, params_path: Path) -> None:
    """Say the warnings, and stop where a rule is broken.

    Args:
        result: of `what`, which `stage` has checked.
        index: where all rows are.
        docs: the Data Docs.
        params_path: where the limits are.

    Raises:
        UserError: a rule is broken; which, and by what.
    """
    for warning in result.warnings:
        note(f"{stage}: warning: {warning.what}:\n    " + "\n    ".join(warning.lines.shown(ROWS_SHOWN, index)))
    if not result.success:
        raise UserError(
            f"{what}: {len(result.faults)} of {result.expectations} expectations do not hold:\n"
            f"{sentences(result, index)}\n"
            f"Mend the videos or the limits (section validate of {params_path}). The pages are in {docs}."
        )
    suites = ", ".join(f"{name} {suite.rules - suite.warnings}" for name, suite in result.suites.items())
    note(f"{stage}: {result.expectations} expectations checked, those that hold by suite: {suites}")
