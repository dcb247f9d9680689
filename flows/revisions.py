"""What DVC and git know of the checkout and of its experiments. Each question has a time limit.

A damaged index of git, or a share that does not answer, keeps DVC busy for ever, and a run with it: so it is asked in a
process of its own.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from flows.graph import ROOT, outputs_of
from ruamel.yaml import YAML

from pptsm.orchestration.command import CommandError, lines_of
from pptsm.runtime.dvc_yaml import expanded
from pptsm.runtime.errors import UserError

PARAMS, LOCK, GRAPH = "params.yaml", "dvc.lock", "dvc.yaml"
ASK_TIMEOUT_SEC = 300.0  # DVC answers for a hundred experiments in seconds
GIT_TIMEOUT_SEC = 60.0


def shown_experiments() -> list[dict[str, Any]]:
    """What `dvc exp show --json` says: the workspace, then each commit with its experiments.

    Raises:
        CommandError: DVC cannot tell, or does not in time.
    """
    lines = list(lines_of(["dvc", "exp", "show", "--json"], cwd=ROOT, timeout_sec=ASK_TIMEOUT_SEC))
    shown: list[dict[str, Any]] = json.loads(next(line for line in reversed(lines) if line.startswith("[")))
    return shown


def experiments() -> dict[str, str]:
    """The finished experiments of the last commit: name and revision.

    Raises:
        CommandError: as `shown_experiments`.
    """
    found = [trial["revs"][-1] for row in shown_experiments() for trial in row["experiments"] or []]
    return {trial["name"]: trial["rev"] for trial in found if trial["name"] and not trial.get("error")}


def text_of(path: str, revision: str | None) -> str:
    """A file that git or DVC keeps, at a revision, or (None) as it is in this checkout.

    Raises:
        CommandError: there is none, or DVC does not answer in time.
        OSError: there is none in this checkout.
    """
    if revision is None:
        return (ROOT / path).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        got = Path(folder) / "got"
        list(
            lines_of(
                ["dvc", "get", ".", path, "--rev", revision, "--out", str(got)], cwd=ROOT, timeout_sec=ASK_TIMEOUT_SEC
            )
        )
        return got.read_text(encoding="utf-8")


def metrics_of(stage: dict[str, Any], revision: str | None) -> dict[str, Any]:
    """The values of a stage's metrics files.

    Args:
        stage: its entry in dvc.yaml.
        revision: as of `text_of`.

    Raises:
        CommandError: as `text_of`.
        OSError: as `text_of`.
    """
    found: dict[str, Any] = {}
    for path in outputs_of(stage, ("metrics",)):
        found |= json.loads(text_of(path, revision))
    return found


def yaml_at(path: str, revision: str) -> Any:
    """A YAML file that git has, at a revision; None where it has none there."""
    command = ["git", "show", f"{revision}:{path}"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=GIT_TIMEOUT_SEC)
    except subprocess.TimeoutExpired:
        raise CommandError(command, f"took longer than {GIT_TIMEOUT_SEC} s", []) from None
    return YAML(typ="safe").load(done.stdout) if done.returncode == 0 else None


def unfinished_stages(revision: str) -> list[str]:
    """The stages of a revision whose outputs are not of its own parameters: it was left before they ran.

    DVC takes the outputs of such a stage from the commit before, and shows their metrics as the experiment's.
    """
    stages, lock = yaml_at(GRAPH, revision)["stages"], (yaml_at(LOCK, revision) or {}).get("stages", {})
    return unfinished(stages, lock, yaml_at(PARAMS, revision))


def unfinished(stages: dict[str, Any], lock: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The stages that DVC would have to run, as far as their parameters and each other's outputs tell.

    Args:
        stages: of dvc.yaml, in the order in which they need each other.
        lock: the same of dvc.lock: what was done.
        values: of params.yaml.
    """
    made: dict[str, str | None] = {}  # path of an output: its hash, None where it is to be made anew
    found = []
    for name, stage in expanded(stages).items():
        row = lock.get(name, {})
        used = row.get("params", {}).get(PARAMS, {})
        read = {dep["path"]: dep.get("md5") for dep in row.get("deps", [])}
        done = (
            bool(row)
            and row.get("cmd") == stage["cmd"]
            and all(value == _at(values, key) for key, value in used.items())
            and all(made[path] == read.get(path) for path in stage.get("deps", []) if path in made)
        )
        found += [] if done else [name]
        hashes = {out["path"]: out.get("md5") for out in row.get("outs", [])}
        made |= {path: hashes.get(path) if done else None for path in outputs_of(stage)}
    return found


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def require_finished(experiment: str, revision: str) -> None:
    """Check that an experiment has figures of its own.

    Raises:
        UserError: it was left before the end, so that those it shows are of the commit that it started from.
    """
    if left := unfinished_stages(revision):
        raise UserError(
            f"experiment {experiment} is there, but was left before its end: {', '.join(left)} did not run, and the "
            f"figures that `dvc exp show` has for it are those of the commit before. `dvc exp remove {experiment}`, "
            "then run it again."
        )
