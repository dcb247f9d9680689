"""Flow `predict-folder`: classifies the videos of a folder that are new since the last run, with the exported model.

    prefect deployment run predict-folder --watch -p folder=data/incoming
    python flows/predict_folder.py data/incoming     # once, no server needed

A video is taken once: one that a row of the results names, with the same size and time of change, is left alone. A
changed file is taken again, and one that is still being written is left for the next run. Needs no Paddle.
"""

if __name__ == "__main__":
    import alone  # noqa: F401  must come before Prefect

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pandas as pd
from flows.failures import refused
from flows.graph import ROOT
from flows.scripts import run_as_script
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.states import Completed
from pydantic import Field

from pptsm.data.walk import videos_below
from pptsm.deploy.predict import Answer, Predictor, predict_files
from pptsm.errors import UserError
from pptsm.files import whole_file

SETTLED_SEC = 10  # a file that was changed later than this before may still be growing
SHOWN = 200  # rows of the table in Prefect
Identity = tuple[str, int, int]  # what a video is known by: path below the folder, size, time of change
TYPES: dict[str, Any] = {
    "file": str,
    "size_bytes": "int64",
    "changed_ns": "int64",
    "label": str,
    "top": str,
    "error": str,
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
        timeout_sec: a video that takes longer is recorded as unreadable.

    Returns:
        Completed with the counts, or Failed where the folder, the model or the results cannot be used.
    """
    try:
        table = read_results(ROOT / results)
        new, unsettled = new_videos(ROOT / folder, table)
        if new:
            rows = predict(new, ROOT / model, ROOT / results, table, top_k, timeout_sec)
            create_table_artifact(key="predicted", table=rows[-SHOWN:], description=f"The newest rows of {results}.")
            bad = sum(bool(row["error"]) for row in rows)
        else:
            bad = 0
    except UserError as error:
        return refused(error)
    line = f"{len(new)} new videos in {folder}, {bad} of them unreadable; {unsettled} still being written"
    get_run_logger().info(line)
    return Completed(message=line)


def read_results(path: Path) -> pd.DataFrame:
    """The rows of earlier runs; none if there were none.

    Raises:
        UserError: the file is something else.
    """
    if not path.exists():
        return pd.DataFrame(columns=["time", *TYPES, "score"])
    try:
        table = pd.read_csv(path, dtype=TYPES, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table of predictions: {error}. Name another file as `results`.") from None
    if missing := {"time", *TYPES, "score"} - set(table.columns):
        raise UserError(f"{path} lacks the columns {', '.join(sorted(missing))}. Name another file as `results`.")
    return table


def new_videos(folder: Path, table: pd.DataFrame) -> tuple[dict[Path, Identity], int]:
    """The videos of a folder that no row tells of, and how many more are still being written.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}. Create it, or name another as `folder`.")
    known = set(zip(table["file"], table["size_bytes"], table["changed_ns"], strict=True))
    new, unsettled = {}, 0
    for path in videos_below(folder):
        if not path.exists():  # a link to a file that has not come yet
            unsettled += 1
            continue
        facts = path.stat()
        name = os.fsencode(path.relative_to(folder).as_posix()).decode(
            errors="backslashreplace"
        )  # any name can be written
        identity = name, facts.st_size, facts.st_mtime_ns
        if identity in known:
            continue
        if time.time() - facts.st_mtime < SETTLED_SEC:
            unsettled += 1
        else:
            new[path] = identity
    return new, unsettled


@task
def predict(
    videos: dict[Path, Identity], model: Path, results: Path, table: pd.DataFrame, top_k: int, timeout_sec: float
) -> list[dict[str, Any]]:
    """Classify videos; after each one the results are whole on disk, so an ended run loses nothing.

    Raises:
        UserError: the model cannot be used.
    """
    logger = get_run_logger()
    revision = Predictor(model).metadata.revision
    bar = create_progress_artifact(0.0, key="predict-progress", description=f"{len(videos)} new videos.")
    assert isinstance(bar, UUID)
    rows: list[dict[str, Any]] = []
    for answer in predict_files(list(videos), model, sampling=None, top_k=top_k, timeout_sec=timeout_sec):
        row = row_of(answer, videos[answer.file], revision)
        rows.append(row)
        with whole_file(results) as partial:
            pd.concat([table, pd.DataFrame(rows)]).to_csv(partial, index=False)
        logger.info(f"{row['file']}: {row['error'] or row['label']}")
        update_progress_artifact(bar, progress=100 * len(rows) / len(videos))
    return rows


def row_of(answer: Answer, identity: Identity, revision: str) -> dict[str, Any]:
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
