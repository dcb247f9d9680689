"""What indexing, validating and extracting many short videos costs, and a run that has little or nothing to do.

    python benchmarks/ingest.py [--videos N] [--frame-px PX]        # ten minutes for 2,000 on two idle cores

Draws videos as `pptsm motion` does, in a copy of the project, and runs its stages by DVC: seconds, CPU seconds (all
processes) and their ratio, which two busy cores bring to 2. Then, in this process, CPU milliseconds a video: of the
plain loop that everybody writes (OpenCV, loose JPEGs of quality 95), and of what no extraction can do without (decord
in order, and the JPEG encoder). Last: a run with nothing to do, and one after one video was added.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import cv2
import decord

from pptsm.data.kept import Wanted, write_kept
from pptsm.data.pixels import encode_jpeg
from pptsm.data.video import Span, Video
from pptsm.ingest.motion import CLASSES, draw_dataset
from pptsm.params import load_params

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
    print(f"{'dvc repro --single-item':24} {'s':>7} {'CPU s':>7} {'ratio':>6} {'CPU ms a video':>15}")
    for stage in STAGES:
        wall, cpu, _ = run(project, "dvc", "repro", "--single-item", stage)
        print(f"{stage:24} {wall:7.1f} {cpu:7.1f} {cpu / wall:6.2f} {cpu / videos * 1e3:15.1f}", flush=True)


def print_loops(videos: list[Path], project: Path) -> None:
    """CPU milliseconds a video of the same work done otherwise."""
    settings = load_params(project / "params.yaml").frames
    folder = project / "loose"
    folder.mkdir()

    num_frames = len(Video(videos[0]))  # as the index knows

    def ours(video: Path) -> None:
        write_kept(video, [Wanted(folder / "a.zip", Span(0, num_frames))], settings)

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
        "write_kept": ours,
        "OpenCV, loose JPEGs": opencv,
        "decord + JPEG": least,
    }
    print(f"{f'{len(videos)} videos, one process':24} {'CPU ms a video':>15}")
    times = dict.fromkeys(ways, 0.0)
    for video in videos:  # in turn, so that all see the same machine
        for name, way in ways.items():
            started = time.process_time()
            way(video)
            times[name] += time.process_time() - started
    for name, seconds in times.items():
        print(f"{name:24} {seconds / len(videos) * 1e3:15.2f}")


def print_reruns(project: Path, videos: list[Path]) -> None:
    """Nothing to do, and one video more: seconds, CPU seconds, and what of the kept work is new."""
    wall, cpu, _ = run(project, "dvc", "repro", "frames")
    print(f"nothing to do: {wall:.1f} s, CPU {cpu:.1f} s")
    before = finished(project)
    new = videos[0].with_name("scene00_new.mp4")
    new.write_bytes(videos[0].read_bytes() + b"\0\0\0\x08free")  # an empty box more: other content, the same frames
    wall, cpu, _ = run(project, "dvc", "repro", "frames")
    made = [path.suffix for path, at in finished(project).items() if before.get(path) != at]
    print(
        f"one video more: {wall:.1f} s, CPU {cpu:.1f} s; {made.count('.json')} probed, {made.count('.zip')} extracted"
    )


def finished(project: Path) -> dict[Path, int]:
    """Probes and archives, each with the time of its writing."""
    return {path: path.stat().st_mtime_ns for path in (project / ".pptsm").rglob("*.*") if path.is_file()}


def run(project: Path, *command: str) -> tuple[float, float, str]:
    """Seconds, CPU seconds of all its processes, and what it said."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "PPTSM_STATE": ""}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    words = [sys.executable, "-m", *command] if command[0] == "dvc" else [*command]
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu, done.stdout + done.stderr


if __name__ == "__main__":
    main()
