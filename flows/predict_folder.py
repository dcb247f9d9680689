"""Flow `predict-folder`: classifies the videos of a folder that are new since the last run, with the exported model.

    prefect deployment run predict-folder --watch -p folder=data/incoming
    python flows/predict_folder.py data/incoming     # once, no server needed

A video has one row in the results, known by its path, size and time of change, and is then left alone; a changed file
is another video. One that failed is tried in up to three runs, because a full disk or a busy machine passes, and one
that is still being written is left for the next run. Runs with the same results wait for each other. Needs no Paddle.
"""

if __name__ == "__main__":
    import alone  # noqa: F401  must come before Prefect

import argparse
import os
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pandas as pd
from filelock import FileLock
from flows.failures import refused
from flows.graph import ROOT
from flows.scripts import run_as_script
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.states import Completed, Failed
from pydantic import Field

from pptsm.data.walk import videos_below
from pptsm.errors import UserError
from pptsm.files import whole_file
from pptsm.serving.predictor import Answer, Predictor, predict_files

SETTLED_SEC = 10  # a file that was changed later than this before may still be growing
MAX_TRIES = 3  # of a video that fails
SHOWN = 200  # rows of the table in Prefect
Identity = tuple[str, int, int]  # what a video is known by: path below the folder, size, time of change
Row = dict[Any, Any]  # a line of the results, by column
TYPES: dict[str, Any] = {
    "file": str,
    "size_bytes": "int64",
    "changed_ns": "int64",
    "label": str,
    "top": str,
    "error": str,
    "tries": "int64",
    "model": str,
}


@flow(name="predict-folder")
def predict_folder(
    folder: str,
    model: str = "models/export/model.onnx",
    results: str = "reports/predicted.csv",
    top_k: Annotated[int, Field(ge=1)] = 5,
    timeout_sec: Annotated[float, Field(gt=0)] = 600.0,
) -> State[Any]:
    """Classify new videos and add a row for each to the results.

    Args:
        folder: where videos arrive, searched with its subfolders. Paths count from the project's folder.
        model: the exported ONNX file.
        results: CSV, a row a video; another model may have another file, and then takes all videos again.
        top_k: how many classes are kept in column `top`.
        timeout_sec: a video that takes longer has failed.

    Returns:
        Completed with the counts, or Failed where all videos that were taken failed, or where the folder, the model
        or the results cannot be used.
    """
    rows: list[Row] = []
    try:
        with locked(ROOT / results):
            known = read_results(ROOT / results)
            due, unsettled = due_videos(ROOT / folder, known)
            if due:
                rows = predict(due, known, ROOT / model, ROOT / results, top_k, timeout_sec)
    except UserError as error:
        return refused(error)
    bad = sum(bool(row["error"]) for row in rows)
    line = f"{len(rows)} videos taken in {folder}, {bad} of them failed; {unsettled} still being written"
    get_run_logger().info(line)
    if rows:
        create_table_artifact(key="predicted", table=rows[-SHOWN:], description=f"The newest rows of {results}.")
    if rows and bad == len(rows):
        return Failed(message=f"{line}. Column `error` of {results} says why.")
    return Completed(message=line)


def locked(results: Path) -> AbstractContextManager[Any]:
    """Wait until no other run uses these results, and keep others out while the context lasts.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(results.with_name(f".{results.name}.lock")).acquire()
    except OSError as error:
        raise UserError(f"cannot write {results}: {error.strerror}. Name another file as `results`.") from None


def read_results(path: Path) -> dict[Identity, Row]:
    """The rows of earlier runs by their videos; none if there were none.

    Raises:
        UserError: the file is something else.
    """
    if not path.exists():
        return {}
    try:
        table = pd.read_csv(path, dtype=TYPES, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table of predictions: {error}. Name another file as `results`.") from None
    if "tries" not in table:  # from before they were counted
        table["tries"] = 1
    if missing := {"time", *TYPES, "score"} - set(table.columns):
        raise UserError(f"{path} lacks the columns {', '.join(sorted(missing))}. Name another file as `results`.")
    return {(row["file"], row["size_bytes"], row["changed_ns"]): row for row in table.to_dict("records")}


def due_videos(folder: Path, known: dict[Identity, Row]) -> tuple[dict[Path, Identity], int]:
    """The videos of a folder that are new or to be tried again, and how many more are still being written.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}. Create it, or name another as `folder`.")
    done = {identity for identity, row in known.items() if not row["error"] or row["tries"] >= MAX_TRIES}
    due, unsettled = {}, 0
    for path in videos_below(folder):
        if not path.exists():  # a link to a file that has not come yet
            unsettled += 1
            continue
        facts = path.stat()
        name = os.fsencode(path.relative_to(folder).as_posix()).decode(
            errors="backslashreplace"
        )  # any name can be written
        identity = name, facts.st_size, facts.st_mtime_ns
        if identity in done:
            continue
        if time.time() - facts.st_mtime < SETTLED_SEC:
            unsettled += 1
        else:
            due[path] = identity
    return due, unsettled


@task
def predict(
    videos: dict[Path, Identity],
    known: dict[Identity, Row],
    model: Path,
    results: Path,
    top_k: int,
    timeout_sec: float,
) -> list[Row]:
    """Classify videos; after each one the results are whole on disk, so an ended run loses nothing.

    Raises:
        UserError: the model cannot be used.
    """
    logger = get_run_logger()
    revision = Predictor(model).metadata.revision
    bar = create_progress_artifact(0.0, key="predict-progress", description=f"{len(videos)} videos.")
    assert isinstance(bar, UUID)
    rows: list[Row] = []
    for answer in predict_files(list(videos), model, sampling=None, top_k=top_k, timeout_sec=timeout_sec):
        identity = videos[answer.file]
        before = known.pop(identity, None)  # its new row comes last
        row = row_of(answer, identity, revision, tries=1 + (before["tries"] if before else 0))
        known[identity] = row
        rows.append(row)
        with whole_file(results) as partial:
            pd.DataFrame(known.values()).to_csv(partial, index=False)
        logger.info(f"{row['file']}: {row['error'] or row['label']}")
        update_progress_artifact(bar, progress=100 * len(rows) / len(videos))
    return rows


def row_of(answer: Answer, identity: Identity, revision: str, tries: int) -> Row:
    """A row of the results."""
    file, size_bytes, changed_ns = identity
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": file,
        "size_bytes": size_bytes,
        "changed_ns": changed_ns,
        "label": answer.top[0].label if answer.top else "",
        "top": "; ".join(f"{guess.label} {guess.score:.4f}" for guess in answer.top),
        "error": answer.error or "",
        "tries": tries,
        "model": revision,
        "score": answer.top[0].score if answer.top else "",
    }


def main() -> int:
    """Run the flow once, in this process."""
    parser = argparse.ArgumentParser(description="Classify the videos of a folder that are new since the last run.")
    parser.add_argument("folder", help="Where videos arrive.")
    parser.add_argument("--results", default="reports/predicted.csv", help="CSV with a row a video.")
    parser.add_argument("--model", default="models/export/model.onnx", help="The exported ONNX file.")
    given = parser.parse_args()
    return run_as_script(predict_folder, folder=given.folder, results=given.results, model=given.model)


if __name__ == "__main__":
    raise SystemExit(main())
