"""Videos that arrive in a folder, each predicted once: `pptsm predict FOLDER --results FILE`.

A video has one row in the results, known by its path, size and time of change, and is then left alone; a changed file
is another video. One that failed is tried in up to three runs, because a full disk or a busy machine passes, and one
that is still being written is left for the next run. Where a file's time lies in the future (a camera's or a server's
clock), no age says that: it is looked at twice. Runs with the same results wait for each other.
"""

import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from pptsm.data.table import read_csv, write_csv
from pptsm.runtime.console import note, one_line
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file, require_writable
from pptsm.serving.decode import Decoders
from pptsm.serving.doubts import Doubts
from pptsm.serving.predictor import Answer, Predictor
from pptsm.video.scan import scan_for_videos, shut
from pptsm.video.types import name_fault, shown

SETTLED_SEC = 10  # a file that was changed later than this before may still be growing
MAX_TRIES = 3  # of a video that fails
EARLIEST_NS, LATEST_NS = -(1 << 63), (1 << 63) - 1  # a time that 64 bits hold, to the year 2262; disks know later ones
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
    "known": str,
}
LATER = {"known"}  # columns that tables of older versions lack


def predict_arrived(
    folder: Path, results: Path, predictor: Predictor, decoders: Decoders, top_k: int, timeout_sec: float
) -> str:
    """Classify the videos of a folder that are new or to be tried again; after each one the results are whole on disk.

    Args:
        folder: searched with its subfolders.
        results: CSV with one row per video; for another model name another file, and all videos are predicted again.
        predictor: the model, opened: its revision is noted.
        decoders: processes that decode.
        top_k: how many classes are kept in column `top`.
        timeout_sec: a video that takes longer has failed.

    Returns:
        A line with the counts.

    Raises:
        UserError: all videos that were taken failed, or folder or results cannot be used.
    """
    bad, results = 0, require_writable(results)
    doubts = Doubts.of(predictor.metadata, predictor.sampling)
    with locked(results):
        rows = read_results(results)
        due, unsettled = due_videos(folder, rows)
        answers = predictor.answers(list(due), decoders, top_k, timeout_sec)
        for number, (file, answer) in enumerate(zip(due, answers, strict=True), start=1):
            identity = due[file]
            before = rows.pop(identity, None)  # its new row comes last
            tries = 1 + (before["tries"] if before else 0)
            if name_fault(file):  # no try will mend a name; with a new one it is another video
                tries = MAX_TRIES
            row = _row_of(answer, identity, predictor.metadata.revision, tries, _known(answer, doubts))
            rows[identity] = row
            with atomic_file(results) as partial:
                write_csv(pd.DataFrame(rows.values()), partial)
            bad += bool(row["error"])
            what = one_line(f"{row['file']}: {row['error'] or row['label']}")
            note(f"predict: video {number} of {len(due)}: {what}")
    line = f"{len(due)} videos taken in {folder}, {bad} of them failed; {unsettled} still being written"
    if due and bad == len(due):
        raise UserError(f"{line}. Column `error` of {results} says why.")
    return line


def locked(results: Path) -> AbstractContextManager[Any]:
    """Wait until no other run uses these results, and keep others out while the context lasts.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(results.with_name(f".{results.name}.lock")).acquire()
    except OSError as error:
        raise UserError(f"cannot write {results}: {error.strerror}. Name another file as results.") from None


def read_results(path: Path) -> dict[Identity, Row]:
    """The rows of earlier runs by their videos; none if there were none.

    Raises:
        UserError: the file is something else.
    """
    if not path.exists():
        return {}
    try:
        table = read_csv(path.read_bytes(), TYPES, keep_default_na=False)
        for name in LATER - set(table.columns):
            table[name] = ""
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"{path} is no table of predictions: {error}. Name another file as results.") from None
    if missing := {"time", *TYPES, "score"} - set(table.columns):
        raise UserError(f"{path} lacks the columns {', '.join(sorted(missing))}. Name another file as results.")
    return {(row["file"], row["size_bytes"], row["changed_ns"]): row for row in table.to_dict("records")}


def due_videos(folder: Path, known: dict[Identity, Row]) -> tuple[dict[Path, Identity], int]:
    """The videos of a folder that are new or to be tried again, and how many more are still being written.

    Raises:
        UserError: there is no such folder.
    """
    if problem := shut(folder):
        raise UserError(f"there is no folder {folder} to look into ({problem}). Create it, or name another.")
    done = {identity for identity, row in known.items() if not row["error"] or row["tries"] >= MAX_TRIES}
    due: dict[Path, Identity] = {}
    ahead_of_time: dict[Path, Identity] = {}
    unsettled = 0
    for path in scan_for_videos(folder):
        try:
            identity, age_sec = _identity(path, folder)
        except OSError:  # a link to a file that has not come yet, or one that has gone
            unsettled += 1
            continue
        if identity in done:
            continue
        if age_sec < 0:
            ahead_of_time[path] = identity
        elif age_sec < SETTLED_SEC:
            unsettled += 1
        else:
            due[path] = identity
    if ahead_of_time:
        note(
            f"predict: the time of {len(ahead_of_time)} videos lies in the future: looking again in {SETTLED_SEC} s at "
            "whether they change"
        )
        time.sleep(SETTLED_SEC)
    for path, identity in ahead_of_time.items():
        if _is_still(path, folder, identity):
            due[path] = identity
        else:
            unsettled += 1
    return due, unsettled


def _identity(path: Path, folder: Path) -> tuple[Identity, float]:
    """What a video is known by, and the seconds since it changed; negative where that lies in the future."""
    facts = path.stat()
    changed_ns = min(max(facts.st_mtime_ns, EARLIEST_NS), LATEST_NS)
    return (shown(path.relative_to(folder)), facts.st_size, changed_ns), time.time() - facts.st_mtime


def _is_still(path: Path, folder: Path, before: Identity) -> bool:
    try:
        return _identity(path, folder)[0] == before
    except OSError:
        return False


def _known(answer: Answer, doubts: Doubts) -> str:
    """`true`, or `false`: none of the classes; empty where there is no answer, or a model that cannot tell."""
    said = doubts.values(answer.logits) if answer.logits is not None else {}
    return str(said["known"]).lower() if "known" in said else ""


def _row_of(answer: Answer, identity: Identity, revision: str, tries: int, known: str = "") -> Row:
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
        "known": known,
        "score": answer.top[0].score if answer.top else "",
    }
