"""Videos whose frames follow from their names."""

from pathlib import Path

import numpy as np
import pandas as pd

from conftest import spec_with
from pptsm.data.clips import EvaluationVideos, FrameSource
from pptsm.data.spec import ClipSpec
from pptsm.data.table import ClipRef
from pptsm.video.types import Frames

CLIP = spec_with(segments=2, resize_px=24, crop_px=16, test_crop_px=16, dense_window=4, dense_clips=2)
NUM_FRAMES = [9, 5, 12, 30, 7]


class Noise(FrameSource):
    """Frames that follow from the video's name: every view of every video is another one."""

    def __init__(self) -> None:
        super().__init__("archive", Path("nowhere"))

    def read(self, excerpt: ClipRef, indices: np.ndarray) -> Frames:
        """[T, 24, 40, 3], darker for a higher number so that videos differ in the mean too."""
        number = int(excerpt.id)
        frames = np.random.default_rng(number).integers(0, 256 - 40 * number, (30, 24, 40, 3))
        return Frames(frames[indices].astype(np.uint8), (40, 24))


def videos_of(sampling: str, spec: ClipSpec = CLIP) -> EvaluationVideos:
    """Five videos; labels are not in the order of the rows."""
    ids = list("01234")
    columns = {"id": ids, "path": ids, "first_frame": 0, "num_frames": NUM_FRAMES, "label_index": [2, 0, 1, 2, 0]}
    rows = pd.DataFrame(columns)
    return EvaluationVideos(rows, Noise(), spec, sampling)  # type: ignore[arg-type]
