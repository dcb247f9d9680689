"""Does an index of 250,000 clips stay cheap? Seconds and memory of each step by number of clips.

    python benchmarks/index_scale.py [CLIPS ...]      # 2500 25000 250000 by default; about 2 minutes

For each size a process of its own plans an index by Kinetics' CSV files (400 classes, one file per group; 6 % of what
they name is not there), splits it by shares, writes and reads it, and validates it with Data Docs: once as it should
be and once with four of five rows breaking a rule. No video is opened: what probing would find is drawn. Last it
compares the looks of as many clips, by drawn hashes of which one in a thousand is a copy. CPU seconds and peak memory
(PSS, so far) are those of the whole process tree. To expect: below 20 CPU seconds in all and 0.7 GB for 250,000
clips.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from measure import Memory, cpu_sec, machine, watched_memory
from pptsm.data.table import COLUMNS, load_index, save_index
from pptsm.ingest.index import plan_index
from pptsm.ingest.splits import advice, assign_splits
from pptsm.params.checking import check_params
from pptsm.params.reading import read_sections
from pptsm.params.schema import Params
from pptsm.presets.compose import merged

ROOT = Path(__file__).resolve().parent.parent
SIZES = (2_500, 25_000, 250_000)
CLASSES = 400
MISSING = 0.06
COPIES = 1e-3
PEAK = Memory()


def main() -> None:
    """Measure each size in a process of its own, for its memory."""
    print(machine(), flush=True)
    for clips in map(int, sys.argv[1:] or SIZES):
        subprocess.run([sys.executable, __file__, "--one", str(clips)], check=True)


def measure(clips: int) -> None:
    """Print one line per step."""
    rng = np.random.default_rng(clips)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids, params = annotated(clips, folder)
        there = [name for name, kept in zip(ids, rng.random(clips) >= MISSING, strict=True) if kept]
        with timed(clips, "planned from annotations"):
            table, labels = plan_index(there, params.index)
        with timed(clips, "split by shares"):
            by_shares = default().index
            usable = table[table["status"] == "ok"].assign(split="")
            advice(usable.assign(split=assign_splits(usable, by_shares)), by_shares)
        table = probed(table, rng)
        with timed(clips, "written"):
            save_index(table, folder / "index.csv")
        with timed(clips, "read"):
            table = load_index(folder / "index.csv")
        with timed(clips, "Great Expectations loaded"):
            from pptsm.validation.index import validate_index
            from pptsm.validation.result import save_result, sentences
        for what, frames in (("validated", table["num_frames"]), ("validated, 4 of 5 broken", 3)):
            broken = table.assign(num_frames=table["num_frames"].where(np.arange(len(table)) % 5 == 0, frames))
            with timed(clips, what):
                result = validate_index(broken, labels, params.validate_, folder / what, ["train", "val"])
                save_result(result, folder / "result.json", folder / "index.csv")
                sentences(result, folder / "index.csv")
        size = sum(file.stat().st_size for file in folder.rglob("*.html"))
        print(f"{clips:7} clips  {len(result.faults)} faults, pages {size / 1e6:.1f} MB", flush=True)
        with timed(clips, "looks compared"):
            from pptsm.validation.leakage import nearest_copies

            hashes = rng.integers(0, 2**64, (len(table), 3, 4), dtype=np.uint64)
            copies = rng.integers(0, len(table), (2, max(1, int(COPIES * len(table)))))
            hashes[copies[0]] = hashes[copies[1]]
            nearest, _ = nearest_copies(hashes, table["split"].tolist(), table["sha256"].tolist(), 24)
        print(f"{clips:7} clips  {(nearest >= 0).sum()} look like a clip of another split", flush=True)


def default(**changes: dict[str, Any]) -> Params:
    """The parameters of the embedded dataset with changes."""
    return check_params(merged(read_sections(ROOT / "params.yaml"), changes), "benchmark")


def annotated(clips: int, folder: Path) -> tuple[list[str], Params]:
    """Write the two CSV files of Kinetics for so many clips, a tenth of them for validation.

    Returns:
        The ids of all their files, and parameters that name the lists.
    """
    numbers = np.arange(clips)
    rows = pd.DataFrame({"label": [f"class {number:03d}" for number in numbers % CLASSES]})
    rows["youtube_id"] = [f"v{number:010d}" for number in numbers]
    rows = rows.assign(time_start=12, time_end=22, split=np.where(numbers < clips * 9 // 10, "train", "validate"))
    files = {split: folder / f"{split}.csv" for split in ("train", "validate")}
    for split, file in files.items():
        rows[rows["split"] == split].to_csv(file, index=False)
    index = {"annotations": list(map(str, files.values())), "format": "kinetics", "max_missing_share": 1.0}
    ids = rows["label"].str.replace(" ", "_") + "/" + rows["youtube_id"] + "_000012_000022.mp4"
    return ids.tolist(), default(index=index)


def probed(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A planned index with what decoding would have found."""
    count = len(table)
    digests = rng.bytes(32 * count).hex()
    drawn = {
        "first_frame": 0,
        "num_frames": rng.integers(100, 301, count),
        "duration_sec": 10.0,
        "fps": 25.0,
        "width": 340,
        "height": 256,
        "size_bytes": rng.integers(10**5, 10**6, count),
        "sha256": [digests[64 * row : 64 * row + 64] for row in range(count)],
        "decoder": "decord",
        "path": table["id"],
    }
    return table.assign(**drawn)[list(COLUMNS)].astype(dict(COLUMNS)).sort_values("id", ignore_index=True)


@contextmanager
def timed(clips: int, what: str) -> Iterator[None]:
    """Print how long the block takes, in seconds of the clock and of the processors, and the peak memory."""
    clock, cpu = time.perf_counter(), cpu_sec()
    with watched_memory() as memory:
        yield
        memory.look(os.getpid())
    clock, cpu = time.perf_counter() - clock, cpu_sec() - cpu
    PEAK.peak_bytes = max(PEAK.peak_bytes, memory.peak_bytes)
    print(f"{clips:7} clips  {what:27} {clock:7.2f} s {cpu:7.2f} s CPU  {PEAK.peak_bytes / 1e6:6.0f} MB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        main()
