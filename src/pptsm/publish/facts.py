"""What is published of a run: parameters, figures with intervals, curves, hashes, and the package."""

import csv
import hashlib
import io
import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pptsm.experiments.gather import CHECKOUT, Cost, Experiment, gather
from pptsm.experiments.graph import LOCK, PARAMS, compared_files, stages_at
from pptsm.experiments.kept import Kept
from pptsm.experiments.revisions import GIT_TIMEOUT_SEC, commit_of, yaml_at
from pptsm.runtime.errors import UserError


@dataclass(frozen=True)
class Facts:
    """A run that is finished."""

    name: str
    commit: str  # that is checked out
    changed: bool  # whether the checkout has edits that are in no commit
    parameters: dict[str, str]
    metrics: dict[str, float]  # student/uniform/top1, cost/model_mb, ...
    curves: dict[str, list[tuple[int, float]]]  # epochs/student/val_top1 -> (epoch, value)
    hashes: dict[str, str]  # path -> hash, of what dvc.lock has
    texts: dict[str, bytes]  # name -> content of the small files: params.yaml, dvc.lock, metrics, curves
    pages: list[Path]  # reports, to be looked at

    @property
    def fingerprint(self) -> str:
        """The same for the same run."""
        said = json.dumps([self.parameters, self.metrics, self.hashes], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:32]


def facts_of_checkout(root: Path) -> Facts:
    """What the checkout's last run has.

    Raises:
        UserError: it has not run to its end, or with other parameters than params.yaml has now.
        CommandError: DVC does not answer.
    """
    stages = stages_at(root)
    found = next(each for each in gather(root, [CHECKOUT]) if each.kind == "checkout")
    if found.state != "done" or found.left:
        raise UserError(
            f"nothing to publish in {root.absolute()}: {', '.join(found.left) or 'evaluation'} did not run with the "
            "parameters that params.yaml has now. `dvc repro` runs them; publish then."
        )
    kept = Kept(root)
    curves: dict[str, list[tuple[int, float]]] = {}
    texts: dict[str, bytes] = {}
    for stage, path in compared_files(stages).get("epochs", {}).items():
        content = kept.read(path, None)
        if content:
            curves |= dict(_curves(stage, content))
            texts[Path(path).name] = content
    for path in (PARAMS, LOCK):
        texts[path] = (root / path).read_bytes()
    texts["metrics.json"] = (json.dumps(found.metrics, indent=2, allow_nan=False) + "\n").encode()
    published = [path for stage in stages.values() for path in stage.get("meta", {}).get("publish", {}).values()]
    return Facts(
        name=str(found.parameters.get("report.title", "PP-TSM")),
        commit=commit_of(root, "HEAD") or "",
        changed=_is_changed(root),
        parameters={
            key: value if isinstance(value, str) else json.dumps(value) for key, value in found.parameters.items()
        },
        metrics=dict(_metrics(found)),
        curves=curves,
        hashes=_hashes(root),
        texts=texts,
        pages=[root / path for path in published if path.endswith(".html") and (root / path).is_file()],
    )


def as_text(value: Any) -> str:
    """A parameter's value as params.yaml would have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(found: Experiment) -> Iterator[tuple[str, float]]:
    """All figures that are finite numbers, each with its interval; words, lists and what is missing are left out."""
    for role, samplings in found.metrics.items():
        for sampling, figures in samplings.items():
            yield from _numbers(f"{role}/{sampling}", figures)
    yield from _numbers("cost", {name: getattr(found.cost, name) for name in Cost.__dataclass_fields__})


def _numbers(above: str, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        yield f"{above}/{name}", float(value)


def _curves(stage: str, content: bytes) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    for name in rows[0] if rows else ():
        if name == "epoch":
            continue
        points = [(int(row["epoch"]), float(row[name])) for row in rows if row[name]]
        yield f"epochs/{stage}/{name}", [point for point in points if math.isfinite(point[1])]


def _hashes(root: Path) -> dict[str, str]:
    """Path -> hash of all that the stages in dvc.lock read and wrote."""
    stages = (yaml_at(root, LOCK, None) or {}).get("stages", {})
    files = [file for stage in stages.values() for kind in ("deps", "outs") for file in stage.get(kind, [])]
    return {file["path"]: str(file["md5"]) for file in files if file.get("md5")}


def _is_changed(root: Path) -> bool:
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False, timeout=GIT_TIMEOUT_SEC)
    return bool(done.stdout.strip())
