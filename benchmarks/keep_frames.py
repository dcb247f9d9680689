"""What keeping a video's frames costs in each form, and how often DVC lays them on the disk.

    python benchmarks/keep_frames.py forms VIDEO... [--short-side PX] [--turns N]   # seconds per video
    python benchmarks/keep_frames.py layouts [--files N] [--bytes N]                # minutes

`forms`: bytes; CPU time to write, decoding included, median of three; median CPU time of a training clip's eight
uniform frames, decoded; and the difference of the kept pixels from the decoded, scaled ones, as the mean of absolute
levels of 255 and as PSNR. Forms take turns in all of it, after a first one that does not count. To expect: a short-GOP
clip has a seventh of an archive's bytes and takes three to five times as long to read.

`layouts`: random files instead of archives, one stage, every way of giving them to DVC. Seconds (wall) of the run that
makes them, of one with nothing to do, of one with one file more, of push to a folder and of checkout; megabytes of
store, workspace and cache together, links counted once. To expect: as many megabytes as the files have, once, for
the layout that the project uses.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
from numpy.typing import NDArray

from measure import Work, in_turns, machine, median_ms
from pptsm.data.sampling import uniform_indices
from pptsm.frames.short_gop import fitting
from pptsm.frames.store import FrameRequest, read_stored, write_stored
from pptsm.params.choices import StoredAs
from pptsm.params.schema import FrameSettings
from pptsm.video.pixels import resized
from pptsm.video.types import FrameRange
from pptsm.video.video import Video

FORMS = {
    "archive, quality 95": {"source": "archive", "jpeg_quality": 95},
    "archive, quality 90": {"source": "archive", "jpeg_quality": 90},
    **{
        f"short_gop, every {every}, crf {crf}": {"source": "short_gop", "key_frame_every": every, "crf": crf}
        for every, crf in ((8, 18), (8, 23), (16, 18), (16, 23))
    },
}
# name -> cache.type, what the stage does with its files, how the output is declared
LAYOUTS = {
    "linked into the output": ("reflink,hardlink,copy", "link", ""),
    "cache.type copy": ("reflink,copy", "link", ""),
    "cache.type hardlink": ("hardlink,copy", "link", ""),
    "linked into the cache too": ("reflink,copy,hardlink", "share", ""),
    "manifest, files in the store": ("reflink,copy,hardlink", "manifest", ""),
    "persist, not cached": ("reflink,copy,hardlink", "link", ": {cache: false, persist: true}"),
}
WRITES = 3  # of each form
STAGE = """
import os, sys
from pathlib import Path
from pptsm.frames.extract import _link
from pptsm.frames.dvc_cache import share_with_dvc
way, size, count = sys.argv[1], int(sys.argv[2]), int(Path("count").read_text())
store, out = Path(".pptsm/frames"), Path("data/frames")
out.mkdir(parents=True, exist_ok=True)
for number in range(count):
    stored = store / f"{number % 256:02x}" / f"{number}.zip"
    stored.parent.mkdir(parents=True, exist_ok=True)
    if not stored.exists():
        stored.write_bytes(os.urandom(size))
    if way != "manifest" and not (out / stored.relative_to(store)).exists():
        _link(stored, out / stored.relative_to(store))
if way == "manifest":
    (out / "manifest.csv").write_text("".join(f"{number}.zip\\n" for number in range(count)))
if way == "share":
    share_with_dvc(out, out)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    forms = commands.add_parser("forms")
    forms.add_argument("videos", type=Path, nargs="+")
    forms.add_argument("--short-side", type=int, default=256)
    forms.add_argument("--turns", type=int, default=25)
    forms.set_defaults(run=lambda given: print_forms(given.videos, given.short_side, given.turns))
    layouts = commands.add_parser("layouts")
    layouts.add_argument("--files", type=int, default=500)
    layouts.add_argument("--bytes", type=int, default=300_000)
    layouts.set_defaults(run=lambda given: print_layouts(given.files, given.bytes))
    arguments = parser.parse_args()
    arguments.run(arguments)


def print_forms(videos: list[Path], short_side_px: int, turns: int) -> None:
    """A table a video."""
    print(machine())
    print(f"{'':30} {'KB':>7} {'write s':>8} {'clip ms':>8} {'levels':>7} {'PSNR':>6}")
    rest = {"short_side_px": short_side_px, "jpeg_quality": 95, "crf": 18, "key_frame_every": 8}
    forms = {name: FrameSettings.model_validate(rest | values) for name, values in FORMS.items()}
    for video in videos:
        with tempfile.TemporaryDirectory() as folder:
            print_video(video, forms, Path(folder), turns)


