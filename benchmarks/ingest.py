"""What indexing, validating and extracting many short videos costs, and a run that has little or nothing to do.

    python benchmarks/ingest.py [--videos N] [--frame-px PX]        # ten minutes for 2,000 on two idle cores

Draws videos as `pptsm motion` does, in a copy of the project, and runs its stages by DVC: seconds, CPU seconds (all
processes), their ratio, which two busy cores bring to 2, and the peak memory (PSS) of all processes. Then, in this
process, CPU milliseconds per video: of the plain loop that everybody writes (OpenCV, loose JPEGs of quality 95), and of
what no extraction can do without (decord in order, and the JPEG encoder). Last: a run with nothing to do, and one after
one video was added. To expect: extraction as fast as the plain loop per CPU second, and one video probed and extracted.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import cv2
import decord

from measure import Done, in_turns, machine
from measure import run as measured
from pptsm.frames.store import FrameRequest, write_stored
from pptsm.ingest.motion import CLASSES, draw_dataset
from pptsm.params.checking import load_params
from pptsm.video.pixels import encode_jpeg
from pptsm.video.types import FrameRange
from pptsm.video.video import Video

PROJECT = Path(__file__).parent.parent
COPIED = ("dvc.yaml", "params.yaml", "presets", "src", ".dvc/config", ".dvcignore", "data/annotations")
STAGES = ("index", "validate", "frames")
SAMPLE = 200  # videos for the loops in this process


def main() -> None:
    """Draw, run, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--frame-px", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        copy_project(project)
        videos = draw(project, arguments.videos, arguments.frame_px)
        print(machine())
        print(f"{len(videos)} videos of {len(Video(videos[0]))} frames of {arguments.frame_px} px")
        print_stages(project, len(videos))
        print_loops(videos[:: max(1, len(videos) // SAMPLE)], project)
        print_reruns(project, videos)


def copy_project(project: Path) -> None:
    """What `dvc repro` of the first stages needs."""
    for name in filter(lambda name: (PROJECT / name).exists(), COPIED):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, project / name)
    settings = ["index.root=videos", "motion.videos_per_class=0"]
    run(project, "git", "init", "-q")
    run(project, "dvc", "init", "-f", "-q")
    shutil.copy(PROJECT / ".dvc" / "config", project / ".dvc" / "config")
    sets = [word for setting in settings for word in ("--set", setting)]
    run(project, "pptsm", "preset", "motion", "--force", *sets)


def draw(project: Path, count: int, frame_px: int) -> list[Path]:
    """The videos below project/videos."""
    drawn = load_params(project / "params.yaml").motion.model_copy(
        update={"videos_per_class": -(-count // len(CLASSES)), "frame_px": frame_px}
    )
    draw_dataset(project / "videos", drawn)
    return sorted((project / "videos").rglob("*.mp4"))


def print_stages(project: Path, videos: int) -> None:
    """A line a stage, DVC's own work (hashes, cache) included."""
    run(project, "dvc", "repro", "motion")
    print(f"{'dvc repro --single-item':24} {'s':>7} {'CPU s':>7} {'ratio':>6} {'CPU ms per video':>15} {'GB':>6}")
    for stage in STAGES:
        done = run(project, "dvc", "repro", "--single-item", stage)
        wall, cpu, peak = done.wall_sec, done.cpu_sec, done.peak_bytes / 1e9
        print(f"{stage:24} {wall:7.1f} {cpu:7.1f} {cpu / wall:6.2f} {cpu / videos * 1e3:15.1f} {peak:6.2f}", flush=True)


def print_loops(videos: list[Path], project: Path) -> None:
    """CPU milliseconds per video of the same work done otherwise."""
    settings = load_params(project / "params.yaml").frames
    folder = project / "loose"
    folder.mkdir()

    num_frames = len(Video(videos[0]))  # as the index knows

    def ours(video: Path) -> None:
        write_stored(video, [FrameRequest(folder / "a.zip", FrameRange(0, num_frames))], settings)

    def opencv(video: Path) -> None:
        reader, number = cv2.VideoCapture(str(video)), 0
        while (read := reader.read())[0]:
            cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), read[1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            number += 1

    def least(video: Path) -> None:
        reader = decord.VideoReader(str(video), num_threads=1)
        for _ in range(len(reader)):
            encode_jpeg(reader.next().asnumpy(), settings.jpeg_quality)

    cv2.setNumThreads(1)
    ways: dict[str, Callable[[Path], None]] = {
        "write_stored": ours,
        "OpenCV, loose JPEGs": opencv,
        "decord + JPEG": least,
    }
    print(f"{f'{len(videos)} videos, one process':24} {'CPU ms per video':>15}")
    turns = {name: lambda turn, way=way: way(videos[turn % len(videos)]) for name, way in ways.items()}
    for name, seconds in in_turns(turns, len(videos)).items():
        print(f"{name:24} {sum(seconds) / len(videos) * 1e3:15.2f}")


def print_reruns(project: Path, videos: list[Path]) -> None:
    """Nothing to do, and one video more: seconds, CPU seconds, and what of the kept work is new."""
    done = run(project, "dvc", "repro", "frames")
    print(f"nothing to do: {done.wall_sec:.1f} s, CPU {done.cpu_sec:.1f} s")
    before = finished(project)
    new = videos[0].with_name("scene00_new.mp4")
    new.write_bytes(videos[0].read_bytes() + b"\0\0\0\x08free")  # an empty box more: other content, the same frames
    done = run(project, "dvc", "repro", "frames")
    made = [path.suffix for path, at in finished(project).items() if before.get(path) != at]
    print(
        f"one video more: {done.wall_sec:.1f} s, CPU {done.cpu_sec:.1f} s; "
        f"{made.count('.json')} probed, {made.count('.zip')} extracted"
    )


def finished(project: Path) -> dict[Path, int]:
    """Probes and archives, each with the time of its writing."""
    return {path: path.stat().st_mtime_ns for path in (project / ".pptsm").rglob("*.*") if path.is_file()}


def run(project: Path, *command: str) -> Done:
    """A command in the copy of the project."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "PPTSM_STATE": ""}
    words = [sys.executable, "-m", *command] if command[0] == "dvc" else [*command]
    return measured(*words, cwd=project, env=environment)


if __name__ == "__main__":
    main()
