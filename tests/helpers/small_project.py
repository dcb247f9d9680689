"""A project of DVC whose stages take no time: what compares, tunes and publishes is tried on it."""

import subprocess
from pathlib import Path

from conftest import run

GRAPH = """
stages:
  index:
    cmd: python make.py index
    params: [index.shift]
    outs: [videos.csv]
    meta: {compare: {videos: videos.csv}}
  train:
    cmd: python make.py train
    params: [seed, training.rate, training.depth]
    deps: [videos.csv]
    outs: [epochs.csv]
    meta: {compare: {epochs: epochs.csv}, objective: true}
  evaluate:
    cmd: python make.py evaluate
    params: [sampling, bias]
    deps: [videos.csv, epochs.csv]
    outs: [answers.csv]
    metrics: [metrics.json]
    meta: {compare: {predictions: answers.csv}}
  package:
    cmd: python make.py package
    deps: [metrics.json]
    outs: [package]
    meta: {compare: {package: package}}
"""
PARAMS = """
seed: 1
sampling: uniform
bias: 3
index:
  root: /home/somebody/videos
  shift: 0
training:
  rate: 0.5
  depth: 2
"""
# By the rate validation is best at 0.1; a rate above 0.9 fails.
MAKE = """
import hashlib, json, pathlib, sys, time
words = (line.split(": ") for line in open("params.yaml").read().replace("  ", "").splitlines() if ": " in line)
values = dict(words)
names = [f"v{number + int(values['shift'])}" for number in range(8)]
if sys.argv[1] == "index":
    rows = [f"{name},a,g{number // 2},test,{name},0" for number, name in enumerate(names)]
    print("id,label,group,split,sha256,first_frame", *rows, sep="\\n", file=open("videos.csv", "w"))
elif sys.argv[1] == "train":
    rate = float(values["rate"])
    if rate > 0.9:
        sys.exit("too much")
    best = 1 - abs(rate - 0.1)
    rows = [f"1,{best / 2},20.0,0", f"2,{best},20.0,1", f"3,{best / 3},nan,0"]
    print("epoch,val_top1,clips_per_sec,kept", *rows, sep="\\n", file=open("epochs.csv", "w"))
elif sys.argv[1] == "evaluate":
    bias = int(values["bias"])
    rows = [f"student,uniform,{name},a,{'a' if number < bias else 'b'}" for number, name in enumerate(names)]
    print("role,sampling,id,label,top1", *rows, sep="\\n", file=open("answers.csv", "w"))
    figures = {"top1": bias / 8, "top1_low": 0.1, "top1_high": 0.9, "videos": 8, "above_chance": True, "none": None}
    json.dump({"student": {"uniform": figures}}, open("metrics.json", "w"))
else:
    folder = pathlib.Path("package")
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"a model")
    metric = {"type": "accuracy", "name": "top-1, uniform sampling", "value": 0.375}
    task, data = {"type": "video-classification"}, {"name": "motion", "type": "motion", "split": "test"}
    results = [{"task": task, "dataset": data, "metrics": [metric]}]
    head = {"license": "apache-2.0", "tags": ["video"], "model-index": [{"name": "x", "results": results}]}
    (folder / "README.md").write_text(f"---\\n{json.dumps(head)}\\n---\\n\\n# x\\n")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\\n" for file in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums))
"""


def git(project: Path, *words: str) -> None:
    """Run git as somebody."""
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *name, *words], cwd=project, check=True, capture_output=True)


def small_project(folder: Path) -> Path:
    """A small project of DVC in a new folder, in which all stages have run; the run is committed."""
    folder.mkdir()
    for name, text in (("dvc.yaml", GRAPH), ("make.py", MAKE), ("params.yaml", PARAMS.lstrip())):
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    run("dvc", "init", "-q", cwd=folder)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    run("dvc", "repro", "-q", cwd=folder)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "run")
    return folder
