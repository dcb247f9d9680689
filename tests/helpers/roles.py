"""Tiny trainings of one role in the working folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pandas as pd
import pytest

from conftest import merged, params_with
from pptsm.data.table import COLUMNS, save_index
from pptsm.training.fit import Inputs, Peer, Plan
from pptsm.training.fit import fit as run_stage
from pptsm.video.encode import write_video
from pptsm.weights.state_dict import read_weights

SETTINGS: dict[str, Any] = {
    "index": {"root": "videos"},
    "frames": {"source": "video"},
    "clip": {"resize_px": 32, "crop_px": 32, "test_crop_px": 32, "dense_window": 8, "dense_clips": 2},
    "training": {"batch_size": 8, "batch_norm_clips": 4, "warmup_epochs": 0, "precise_bn_batches": 2},
    "teacher": {"network": {"depth": 18, "width": 0.125, "num_segments": 4}, "epochs": 1},
    "student": {"network": {"width": 0.125, "num_segments": 4}, "epochs": 1},
    "compute": {"devices": 1},
}
LABELS = ["dark", "light"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight dark and eight light videos for training, and as many for validation, with index and labels."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for split in ("train", "val"):
        for label_index, label in enumerate(LABELS):
            for number in range(8):
                name = f"{label}/{split}{number}.mp4"
                path = tmp_path / "videos" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                grey = 30 + 180 * label_index + number
                write_video(path, np.full((8, 32, 32, 3), grey, dtype=np.uint8), 10, "mpeg4")
                row = {
                    "id": name,
                    "path": name,
                    "label": label,
                    "label_index": label_index,
                    "group": f"{label}{number}",
                }
                row |= {"split": split, "status": "ok", "num_frames": 8, "reason": "", "sha256": ""}
                rows.append(dict.fromkeys(COLUMNS, 0) | row)
    save_index(pd.DataFrame(rows), tmp_path / "index.csv")
    (tmp_path / "labels.txt").write_text("dark\nlight\n")
    paddle.set_device("cpu")
    return tmp_path


def fit(role: str, *changes: dict[str, Any], **options: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train one role with SETTINGS and `changes`: its card and its history."""
    settings = SETTINGS
    for change in changes:
        settings = merged(settings | {key: settings.get(key, {}) for key in change}, change)
    params = params_with(**settings)
    inputs = Inputs(Path("index.csv"), Path("labels.txt"), Path("none"), Path("start", role))
    if params.student.distillation.kind == "mutual" and role == "student":
        options["peer"] = Peer(params.teacher, Path("start/teacher"))
    run_stage(Plan(role, getattr(params, role), inputs, Path(role), Path(f"{role}.csv"), **options), params)
    return json.loads(Path(role, "card.json").read_text()), pd.read_csv(f"{role}.csv")


def weights_of(folder: str) -> dict[str, np.ndarray]:
    """Weights that learning moves (batch norm's statistics are measured anew)."""
    arrays = read_weights(Path(folder) / "weights.pdparams")
    return {name: array for name, array in arrays.items() if not name.endswith(("_mean", "_variance"))}


def states() -> list[str]:
    """What lies in the folder of training states."""
    return sorted(path.name for path in Path(".pptsm/training").iterdir())
