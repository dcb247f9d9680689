"""A tiny video in a folder of its own, and its row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import moving_square
from pptsm.runtime.files import sha256_of
from pptsm.video.encode import write_video


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """12 frames of 32x48."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "videos" / "run" / "a_1.mp4"
    path.parent.mkdir(parents=True)
    write_video(path, np.pad(moving_square(12), ((0, 0), (0, 0), (0, 16), (0, 0))), 10, "mpeg4")
    return path


def rows_of(*paths: Path) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"run/{path.name}" for path in paths],
            "path": [f"run/{path.name}" for path in paths],
            "first_frame": 0,
            "num_frames": 12,
            "sha256": [sha256_of(path) for path in paths],
            "label_index": 0,
        }
    )
