"""Do memory and open files stay flat while many clips are read from video? Exit code 1 if they grow.

    python benchmarks/memory_of_reading.py [CLIPS [VIDEO ...]]      # 20,000 clips by default

Cost: four minutes on a quiet core. Reads clips of eight frames by number, through `frames.source: video`'s own path
(PyAV), in turn from videos of all kinds (drawn for the purpose unless some are named), with a video that cannot be read
among them; and after every twentieth clip its whole video in order, as the index reads a dataset, by decord where the
file's packets allow that. Prints memory (PSS of the whole process tree) and open files at intervals. To expect: half of
the ten kinds read by decord, and at most 10 MB more at the end than after a fifth of the clips.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from measure import Memory, machine
from pptsm.data.clips import FrameSource
from pptsm.data.table import ClipRef
from pptsm.runtime.errors import UserError
from pptsm.video.video import Video

KINDS = [
    ("h264.mp4", "libx264", {"preset": "ultrafast", "bf": "2"}),
    ("h264.mkv", "libx264", {"preset": "ultrafast", "bf": "2"}),
    ("h264.avi", "libx264", {"preset": "ultrafast", "bf": "2"}),
    ("mpeg4.avi", "mpeg4", {}),
    ("mpeg4_b.avi", "mpeg4", {"bf": "2"}),
    ("mpeg4.mov", "mpeg4", {}),
    ("mpeg1.mpg", "mpeg1video", {"bf": "2"}),
    ("mpeg2.mpeg", "mpeg2video", {"bf": "2"}),
    ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ("av1.mp4", "libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}),
]
NUM_FRAMES, SIZE_PX = 64, (160, 120)
WARM_UP = 0.2  # of the clips: allocators and codecs fill their pools in it
WHOLE_EVERY = 20  # clips
ALLOWED_MB = 10.0  # growth from there to the end


def main() -> None:
    """Read, print, judge."""
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        videos = [Path(name).resolve() for name in sys.argv[2:]] or [draw(Path(folder), *kind) for kind in KINDS]
        counts = {path: len(Video(path)) for path in videos}
        decoders = {path: Video(path, decord=True).decoder for path in videos}
        print(machine())
        print(*(f"{path.name}: {counts[path]} frames; in order by {decoders[path]}" for path in videos), sep="\n")
        broken = Path(folder) / "broken.mp4"
        broken.write_bytes(videos[0].read_bytes()[:3000])
        source, rng, memory = FrameSource("video", Path("/")), np.random.default_rng(1), Memory()
        started, measured, whole = time.monotonic(), [], dict.fromkeys(decoders.values(), 0)
        for number in range(clips + 1):
            if number % max(1, clips // 20) == 0:
                taken, files = memory.look(os.getpid())
                measured.append((taken / 1e6, files))
                print(f"{number:6} clips  {measured[-1][0]:7.1f} MB  {measured[-1][1]:3} open files", flush=True)
            path = videos[number % len(videos)]
            source.read(ClipRef(str(path), str(path), 0), rng.integers(0, counts[path], size=8))
            if number % WHOLE_EVERY == 0:
                path = videos[number // WHOLE_EVERY % len(videos)]
                assert sum(1 for _ in Video(path, decord=True)) == counts[path]
                whole[decoders[path]] += 1
            if number % 50 == 0:
                try:
                    source.read(ClipRef(str(broken), str(broken), 0), np.array([0]))
                except UserError:
                    pass
                else:
                    raise AssertionError("a cut-off file was read")
        print(f"{(time.monotonic() - started) / clips * 1e3:.1f} ms per clip; whole videos by {whole}")
    settled = measured[int(WARM_UP * len(measured)) :]
    growth_mb = settled[-1][0] - settled[0][0]
    more_files = settled[-1][1] - settled[0][1]
    print(f"after the first {WARM_UP:.0%}: {growth_mb:+.1f} MB, {more_files:+} open files")
    sys.exit(growth_mb > ALLOWED_MB or more_files > 0)


def draw(folder: Path, name: str, encoder: str, options: dict[str, str]) -> Path:
    """A video of noise that moves."""
    path, noise = folder / name, np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    ground = noise.repeat(4, axis=0).repeat(4, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE_PX, "yuv420p"
        for number in range(NUM_FRAMES):
            image = np.ascontiguousarray(np.roll(ground, number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
