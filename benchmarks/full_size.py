"""The published networks at full size on a CPU: R50 distilled from R101, clips of 8 frames of 224 px, three steps.

    python benchmarks/full_size.py FOLDER      # FOLDER: the two Kinetics clips in clips/, UCF101 ones in ucf_style/

Cost: four steps, a validation and an export, under two minutes of CPU time, 4 GB of memory, no GPU. Through the
package's own commands, in a temporary folder: the preset `k400-r50-uniform-distilled`, R101 with random weights taken
as they are, R50 from a random start, batch 2, `amp` bf16 (float32 on a CPU, which must be said). The training is
killed by SIGKILL after its first step, a clip at a time (`batch_norm_clips` 1), resumed, and both networks are
exported through the gate; at last it is begun and killed once more, with both clips at a time. To expect: a table, each
row what was looked at and what was found; exit code 1 and a sentence where something is not as it should be. CPU
seconds and peak memory (PSS) are those of a command's whole process tree: clips from video are decoded in a child.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from measure import Done, machine, run
from pptsm.model.network import build_model
from pptsm.runtime.files import sha256_of
from pptsm.training.checkpoint import STATE
from pptsm.weights.state_dict import as_arrays, write_arrays

PRESET = "k400-r50-uniform-distilled"
VIDEOS = {
    "train/abseiling": ["clips/abseiling_k400.mp4"],
    "train/archery": ["clips/archery_k400.avi"],
    "train/Basketball": ["ucf_style/Basketball/v_Basketball_g01_c01.avi"],
    "train/Biking": ["ucf_style/Biking/v_Biking_g01_c01.avi", "ucf_style/Biking/v_Biking_g01_c02.avi"],
    "train/Swing": ["ucf_style/Swing/v_Swing_g01_c05.avi"],
    "val/Biking": ["ucf_style/Biking/v_Biking_g02_c02.avi"],
}
SETTINGS = [
    "index.root=videos", "index.annotations=null", "index.label_file=presets/none", "frames.source=video",
    "teacher.start.weights=teacher.pdparams", "student.start.weights=null", "student.epochs=1",
    "training.batch_size=2", "training.amp=bf16", "training.warmup_epochs=0", "training.precise_bn_every=0",
    "compute.devices=1", "compute.workers=0", "compute.save_every_min=0", "export.latency_runs=3",
]  # fmt: skip
INPUTS = ["--index", "index.csv", "--labels", "labels.txt", "--frames", "none"]
SINGLE = "computes in single precision: training.amp is bf16"


def main() -> None:
    """Train, kill, resume, export; print what it took."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    data = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for place, names in VIDEOS.items():
            Path("videos", place).mkdir(parents=True)
            for name in names:
                shutil.copy(data / name, Path("videos", place))
        classes = {Path(place).name for place in VIDEOS}
        teacher = build_model("pptsm", depth=101, num_classes=len(classes), num_segments=8)
        write_arrays(Path("teacher.pdparams"), as_arrays(teacher.state_dict()))
        settings = [*SETTINGS, f"teacher.start.sha256={sha256_of(Path('teacher.pdparams'))}"]
        for name, clips in (("params.yaml", 1), ("at_once.yaml", 2)):
            words = [w for s in [*settings, f"training.batch_norm_clips={clips}"] for w in ("--set", s)]
            pptsm("preset", PRESET, "--params", str(Path(folder, name)), *words)
        pptsm("index", "--out", "index.csv", "--labels", "labels.txt")
        pptsm("start", "--role", "teacher", "--out", "start")
        pptsm("teacher", *INPUTS, "--start", "start", "--out", "teacher", "--history", "teacher.csv")
        outputs = ["--out", "baseline", "--history", "baseline.csv"]
        pptsm("baseline", *INPUTS, "--start", "none", *outputs)

        first = pptsm(*student("params.yaml"), kill_when=states)
        require(SINGLE in first.said, f"no note of single precision:\n{first.said}")
        state_mb = states()[0].stat().st_size / 1e6
        resumed = pptsm(*student("params.yaml"))
        going_on = [line for line in resumed.said.splitlines() if "going on after" in line]
        require(bool(going_on), f"the killed training was not resumed:\n{resumed.said}")
        networks = ["--teacher", "teacher", "--student", "student", "--baseline", "baseline"]
        exported = pptsm("export", *INPUTS, *networks, "--out", "export", "--card", "export.json")

        card = json.loads(Path("export.json").read_text(encoding="utf-8"))
        at_once = pptsm(*student("at_once.yaml"), kill_when=states)
        rows = [
            ["bf16 on a CPU", SINGLE],
            ["one step and its state, batch_norm_clips 1, from the start of the command", cost(first)],
            ["the same, both clips at once", cost(at_once)],
            ["state after a step", f"{state_mb:.0f} MB"],
            ["after SIGKILL", going_on[0].strip()],
            ["resumed: the other steps, validation, weights written", cost(resumed)],
            ["export of both networks", cost(exported)],
        ]
        for role, figures in (("student", card), ("teacher", card["teacher"])):
            agreement = figures["agreement"]["max_relative_difference"]
            rows.append([f"gate, {role}: ONNX Runtime against Paddle", f"{agreement:.1e} of the largest logit"])
            rows.append([f"{role}: one clip in ONNX Runtime", f"{figures['latency_ms_per_view']:.0f} ms"])
    print(f"{machine()}; {card['computed_with']}\n")
    print(tabulate(rows, headers=["", "found"], tablefmt="github", disable_numparse=True))


def student(params: str) -> list[str]:
    """The command that trains it."""
    starts = ["--start", "none", "--teacher", "teacher", "--teacher-start", "start"]
    return ["student", *INPUTS, *starts, "--out", "student", "--history", "student.csv", "--params", params]


def states() -> list[Path]:
    """Of unfinished trainings of the student."""
    return list(Path(".pptsm/training").glob(f"student-[!f]*/{STATE}"))


def pptsm(*words: str, cwd: Path | None = None, kill_when: Callable[[], object] | None = None) -> Done:
    """Run a command to its end, or until `kill_when` is true."""
    done = run("pptsm", *words, cwd=cwd, kill_when=kill_when, expect=-signal.SIGKILL if kill_when else 0)
    print(f"{words[0]}: {cost(done)}", file=sys.stderr)
    return done


def cost(done: Done) -> str:
    """What a command took."""
    processes = f"{done.processes} process{'es' * (done.processes > 1)}"
    return f"{done.wall_sec:.0f} s, {done.cpu_sec:.0f} CPU s, {done.peak_bytes / 1e9:.2f} GB in {processes}"


def require(condition: bool, otherwise: str) -> None:
    """End with a sentence where something is not as it should be."""
    if not condition:
        sys.exit(otherwise)


if __name__ == "__main__":
    main()
