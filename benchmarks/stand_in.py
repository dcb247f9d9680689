"""Fine-tuning by preset custom-cpu, where no published file can be had: a stand-in learns motion and is started from.

    python benchmarks/stand_in.py WEIZMANN --fold lena,lyova,shahar [--videos 80]   # about 20 minutes of two cores

PP-TSMv2 of a quarter of its width learns motion with 16 classes (the embedded dataset's 8, each near and far) and is
saved in PaddleVideo's form. `custom-cpu` then starts from that file, with frozen stages too, and from random weights:
on other videos of the 8 near classes, and on WEIZMANN, a folder per action with files ACTOR_ACTION.avi. It is a test of
the way, not of what Kinetics' weights bring. To expect: a row of a table for each, as `small_data.py` prints them, with
the most memory that the process had until then.
"""

import os
import resource
import tempfile
from pathlib import Path
from typing import Annotated, Any

import paddle
import typer

from measure import machine
from pptsm.ingest.motion import draw_dataset
from pptsm.params.schema import Params
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.runtime.console import note
from pptsm.runtime.files import sha256_of
from pptsm.weights.card import load_network
from small_data import trained_and_scored, words

PATTERN = "index.pattern=(?P<label>[^/]+)/(?P<group>[^_/]+)_[^/]*"
EXTENT = {"far": 0.9, "near": 0.45}
NARROW = ("student.network.width=0.25", "evaluate.sampling=both", "clip.dense_clips=1", "clip.dense_crops=center")
CLIPS = ("clip.resize_px=80", "clip.crop_px=64", "clip.test_crop_px=64", "frames.short_side_px=80")
PRETRAINING: tuple[str, ...] = (
    "teacher.enabled=false",
    "student.distillation.weight=0",
    "student.network.num_segments=16",
    "student.network.attention=true",
)
STARTS = {"the stand-in": (), "the stand-in, two stages frozen": ("training.freeze_stages=2",), "random weights": None}


def main(
    weizmann: Annotated[Path, typer.Argument(help="Folder of Weizmann's videos.")],
    fold: Annotated[str, typer.Option(help="Actors held out, with commas.")],
    videos: Annotated[int, typer.Option(help="Of each of the 16 classes that the stand-in learns.")] = 80,
) -> None:
    """Train the stand-in, then fine-tune it and train without it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["PPTSM_STATE"] = str(folder / "state")
        draw_motion(folder / "sixteen", EXTENT, videos, seed=1)
        draw_motion(folder / "eight", {"near": EXTENT["near"]}, videos // 4, seed=2)
        learned = settings("motion-v2", folder / "sixteen", *PRETRAINING)
        report("PP-TSMv2, 16 classes", trained_and_scored(learned, made(folder / "pretraining"), folder / "stand_in"))
        file = folder / "stand_in.pdparams"
        paddle.save(load_network(folder / "stand_in").state_dict(), str(file))
        for what, root, held in (
            ("8 classes", folder / "eight", ()),
            ("Weizmann", weizmann, (f"index.test_groups=[{fold}]",)),
        ):
            for start, more in STARTS.items():
                chosen = ("student.start.weights=null",) if more is None else (*start_of(file), *more)
                tuned = settings("custom-cpu", root, *CLIPS, *held, *chosen)
                report(f"{what}, {start}", trained_and_scored(tuned, made(folder / f"{what} {start}"), None))
    note(machine())


def draw_motion(folder: Path, kinds: dict[str, float], videos: int, seed: int) -> None:
    """Videos of the embedded dataset's classes, each in several kinds: folder/CLASS_KIND/SCENE_NUMBER.mp4."""
    motion = chosen_params(PRESETS, Choice("motion")).motion
    for number, (kind, extent) in enumerate(kinds.items()):
        changed = {"videos_per_class": videos, "groups": videos, "extent": extent, "seed": 10 * seed + number}
        draw_dataset(folder / kind, motion.model_copy(update=changed))
        for drawn in sorted((folder / kind).iterdir()):
            drawn.rename(folder / f"{drawn.name}_{kind}")
        (folder / kind).rmdir()


def settings(preset: str, root: Path, *own: str) -> Params:
    """A preset for the videos below `root`, with a network as narrow as the stand-in."""
    return chosen_params(PRESETS, Choice(preset, None, (f"index.root={root}", PATTERN, *NARROW, *own)))


def start_of(file: Path) -> tuple[str, str]:
    """Settings that start the student from a file."""
    return f"student.start.weights={file}", f"student.start.sha256={sha256_of(file)}"


def made(folder: Path) -> Path:
    """The folder, newly made."""
    folder.mkdir()
    return folder


def report(what: str, row: dict[str, Any]) -> None:
    """A row of the table."""
    most_mb = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    cells = [what, words([row]), f"{row['minutes']:.1f} minutes", f"{row['clips_per_sec']:.0f} clips/s"]
    print(f"| {' | '.join(cells)} | {most_mb:.0f} MB |", flush=True)


if __name__ == "__main__":
    typer.run(main)
