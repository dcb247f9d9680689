"""What DVC and git know of a checkout (its folder is `root`) and of its experiments. Each question has a time limit.

A damaged index of git, or a share that does not answer, keeps DVC busy for ever, and a run with it: so it is asked in a
process of its own.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pptsm.experiments.graph import GRAPH, LOCK, PARAMS, outputs_of
from pptsm.orchestration.running import CommandError, lines_of
from pptsm.runtime.dvc_yaml import expanded
from pptsm.runtime.errors import UserError

ASK_TIMEOUT_SEC = 300.0  # DVC answers for a hundred experiments in seconds
GIT_TIMEOUT_SEC = 60.0
# Where DVC keeps an experiment in git: below the commit that it started from.
EXPERIMENT = re.compile(r"refs/exps/(?P<first>[0-9a-f]{2})/(?P<rest>[0-9a-f]{38})/(?P<name>[^/]+)")


def shown_experiments(root: Path, commits: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What `dvc exp show --json` says: the workspace, then each commit with its experiments.

    Args:
        root: of the checkout.
        commits: those that are wanted; none: the last one.

    Raises:
        CommandError: DVC cannot tell, or does not in time.
    """
    command = ["dvc", "exp", "show", "--json", *(f"--rev={commit}" for commit in commits)]
    lines = list(lines_of(command, cwd=root, timeout_sec=ASK_TIMEOUT_SEC))
    shown: list[dict[str, Any]] = json.loads(next(line for line in reversed(lines) if line.startswith("[")))
    return shown


def experiments(root: Path) -> dict[str, str]:
    """The finished experiments of the last commit: name and revision.

    Raises:
        CommandError: as `shown_experiments`.
    """
    found = [trial["revs"][-1] for row in shown_experiments(root) for trial in row["experiments"] or []]
    return {trial["name"]: trial["rev"] for trial in found if trial["name"] and not trial.get("error")}


def text_of(root: Path, path: str, revision: str | None) -> str:
    """A file that git or DVC keeps, at a revision, or (None) as it is in this checkout.

    Raises:
        CommandError: there is none, or DVC does not answer in time.
        OSError: there is none in this checkout.
    """
    if revision is None:
        return (root / path).read_text(encoding="utf-8")
    return bytes_of(root, path, revision).decode()


def bytes_of(root: Path, path: str, revision: str) -> bytes:
    """A file that git or DVC keeps, at a revision.

    Raises:
        CommandError: as `text_of`.
    """
    with tempfile.TemporaryDirectory() as folder:
        got = Path(folder) / "got"
        command = ["dvc", "get", ".", path, "--rev", revision, "--out", str(got)]
        list(lines_of(command, cwd=root, timeout_sec=ASK_TIMEOUT_SEC))
        return got.read_bytes()


def metrics_of(root: Path, stage: dict[str, Any], revision: str | None) -> dict[str, Any]:
    """The values of a stage's metrics files.

    Args:
        root: of the checkout.
        stage: its entry in dvc.yaml.
        revision: as of `text_of`.

    Raises:
        CommandError: as `text_of`.
        OSError: as `text_of`.
    """
    found: dict[str, Any] = {}
    for path in outputs_of(stage, ("metrics",)):
        found |= json.loads(text_of(root, path, revision))
    return found


def yaml_at(root: Path, path: str, revision: str | None) -> Any:
    """A YAML file that git has, at a revision, or (None) as it is in this checkout; None where there is none."""
    if revision is None:
        file = root / path
        return YAML(typ="safe").load(file.read_text(encoding="utf-8")) if file.is_file() else None
    done = _git(root, "show", f"{revision}:{path}")
    return YAML(typ="safe").load(done.stdout) if done.returncode == 0 else None


def commit_of(root: Path, name: str) -> str | None:
    """The commit that git knows by a name (a hash, a branch, a tag, `HEAD~1`); None where it knows none."""
    done = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return done.stdout.decode().strip() if done.returncode == 0 else None


def commits_of_experiments(root: Path) -> dict[str, list[str]]:
    """Name of an experiment -> the commits that have one of this name, whatever commit is checked out."""
    done = _git(root, "for-each-ref", "--format=%(refname)", "refs/exps")
    found: dict[str, list[str]] = {}
    for reference in done.stdout.decode().splitlines():
        if match := EXPERIMENT.fullmatch(reference):
            found.setdefault(match["name"], []).append(match["first"] + match["rest"])
    return found


def _git(root: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    command = ["git", *words]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, check=False, timeout=GIT_TIMEOUT_SEC)
    except subprocess.TimeoutExpired:
        raise CommandError(command, f"took longer than {GIT_TIMEOUT_SEC} s", []) from None


def unfinished_stages(root: Path, revision: str | None) -> list[str]:
    """The stages of a revision (None: of the checkout) whose outputs are not of its own parameters.

    An experiment with such stages was left before they ran.

    DVC takes the outputs of such a stage from the commit before, and shows their metrics as the experiment's.
    """
    graph, lock = (yaml_at(root, path, revision) or {} for path in (GRAPH, LOCK))
    return unfinished(graph.get("stages", {}), lock.get("stages", {}), yaml_at(root, PARAMS, revision))


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


def require_finished(root: Path, experiment: str, revision: str) -> None:
    """Check that an experiment has figures of its own.

    Raises:
        UserError: it was left before the end, so that those it shows are of the commit that it started from.
    """
    if left := unfinished_stages(root, revision):
        raise UserError(
            f"experiment {experiment} is there, but was left before its end: {', '.join(left)} did not run, and the "
            f"figures that `dvc exp show` has for it are those of the commit before. `dvc exp remove {experiment}`, "
            "then run it again."
        )
