"""How large is the report's page of 400 classes and 20,000 videos, and how long does it take?

    python benchmarks/report_page.py RUN [CLASSES VIDEOS]      # 400 20000 by default; about a minute

RUN is a finished pipeline's folder, from which cards, curves, and runtimes come. Index, predictions and figures are
made up: logits of a network that recognises three of four videos; the clips are hard links to one archive of frames of
340 x 256 px. What is timed is what stage `report` does after its imports. To expect: below 5 MB, within 60 s.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from measure import cpu_sec, machine
from pptsm.data.clips import FrameSource
from pptsm.data.table import COLUMNS, save_index, save_labels
from pptsm.evaluation.run import Evaluated
from pptsm.evaluation.tables import class_rows, metric_values, prediction_rows
from pptsm.frames.store import write_archive
from pptsm.params.checking import load_params
from pptsm.params.schema import Params
from pptsm.report.gather import Sources, gather
from pptsm.report.page import render
from pptsm.video.encode import write_video

FRAMES, SIZE = 250, (340, 256)
SAMPLING = "uniform"
MOST_LINKS = 60_000  # of a file; ext4 allows 65,000


def made_up(folder: Path, params: Params, classes: int, videos: int) -> None:
    """Write index.csv, labels.txt, frames/ and evaluation/ of a network that recognises three of four videos."""
    rng = np.random.default_rng(0)
    names = [f"class number {number:03}" for number in range(classes)]
    label_N = np.arange(videos) % classes
    rows = []
    for number, label in enumerate(label_N.tolist()):
        name = f"{names[label]}/video_{number:06}.mp4"
        said = (name, name, names[label], label, f"group {number // 4}", "test", "ok", "", "decord", 0, FRAMES, 25.0)
        rows.append((*said, *SIZE, FRAMES / 25, 999, f"{number:064x}"))
    index = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))
    save_index(index, folder / "index.csv")
    save_labels(names, folder / "labels.txt")
    linked_frames(folder, params, index["id"].tolist())
    logits_NK = rng.normal(0, 1, (videos, classes))
    logits_NK[np.arange(videos), label_N] += rng.normal(4, 1.5, videos)
    which = {"role": "student", "sampling": SAMPLING}
    values = metric_values(logits_NK, label_N, index["group"].tolist())
    values |= {"served_videos": videos, "served_top1": values["top1"], "served_agreement": 1.0}
    found = Evaluated(
        {"student": {SAMPLING: values}},
        prediction_rows(index, logits_NK, names).assign(**which),
        class_rows(logits_NK, label_N, names).assign(**which),
        {"calibration": None, "reason": "the videos are made up", "reached": None},
    )
    (folder / "evaluation").mkdir()
    found.write(folder / "evaluation", SAMPLING)


def linked_frames(folder: Path, params: Params, names: list[str]) -> None:
    """Archives of noisy frames, the same bytes, under the names of all clips."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, SIZE[1] // 8 + 1, SIZE[0] // 8 + 1, 3), dtype=np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : SIZE[1], : SIZE[0]]
    write_video(folder / "video.mp4", frames.repeat(FRAMES // 8 + 1, axis=0)[:FRAMES], 25, "h264")
    for number, name in enumerate(names):
        one = folder / f"clip_{number // MOST_LINKS}.zip"
        if number % MOST_LINKS == 0:
            write_archive(one, folder / "video.mp4", FRAMES, params.frames)
        file = folder / "frames" / f"{name}.zip"
        file.parent.mkdir(parents=True, exist_ok=True)
        os.link(one, file)


def sources(folder: Path, run: Path) -> Sources:
    """What was made up, and the rest of a finished run."""
    reports, models = run / "reports", run / "models"
    roles = ("teacher", "baseline", "student")
    return Sources(
        run / "params.yaml",
        folder / "index.csv",
        folder / "labels.txt",
        [models / role for role in roles],
        reports / "validation/result.json",
        reports / "validation/frames.json",
        folder / "evaluation",
        reports / "export.json",
        models / "export/model.onnx",
        {role: reports / f"{role}.csv" for role in roles},
        reports / "runtimes.json",
    )


def main() -> None:
    """Make the page once, in a temporary folder."""
    run = Path(sys.argv[1])
    classes, videos = map(int, sys.argv[2:4] or ("400", "20000"))
    params = load_params(run / "params.yaml").model_copy(update={"sampling": SAMPLING})
    print(machine())
    folder = Path(tempfile.mkdtemp())
    try:
        made_up(folder, params, classes, videos)
        before, start = cpu_sec(), time.perf_counter()
        values = gather(params, sources(folder, run), FrameSource("archive", folder / "frames"))
        page = render("index.html", values)
        seconds = time.perf_counter() - start
        print(
            f"{classes} classes, {videos} videos, {len(values['wrong'])} mistakes: {len(page.encode()) / 1e6:.2f} MB,"
        )
        print(f"{seconds:.1f} s, {cpu_sec() - before:.1f} s of CPU; {page.count('<img')} pictures")
        Path("report_page.html").write_text(page, encoding="utf-8")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
