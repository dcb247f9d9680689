"""How well `pptsm timeline` finds segments whose bounds are known, and its memory. Exit code 1 if it fails.

    python benchmarks/timeline.py MODEL.onnx [quality] [memory]

Cost: three minutes on a quiet core (quality: 40 s; memory: two minutes). MODEL is the default pipeline's student (the
embedded motion classes). Quality: for each seed below, a video of 20 to 30 segments of 2 to 6 seconds, in which a scene
shows one class and no neighbour the same; mean average precision at a temporal overlap of 0.5, by ActivityNet's
protocol, over all videos together. Memory: the peak (PSS of the whole tree) over a video of 10 minutes and one of 60,
the same seconds repeated. To expect: at least 0.9, and not more than 10 % more memory for an hour.
"""

import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from measure import machine, watched_memory
from pptsm.evaluation.detection import Found, mean_average_precision
from pptsm.ingest.motion import CLASSES, draw_video
from pptsm.params.schema import Motion
from pptsm.serving.predictor import Predictor
from pptsm.serving.timeline import WindowScorer, timeline_of
from pptsm.serving.windows import Grid
from pptsm.video.encode import write_video

SEEDS = (101, 102, 103, 104, 105)
FPS = 25
ONE_SEC = 1.28  # of a motion, as the network learned it: 32 frames
WINDOW_SEC, EVERY_SEC, THRESHOLD, SMOOTH = 1.28, 0.32, 0.4, 3
LEAST_IOU, LEAST_MAP = 0.5, 0.9
MOST_GROWTH = 1.1
SILENT_SEC = 60.0


def drawn(seed: int) -> tuple[np.ndarray, list[Found]]:
    """The frames of a video of known segments: in each, a scene in which the motion repeats two to four times."""
    motion = Motion(
        videos_per_class=1,
        seed=seed,
        groups=1,
        frame_px=64,
        num_frames=round(ONE_SEC * FPS),
        fps=FPS,
        codec="h264",
        noise=0.04,
        extent=0.9,
    )
    rng = np.random.default_rng(seed)
    parts, truth, begin, before = [], [], 0, ""
    for _ in range(int(rng.integers(20, 31))):
        label = str(rng.choice([name for name in CLASSES if name != before]))
        scene, before = int(rng.integers(1 << 30)), label
        repeats = [draw_video(label, motion, np.random.default_rng(scene), rng) for _ in range(int(rng.integers(2, 5)))]
        parts += repeats
        end = begin + sum(map(len, repeats))
        truth.append(Found(label, begin / FPS, end / FPS))
        begin = end
    return np.concatenate(parts), truth


def quality(scorer: WindowScorer, folder: Path) -> bool:
    """Whether segments are found well enough, over all seeds."""
    truth, found = {}, {}
    for seed in SEEDS:
        frames, truth[str(seed)] = drawn(seed)
        video = folder / f"{seed}.mp4"
        write_video(video, frames, FPS, "h264")
        timeline = timeline_of(video, scorer, Grid(WINDOW_SEC, EVERY_SEC), THRESHOLD, SMOOTH, SILENT_SEC)
        found[str(seed)] = [Found(one.label, one.start_sec, one.end_sec, one.score) for one in timeline.segments]
        alone = mean_average_precision({"": truth[str(seed)]}, {"": found[str(seed)]}, LEAST_IOU)
        seconds, counts = len(frames) / FPS, (len(truth[str(seed)]), len(found[str(seed)]))
        print(f"seed {seed}: {seconds:5.1f} s, {counts[0]} segments, {counts[1]} found, mAP {alone:.3f}", flush=True)
    for least in (0.3, 0.5, 0.7, 0.9):
        print(f"all videos, mAP at tIoU {least}: {mean_average_precision(truth, found, least):.3f}")
    return mean_average_precision(truth, found, LEAST_IOU) >= LEAST_MAP


def memory(scorer: WindowScorer, folder: Path) -> bool:
    """Whether an hour takes as much as ten minutes."""
    frames, _ = drawn(SEEDS[0])
    minute = np.resize(frames, (60 * FPS, *frames.shape[1:]))
    peaks = {}
    for minutes in (10, 60):
        video = folder / f"{minutes} minutes.mp4"
        repeated(video, minute, minutes)
        with watched_memory() as taken:
            windows = timeline_of(video, scorer, Grid(2.0, 1.0), THRESHOLD, SMOOTH, SILENT_SEC).windows
        peaks[minutes] = taken.peak_bytes / 1e6
        print(f"{minutes} minutes: {len(windows)} windows, peak {peaks[minutes]:.0f} MB", flush=True)
    return peaks[60] <= MOST_GROWTH * peaks[10]


def repeated(path: Path, frames: np.ndarray, times: int) -> None:
    """Write a video that shows the same frames so many times, encoded once."""
    once = path.with_name("once.mp4")
    write_video(once, frames, FPS, "h264")
    with av.open(str(path), "w") as container:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(once)) as source:
                stream = stream or container.add_stream_from_template(source.streams.video[0])
                length = source.streams.video[0].duration
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                        container.mux(packet)
            offset += length


def main() -> None:
    """Measure what is asked for, print, judge."""
    asked = sys.argv[2:] or ["quality", "memory"]
    scorer = WindowScorer(Predictor(sys.argv[1]))
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        good = [{"quality": quality, "memory": memory}[what](scorer, Path(folder)) for what in asked]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
