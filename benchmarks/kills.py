"""Does a training that is killed again and again end with the same bytes as one that was not? Exit code 1 if not.

    python benchmarks/kills.py [KILLS [RANKS]]      # 20 and 1 by default; 3 to 10 seconds each

A small training on drawn videos runs once undisturbed. Then the same one is stopped at random moments (seeded), in
turn by SIGKILL of its whole process tree, SIGKILL of one process other than the first (one that prepares clips, or a
rank), SIGTERM and SIGINT of the first, and begun again each time; when it comes to its end, its outputs are compared
with the first ones and it begins anew. A state is saved after each step. After every stop, and all the time in between,
whatever stands under a final name must be whole. To expect: two lines, how many kills of each kind there were and how
many trainings came to their end, byte-identical.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from pptsm.training.checkpoint import STATE
from pptsm.training.state_file import read_state
from pptsm.weights.state_dict import read_weights

SETTINGS = [
    "motion.videos_per_class=4", "motion.groups=4", "motion.frame_px=32", "motion.num_frames=16",
    "index.train_share=0.5", "index.val_share=0.25", "index.test_share=0.25",
    "frames.source=video", "clip.resize_px=32", "clip.crop_px=32", "clip.test_crop_px=32",
    "training.batch_size=4", "training.batch_norm_clips=2", "training.mix=videomix", "training.keep=best",
    "training.precise_bn_batches=2",
    "teacher.network.depth=18", "teacher.network.width=0.125", "teacher.network.num_segments=4",
    "student.network.num_segments=4",
    "teacher.epochs=12", "teacher.network.dropout=0.5", "compute.workers=1", "compute.save_every_min=0",
]  # fmt: skip
INPUTS = ["--index", "index.csv", "--labels", "labels.txt", "--frames", "none", "--start", "none"]
KINDS = ("tree", "one", "SIGTERM", "SIGINT")
# Negative: while it was still importing, and had heeded no signal yet.
EXIT_CODES = {"tree": {-9}, "SIGTERM": {143, -15}, "SIGINT": {130, -2}}
PATIENCE_SEC = 120.0
OUTPUTS = ("weights.pdparams", "card.json")


def main() -> None:
    """Kill, resume, compare."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    settings = [*SETTINGS, f"compute.devices={sys.argv[2] if len(sys.argv) > 2 else 1}"]
    rng, done, codes = random.Random(2027), Counter[str](), Counter[int]()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        pptsm(
            "preset",
            "motion",
            "--params",
            f"{folder}/params.yaml",
            *(word for setting in settings for word in ("--set", setting)),
        )
        pptsm("motion", "--out", "data/raw/motion")
        pptsm("index", "--out", "index.csv", "--labels", "labels.txt")
        started = time.monotonic()
        pptsm(*training("whole"))
        longest = time.monotonic() - started
        forget()
        watch = StepTimer()
        compared = 0
        while done.total() < kills:
            kind = KINDS[done.total() % len(KINDS)]
            started = time.monotonic()
            code = killed(kind, rng, rng.uniform(0.3, 1.0) * longest)
            if code is None:
                longest = time.monotonic() - started  # the machine is less busy than it was, or little was left to do
                compare()
                forget()
                compared += 1
            else:
                if code not in EXIT_CODES.get(kind, {code}) or code == 0:
                    sys.exit(f"after {kind} the training ended with exit code {code}")
                done[kind] += 1
                codes[code] += 1
            watch.look()
        pptsm(*training("killed"))
        compare()
        watch.end()
    kinds = ", ".join(f"{kind} {number}" for kind, number in done.items())
    print(f"{done.total()} of {kills} kills ({kinds}), with exit codes {dict(codes)}:")
    print(f"{compared + 1} trainings came to their end, byte-identical; {watch.looks} looks, no partial file")


def training(out: str) -> list[str]:
    """The command."""
    return ["teacher", *INPUTS, "--out", out, "--history", f"{out}.csv"]


def pptsm(*words: str) -> None:
    """Run a command to its end."""
    done = subprocess.run(["pptsm", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pptsm {words[0]} ended with exit code {done.returncode}:\n{done.stderr}")


def killed(kind: str, rng: random.Random, after_sec: float) -> int | None:
    """Start the training and stop it so many seconds later; its exit code, or None where it was faster."""
    process = subprocess.Popen(["pptsm", *training("killed")], stderr=subprocess.PIPE, start_new_session=True)
    family = [psutil.Process(process.pid)]
    said = threading.Thread(target=process.stderr.read, daemon=True)  # type: ignore[union-attr]
    said.start()  # a full pipe would hold it
    try:
        process.wait(after_sec)
        return None
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(psutil.NoSuchProcess):
        children = family[0].children(recursive=True)
        family += children
        if kind == "tree":
            os.killpg(process.pid, signal.SIGKILL)
        elif kind == "one":
            rng.choice(children or family).kill()  # it may have started none yet
        else:
            process.send_signal(signal.Signals[kind])
    code = process.wait(PATIENCE_SEC)
    _, left = psutil.wait_procs(family[1:], 20)
    if left:
        sys.exit(f"after {kind} processes are left: {left}")
    said.join()
    return code or None


def forget() -> None:
    """Remove the state of the finished training, or the next run would take that up."""
    shutil.rmtree(".pptsm/training/teacher-finished")


def compare() -> None:
    """The outputs of the run that came to its end with the undisturbed one's."""
    for name in OUTPUTS:
        if Path("killed", name).read_bytes() != Path("whole", name).read_bytes():
            sys.exit(f"{name} differs from that of the undisturbed run")


class StepTimer:
    """Looks all the time at what stands under a final name."""

    def __init__(self) -> None:
        self.looks = 0
        self._problem = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            self.look()

    def look(self) -> None:
        """Read everything once; what is removed meanwhile was no partial file."""
        for path in [*Path(".pptsm/training").glob(f"teacher-*/{STATE}"), *Path("killed").glob("*.pdparams")]:
            try:
                read_state(path) if path.name == STATE else read_weights(path)
                self.looks += 1
            except Exception as error:
                if path.exists():
                    self._problem = f"{path}: {error}"
        if self._problem:
            print(f"a partial file: {self._problem}", file=sys.stderr)
            os._exit(1)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()


if __name__ == "__main__":
    main()
