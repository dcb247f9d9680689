"""What do 250,000 clips cost in stages index, validate and report, beside another checkout of this project?

    python benchmarks/scale.py [--clips 250000] [--evaluated 25000] [--turns 3] [--beside CHECKOUT] [--json]

Makes up a dataset of 400 classes in a temporary folder, without a video: index, labels, cards, curves, and what three
networks by two samplings answer to a tenth of the clips, which are the test split. Then runs the real commands, each
in a process of its own: `pptsm index` over as many paths as clips (their files are links to 400 small videos, which
the first turn decodes, so that each file is only hashed), `pptsm validate` and `pptsm report`. Prints the CPU seconds
of the whole process tree, start and imports included, and peak memory (PSS). With --beside the same commands of the
other checkout take turns with them, and the ratio of the turns is printed; what both write must be the same bytes, but
for the code's revision. About 20 minutes with --beside. To expect: validate and report at about 10 CPU seconds, of
which Great Expectations alone takes 4 of validate; below 1 GB each.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from index_scale import CLASSES, probed
from measure import Done, machine, ratio, run
from pptsm.data.spec import clip_spec
from pptsm.data.table import COLUMNS, save_index, save_labels
from pptsm.evaluation.run import Evaluated
from pptsm.evaluation.tables import class_rows, metric_values, prediction_rows
from pptsm.params.checking import load_params
from pptsm.params.schema import Params
from pptsm.presets.compose import PRESETS, Choice, compose
from pptsm.runtime.paths import StrPath
from pptsm.video.encode import write_video
from report_page import FRAMES, linked_frames

ROOT = Path(__file__).resolve().parent.parent
HERE = "here"
ROLES = ("teacher", "baseline", "student")
SAMPLINGS = ("uniform", "dense")
AT_ONCE = 25_000  # rows of predictions that are made up in one piece
STAGES = {
    "index": "index --out new_index.csv --labels new_labels.txt",
    "validate": "validate --index index.csv --labels labels.txt --out result.json --docs docs",
    "report": "report --index index.csv --labels labels.txt --frames frames --teacher teacher --student student "
    "--baseline baseline --validation result.json --frames-validation frames.json --evaluation evaluation "
    "--card export.json --onnx model.onnx --teacher-history teacher.csv --student-history student.csv "
    "--baseline-history baseline.csv --runtimes runtimes.json --markdown accuracy.md --html index.html "
    "--confusion confusion.csv",
}
WRITTEN = {
    "index": ["new_index.csv", "new_labels.txt"],
    "validate": ["result.json"],
    "report": ["accuracy.md", "index.html", "confusion.csv"],
}


def main() -> None:
    """Make it up, take turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=250_000)
    parser.add_argument("--evaluated", type=int, default=25_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--keep", type=Path, help="a folder in place of a temporary one; what is in it is used again")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    checkouts = {HERE: ROOT} | ({"beside": given.beside.resolve()} if given.beside else {})
    folder = given.keep or Path(tempfile.mkdtemp())
    try:
        if not (folder / "made.txt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            made_up(folder, given.clips, given.evaluated, with_files="index" in given.stages)
            (folder / "made.txt").write_text("whole\n")
        done = {stage: in_turns(stage, checkouts, folder, given.turns) for stage in given.stages}
    finally:
        if not given.keep:
            shutil.rmtree(folder)
    print(json.dumps(figures(done, given)) if given.json else table(done, given))


def in_turns(stage: str, checkouts: dict[str, Path], folder: Path, turns: int) -> dict[str, list[Done]]:
    """Run a stage of each checkout in turn; a turn more comes first, and does not count.

    Raises:
        SystemExit: two checkouts write something else.
    """
    done: dict[str, list[Done]] = {name: [] for name in checkouts}
    for turn in range(turns + 1):
        for name, checkout in checkouts.items():
            done[name].append(command(stage, checkout, folder))
            print(f"{stage} {turn} {name}: {done[name][-1].cpu_sec:.2f} s CPU", file=sys.stderr, flush=True)
            for file in WRITTEN[stage]:
                shutil.copy(folder / file, folder / f"{name}.{file}")
        for file in WRITTEN[stage]:
            written = [(folder / f"{name}.{file}").read_bytes() for name in checkouts]
            if any(content != written[0] for content in written):
                sys.exit(f"{stage} writes another {file} than the other checkout: see {folder}")
    return {name: runs[1:] for name, runs in done.items()}


def command(stage: str, checkout: Path, folder: Path) -> Done:
    """Run a stage of a checkout in the folder."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout / "src"),
        "PPTSM_STATE": str(folder / "state"),
        "OMP_NUM_THREADS": "1",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    chosen = [sys.executable, "-m", "pptsm", "preset", "custom", "--set", f"index.root={folder}/videos", "--force"]
    run(*chosen, cwd=folder, env=environment)  # with the keys that this checkout knows
    words = [sys.executable, "-m", "pptsm", *STAGES[stage].split()]
    if stage == "report" and (checkout / "src/pptsm/stages/explanations.py").exists():  # since 2026-11-30
        words += ["--explanations", "explanations.json"]
    if stage == "report" and (checkout / "src/pptsm/stages/evaluate_also.py").exists():  # since the same day
        words += ["--networks", "networks.csv"]
    return run(*words, cwd=folder, env=environment)


def figures(done: dict[str, dict[str, list[Done]]], given: argparse.Namespace) -> dict[str, Any]:
    """Medians by stage and checkout."""
    values: dict[str, Any] = {"clips": given.clips, "evaluated": given.evaluated, "turns": given.turns}
    for stage, by_checkout in done.items():
        for name, runs in by_checkout.items():
            values[f"{stage}_{name}_cpu_sec"] = round(statistics.median(each.cpu_sec for each in runs), 2)
            values[f"{stage}_{name}_peak_mb"] = round(max(each.peak_bytes for each in runs) / 1e6)
        if "beside" in by_checkout:
            values[f"{stage}_share"] = round(share(by_checkout).median, 3)
    return values


def share(by_checkout: dict[str, list[Done]]) -> Any:
    """CPU time here as a share of that beside it."""
    return ratio(*([each.cpu_sec for each in by_checkout[name]] for name in (HERE, "beside")))


def table(done: dict[str, dict[str, list[Done]]], given: argparse.Namespace) -> str:
    """The same for a person."""
    lines = [f"{machine()}; {given.clips} clips, {given.evaluated} evaluated, {given.turns} turns"]
    values = figures(done, given)
    for stage, by_checkout in done.items():
        for name in by_checkout:
            cpu, peak = (values[f"{stage}_{name}_{what}"] for what in ("cpu_sec", "peak_mb"))
            lines.append(f"{stage:9} {name:7} {cpu:8.2f} s CPU {peak:6.0f} MB")
        if "beside" in by_checkout:
            found = share(by_checkout)
            lines.append(f"{stage:9} here / beside: {found.median:.2f} ({found.low:.2f} to {found.high:.2f})")
    return "\n".join(lines)


def made_up(folder: Path, clips: int, evaluated: int, *, with_files: bool) -> None:
    """Write what the stages read; `evaluated` of the clips are of split test, as many of val, the others of train."""
    rng = np.random.default_rng(clips)
    (folder / "params.yaml").write_text(compose(PRESETS, Choice("custom", None, (f"index.root={folder}/videos",))))
    (folder / "presets").mkdir()
    shutil.copy(ROOT / "presets" / "none", folder / "presets" / "none")
    params = load_params(folder / "params.yaml")
    names = [f"class number {number:03}" for number in range(CLASSES)]
    index = rows(clips, evaluated, names, rng)
    save_index(index, folder / "index.csv")
    save_labels(names, folder / "labels.txt")
    tested = index[index["split"] == "test"].reset_index(drop=True)
    linked_frames(folder, params, tested["id"].tolist())
    answers(tested, names, rng, params).write(made(folder / "evaluation"), params.sampling)
    for role in ROLES:
        card(role, params, made(folder / role) / "card.json")
        history(rng).to_csv(folder / f"{role}.csv", index=False)
    write_json(folder / "frames.json", {
        "expectations": 5, "suites": {"frames": {"rules": 5, "faults": 0, "warnings": 0}}, "warnings": [],
        "facts": {"kept": clips, "bytes": clips * 10**6, "compared": clips},
    })  # fmt: skip
    write_json(folder / "export.json", {
        "agreement": {"clips": 16, "max_relative_difference": 1e-6}, "parameters": 23_000_000, "macs_per_view": 3.3e10,
        "onnx_bytes": 94_000_000, "latency_ms_per_view": 100.0, "revision": "0123456789ab", "computed_with": "CPU",
    })  # fmt: skip
    row = {
        "runtime": "onnxruntime", "precision": "float32", "top1": 0.7, "top1_low": 0.69, "top1_high": 0.71,
        "difference": 0.0, "difference_low": 0.0, "difference_high": 0.0, "agreement": 1.0, "passed": True,
        "reason": "", "ms_p50": 100.0, "ms_p95": 120.0, "clips_per_sec": 10.0, "start_sec": 0.5, "size_mb": 94.0,
    }  # fmt: skip
    values = {"machine": "made up", "sampling": params.sampling, "videos": len(tested), "rows": [row]}
    write_json(folder / "runtimes.json", values)
    write_json(folder / "explanations.json", {"mistakes": [], "order": None, "reason": "the videos are made up"})
    (folder / "model.onnx").write_bytes(rng.bytes(94_000_000))
    if with_files:
        linked_videos(folder, index["path"].tolist())


def rows(clips: int, evaluated: int, names: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """The index: nine of ten clips are groups of their own, the others of four; one in a hundred has no split."""
    numbers = np.arange(clips)
    table = pd.DataFrame({"label_index": numbers % CLASSES})
    table["label"] = np.asarray(names, dtype=object)[table["label_index"]]
    table["id"] = [f"{label}/video_{number:07}.mp4" for label, number in zip(table["label"], numbers, strict=True)]
    table["split"] = np.repeat(["test", "val", "train"], [evaluated, evaluated, clips - 2 * evaluated])
    table["group"] = [f"group {number if number % 10 else number // 40}" for number in numbers]
    table["group"] = table["split"] + " " + table["group"]
    table = table.assign(status="ok", reason="")
    broken = rng.random(clips) < 0.01
    broken &= table["split"] == "train"
    table.loc[broken, ["split", "status", "reason"]] = "", "unreadable", "made up"
    table = probed(table, rng)
    return table.assign(num_frames=table["num_frames"].mask(table["split"] == "test", FRAMES)).astype(dict(COLUMNS))


def answers(videos: pd.DataFrame, names: list[str], rng: np.random.Generator, params: Params) -> Evaluated:
    """What three networks answer, which recognise three of four videos."""
    metrics: dict[str, Any] = {role: {} for role in ROLES}
    predictions, per_class = [], []
    for role in ROLES:
        for sampling in SAMPLINGS:
            which = {"role": role, "sampling": sampling}
            for start in range(0, len(videos), AT_ONCE):
                part = videos[start : start + AT_ONCE].reset_index(drop=True)
                label_N = part["label_index"].to_numpy()
                logits_NK = rng.normal(0, 1, (len(part), CLASSES))
                logits_NK[np.arange(len(part)), label_N] += rng.normal(4, 1.5, len(part))
                predictions.append(prediction_rows(part, logits_NK, names).assign(**which))
                if not start:  # figures and classes of the first ones: the report shows them as they are
                    metrics[role][sampling] = metric_values(logits_NK, label_N, part["group"].tolist())
                    per_class.append(class_rows(logits_NK, label_N, names).assign(**which))
    metrics["student"][params.sampling] |= {"served_videos": len(videos), "served_top1": 0.7, "served_agreement": 1.0}
    for values in (values for samplings in metrics.values() for values in samplings.values()):
        values["videos"] = len(videos)
    calibration = {"calibration": None, "reason": "the videos are made up", "reached": None}
    return Evaluated(metrics, pd.concat(predictions), pd.concat(per_class), calibration)


def card(role: str, params: Params, path: Path) -> None:
    """What a training says of itself."""
    network = {"network": "pptsm", "depth": 50, "width": 1.0, "shift": True, "shift_ratio": 0.125}
    clip = clip_spec(params.clip, params.student.network.num_segments, params.sampling)
    values = {"role": role, "network": network | {"activation": "leaky_relu"}, "clip": clip.model_dump(mode="json")}
    values |= {"epochs": 80, "kept_epoch": 80, "start": None, "distilled": role == "student", "clips_per_step": 128}
    write_json(path, values)


def history(rng: np.random.Generator) -> pd.DataFrame:
    """Curves of 80 epochs."""
    falling = np.exp(-np.arange(80) / 20)
    columns = {"loss": 6 * falling, "lr": 0.01 * falling, "train_top1": 1 - falling, "val_loss": 6 * falling}
    columns |= {"val_top1": (1 - falling) * 0.8, "clips_per_sec": rng.normal(100, 1, 80), "wait_share": falling / 10}
    return pd.DataFrame({"epoch": np.arange(1, 81)} | columns)


def linked_videos(folder: Path, paths: list[str]) -> None:
    """The files of all clips: links to one small video a class, for a file may have 65,000 links at most."""
    rng = np.random.default_rng(2)
    for number, path in enumerate(paths):
        file = folder / "videos" / path
        one = folder / "contents" / f"{number % CLASSES}.mp4"
        if number < CLASSES:
            one.parent.mkdir(exist_ok=True)
            write_video(one, rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), 25, "h264")
        file.parent.mkdir(parents=True, exist_ok=True)
        os.link(one, file)


def made(folder: Path) -> Path:
    """The folder, which is made."""
    folder.mkdir()
    return folder


def write_json(path: StrPath, values: Any) -> None:
    """Write values into a file."""
    Path(path).write_text(json.dumps(values), encoding="utf-8")


if __name__ == "__main__":
    main()