def print_video(video: Path, forms: dict[str, FrameSettings], folder: Path, turns: int) -> None:
    """A table."""
    decoded = list(Video(video))
    height, width = decoded[0].shape[:2]
    print(f"{video.name}, {len(decoded)} frames of {width}x{height}")
    whole, rng = FrameRange(0, len(decoded)), np.random.default_rng(0)
    draws = [uniform_indices(len(decoded), 8, rng).ravel() for _ in range(turns + 1)]
    files = {name: folder / str(number) for number, name in enumerate(forms)}

    def writing(name: str) -> Work:
        return lambda _: write_stored(video, [FrameRequest(files[name], whole)], forms[name])

    def reading(name: str) -> Work:
        return lambda turn: clip(forms[name].stored_as, files[name], draws[turn])

    written = in_turns({name: writing(name) for name in forms}, WRITES)
    ways = {name: reading(name) for name in forms} | {"video": lambda turn: Video(video).frames(draws[turn])}
    read = in_turns(ways, turns)
    print(f"{'  the video itself':30} {video.stat().st_size / 1e3:7.0f} {'':8} {median_ms(read['video']):8.1f}")
    for name, settings in forms.items():
        levels, psnr = differences(settings, decoded, files[name])
        print(
            f"  {name:28} {files[name].stat().st_size / 1e3:7.0f} {median_ms(written[name]) / 1e3:8.2f} "
            f"{median_ms(read[name]):8.1f} {levels:7.2f} {psnr:6.1f}"
        )


def clip(kind: StoredAs, file: Path, indices: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Its frames, decoded."""
    return list(read_stored(kind, file, indices).images)


def differences(settings: FrameSettings, decoded: list[NDArray[np.uint8]], file: Path) -> tuple[float, float]:
    """Mean of absolute levels, and PSNR, of the kept frames against the decoded ones."""
    kept = clip(settings.stored_as, file, np.arange(len(decoded)))
    even = fitting(decoded[0], settings).shape[1::-1]
    wanted = [resized(frame, even) for frame in decoded]
    levels = [np.abs(resized(one, even).astype(int) - other) for one, other in zip(kept, wanted, strict=True)]
    psnr = 10 * np.log10(255**2 / np.mean([np.square(difference).mean() for difference in levels]))
    return float(np.mean([one.mean() for one in levels])), float(psnr)


def print_layouts(files: int, size: int) -> None:
    """A line a layout."""
    print(machine())
    print(f"{'':30} {'made':>6} {'nothing':>8} {'one more':>9} {'push':>6} {'checkout':>9} {'MB':>7} {'after':>7}")
    for name, (cache_type, way, out) in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name:30} {layout(Path(folder), cache_type, way, out, files, size)}", flush=True)


def layout(project: Path, cache_type: str, way: str, out: str, files: int, size: int) -> str:
    """The figures of one way to give files to DVC; MB after the run, and after the checkout."""

    def dvc(*words: str) -> float:
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "dvc", *words, "-q"], cwd=project, check=True)
        return time.monotonic() - started

    def repro(count: int) -> float:
        (project / "count").write_text(str(count))
        return dvc("repro")

    dvc("init", "--no-scm")
    dvc("config", "core.analytics", "false")
    dvc("config", "cache.type", cache_type)
    dvc("remote", "add", "-d", "beside", str(project / "remote"))
    (project / "stage.py").write_text(STAGE)
    command = f"{sys.executable} stage.py {way} {size}"
    (project / "dvc.yaml").write_text(f"stages: {{s: {{cmd: {command}, deps: [count], outs: [data/frames{out}]}}}}")
    made, nothing, more = repro(files), repro(files), repro(files + 1)
    used, pushed, checked_out = megabytes(project), 0.0, 0.0
    if not out:
        pushed = dvc("push")
        shutil.rmtree(project / "data" / "frames")
        checked_out = dvc("checkout")
    numbers = f"{made:6.1f} {nothing:8.1f} {more:9.1f} {pushed:6.1f} {checked_out:9.1f}"
    return f"{numbers} {used:7.1f} {megabytes(project):7.1f}"


def megabytes(project: Path) -> float:
    """On the disk for store, workspace and cache, links counted once."""
    found = [path.stat() for name in ("data", ".pptsm", ".dvc/cache") for path in (project / name).rglob("*.*")]
    found += [path.stat() for path in (project / ".dvc" / "cache").rglob("*") if path.is_file()]
    return sum({each.st_ino: each.st_size for each in found}.values()) / 1e6


if __name__ == "__main__":
    main()
