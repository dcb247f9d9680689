"""One fold's trainings and its test, in a process of their own: Paddle's ranks can join only once in each.

The trainings are those of the stages `teacher` and `student`, called as DVC calls them; the test is that of stage
`evaluate`, of the networks themselves instead of their exported files.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from pptsm.params.checking import load_params
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file
from pptsm.runtime.pool import die_with_parent
from pptsm.stages import student, teacher

INDEX, LABELS, PARAMS, RESULT, ERROR = "index.csv", "labels.txt", "params.yaml", "result.json", "error.txt"
PREDICTIONS = "predictions.csv"
WITHOUT_CALIBRATION = "cross-validation keeps no model, so there is none to calibrate"


def history(folder: Path, role: str) -> Path:
    """The table of a role's epochs, which grows while it is trained."""
    return folder / f"{role}.csv"


def train(folder: Path, role: str, frames: Path, starts: Path) -> None:
    """One role of a fold, as its stage trains it."""
    options: dict[str, Any] = {
        "index": folder / INDEX,
        "labels": folder / LABELS,
        "frames": frames,
        "start": starts / role,
        "out": folder / role,
        "history": history(folder, role),
        "params_path": folder / PARAMS,
    }
    if role == "teacher":
        teacher.run(**options)
    else:
        student.run(**options, teacher=folder / "teacher", teacher_start=starts / "teacher")


def score(folder: Path, frames: Path) -> None:
    """Score the fold's networks on its test videos by each of `evaluate.samplings`: predictions, and a result."""
    from pptsm.data.clips import Dataset, frame_source
    from pptsm.data.table import in_split, load_index, load_labels, write_csv
    from pptsm.evaluation.run import CalibrationData, Candidate, evaluate
    from pptsm.weights.card import PEER, read_card

    params = load_params(folder / PARAMS)
    table = load_index(folder / INDEX)
    classes = load_labels(folder / LABELS, table)
    places = {"teacher": folder / "teacher", PEER: folder / "student" / PEER, "student": folder / "student"}
    networks = {role: at for role, at in places.items() if at.is_dir()}
    candidates = [Candidate(role, at, at / "none.onnx", read_card(at).clip) for role, at in networks.items()]
    data = Dataset(in_split(table, "test"), classes, frame_source(params, frames))
    found = evaluate(candidates, data, CalibrationData(None, None, WITHOUT_CALIBRATION), params)
    if found is None:
        return  # the first rank writes for all
    with atomic_file(folder / PREDICTIONS) as partial:
        write_csv(found.predictions, partial)
    counted = {
        f"{split}_{name}": int(value)
        for split, of_split in table.groupby("split")
        for name, value in (("videos", len(of_split)), ("groups", of_split["group"].nunique()))
    }
    verdicts = {role: read_card(at).verdict for role, at in networks.items()}
    result = {"counted": counted, "metrics": found.metrics, "verdicts": verdicts, "classes": classes}
    with atomic_file(folder / RESULT) as partial:
        partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_result(folder: Path) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """What `score` found of a fold, and its predictions; None where it is not finished, or a file is damaged."""
    from pptsm.data.table import read_csv

    types = dict.fromkeys(("id", "label", "top1", "role", "sampling"), "str")
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        table = read_csv((folder / PREDICTIONS).read_bytes(), types, keep_default_na=False)
        counts = result["counted"]["train_videos"], result["counted"]["test_videos"], result["metrics"]["student"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (result, table) if all(counts) and not {*types} - {*table.columns} else None


def main() -> None:
    """The life of the process: the starter's number, the folder, the frames, the starts, and what to do there."""
    starter, *places = sys.argv[1:5]
    die_with_parent(int(starter))
    folder, frames, starts = map(Path, places)
    try:
        for part in sys.argv[5:]:
            score(folder, frames) if part == "score" else train(folder, part, frames, starts)
    except UserError as error:
        (folder / ERROR).write_text(str(error), encoding="utf-8")
        sys.exit(error.exit_code)
