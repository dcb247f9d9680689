"""What is compared: revisions with their parameters, figures, answers and costs, as DVC and git keep them."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from ruamel.yaml.error import YAMLError

from pptsm.data.clips import clips_of_a_video
from pptsm.data.table import read_csv
from pptsm.experiments.graph import PARAMS, compared_files, stages_at
from pptsm.experiments.kept import Kept
from pptsm.experiments.revisions import (
    commit_of,
    commits_of_experiments,
    shown_experiments,
    unfinished_stages,
    yaml_at,
)
from pptsm.params.schema import Training
from pptsm.runtime.errors import UserError

CHECKOUT = "(checkout)"
TEXTS = {"role": "str", "sampling": "str", "id": "str", "label": "str", "top1": "str"}
OF_VIDEO = {"id": "str", "label": "str", "group": "str", "split": "str", "sha256": "str", "first_frame": "int64"}
TRIAL = "tune-"  # begins the names of the trials of `pptsm tune`
SHOWN = 12  # names in a sentence

State = Literal["done", "left", "failed", "queued", "running", "no figures"]


@dataclass(frozen=True)
class Cost:
    """What an experiment's student costs; None where no file of a stage says it."""

    training_minutes: float | None = None  # of all networks that were trained, by their clips per second
    model_mb: float | None = None  # of the exported file, in float32
    ms_per_clip: float | None = None  # its median in ONNX Runtime on the machine that measured it
    parameters: int | None = None
    macs_per_view: float | None = None


@dataclass(frozen=True)
class Experiment:
    """An experiment of DVC, a commit, or the checkout."""

    name: str
    revision: str | None  # None: the checkout, or what has not run
    kind: Literal["checkout", "commit", "experiment"]
    state: State
    left: tuple[str, ...] = ()  # stages that did not run
    parameters: dict[str, Any] = field(default_factory=dict)  # key with dots -> value
    metrics: dict[str, Any] = field(default_factory=dict)  # role -> sampling -> figures
    predictions: pd.DataFrame | None = None  # one row per role, sampling and video
    videos: pd.DataFrame | None = None  # the index: id, label, group, split, sha256, first_frame
    cost: Cost = Cost()

    @property
    def is_trial(self) -> bool:
        """Whether it is a trial of `pptsm tune`, which ends with the training."""
        return self.name.startswith(TRIAL) and self.state == "left"

    @property
    def sampling(self) -> str:
        """How its headline looks at a video."""
        return str(self.parameters.get("sampling", "uniform"))


@dataclass(frozen=True)
class _Wanted:
    """What a name means."""

    name: str
    commit: str  # itself, or that which the experiment started from
    experiment: str | None  # None: the commit itself


def gather(root: Path, names: Sequence[str] = (), against: str | None = None) -> list[Experiment]:
    """The last commit, the checkout if it is another, and their experiments; or of these those that are named.

    Args:
        root: of the checkout.
        names: of experiments, of whatever commit, or what git takes for a commit; none: all of the last commit.
        against: one more of them.

    Returns:
        The last commit stands first.

    Raises:
        UserError: a name is unknown or means several, or this is no project of DVC and git.
        CommandError: DVC does not answer.
    """
    stages = stages_at(root)
    last = commit_of(root, "HEAD")
    if last is None:
        raise UserError(
            f"{root.absolute()} has no commit of git, beside which DVC keeps experiments. `git commit` first."
        )
    asked = list(dict.fromkeys([*names, *([against] if against else [])]))
    wanted = _meant(root, [name for name in asked if name != CHECKOUT], last)
    commits = list(dict.fromkeys([last, *(each.commit for each in wanted if each)]))
    workspace, *shown = shown_experiments(root, commits)
    reader = _Reader(root, stages)
    found = [reader.read(f"(commit {last[:7]})", "commit", last, _row(shown, last))]
    if not names:
        if (checkout := reader.read(CHECKOUT, "checkout", None, workspace)) and reader.differs(last):
            found.append(checkout)
        found += reader.experiments(_row(shown, last))
    there = {each.name for each in found}
    for name, each in zip([name for name in asked if name != CHECKOUT], wanted, strict=True):
        if name not in there:
            found.append(reader.named(name, each, shown, last))
    if CHECKOUT in asked and CHECKOUT not in there:
        found.append(reader.read(CHECKOUT, "checkout", None, workspace))
    return found


def _row(shown: list[dict[str, Any]], commit: str) -> dict[str, Any]:
    """What DVC shows of a commit."""
    return next((row for row in shown if row["rev"] == commit), {"rev": commit, "data": None, "experiments": None})


def _meant(root: Path, names: list[str], last: str) -> list[_Wanted | None]:
    """What each name means to git; None: nothing, but DVC may have it as one that is queued, runs or failed.

    Raises:
        UserError: it means experiments of several commits, and none of the last one.
    """
    known = commits_of_experiments(root) if names else {}
    found: list[_Wanted | None] = []
    for name in names:
        commits = known.get(name, [])
        if last in commits or len(commits) == 1:
            found.append(_Wanted(name, last if last in commits else commits[0], name))
        elif commits:
            said = ", ".join(commit[:7] for commit in commits)
            raise UserError(
                f"experiments called {name} started from {len(commits)} commits ({said}), none of them the last one. "
                "Name the one you mean by its hash: `dvc exp list --all-commits --sha` has it."
            )
        elif commit := commit_of(root, name):
            found.append(_Wanted(name, commit, None))
        else:
            found.append(None)
    return found


class _Reader:
    """Reads experiments of a checkout."""

    def __init__(self, root: Path, stages: dict[str, dict[str, Any]]) -> None:
        self.root = root
        self.kept = Kept(root)
        self.files = compared_files(stages)
        self.measuring = [name for name, stage in stages.items() if "metrics" in stage]

    def differs(self, commit: str) -> bool:
        """Whether parameters or results of the checkout are others than those of a commit."""
        here, there = (_parameters(self.root, revision) for revision in (None, commit))
        return here != there or self.kept.digests(None) != self.kept.digests(commit)

    def experiments(self, row: dict[str, Any]) -> Iterator[Experiment]:
        """Those that started from a commit."""
        named: dict[str, dict[str, Any]] = {}
        for each in row["experiments"] or []:
            name = each["revs"][-1]["name"] or each["revs"][-1]["rev"][:7]
            if name not in named or named[name]["executor"]:  # for a while one that is done is shown as running too
                named[name] = each
        for name, each in named.items():
            trial = each["revs"][-1]
            state = (each["executor"] or {}).get("state")
            if state is not None or trial["data"] is None:
                yield Experiment(name, None, "experiment", _state(state))
            else:
                yield self.read(name, "experiment", trial["rev"], trial)

    def named(self, name: str, wanted: _Wanted | None, shown: list[dict[str, Any]], last: str) -> Experiment:
        """The one of this name.

        Raises:
            UserError: there is none.
        """
        if wanted is not None and wanted.experiment is None:
            return self.read(name, "commit", wanted.commit, _row(shown, wanted.commit))
        row = _row(shown, wanted.commit if wanted else last)
        names = [each["revs"][-1]["name"] or each["revs"][-1]["rev"][:7] for each in row["experiments"] or []]
        if name not in names:
            there = f"the last commit's are {', '.join(names[:SHOWN])}" if names else "the last commit has none"
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UserError(
                f"there is no experiment and no commit {name!r}: {there}{more}. `dvc exp list --all-commits` has all."
            )
        return next(each for each in self.experiments(row) if each.name == name)

    def read(
        self, name: str, kind: Literal["checkout", "commit", "experiment"], revision: str | None, row: dict[str, Any]
    ) -> Experiment:
        """What a revision has (None: the checkout)."""
        try:
            left = tuple(unfinished_stages(self.root, revision))
            parameters = _parameters(self.root, revision)
        except YAMLError as error:
            raise UserError(f"{name}: a YAML file there cannot be read: {' '.join(str(error).split())[:200]}") from None
        metrics: dict[str, Any] = {}
        for file in ((row.get("data") or {}).get("metrics") or {}).values():
            metrics |= file.get("data") or {}
        if any(stage in left for stage in self.measuring):  # DVC shows those of another run
            return Experiment(name, revision, kind, "left", left, parameters)
        if not metrics:
            return Experiment(name, revision, kind, "no figures", left, parameters)
        videos = self.table("videos", revision, OF_VIDEO)
        return Experiment(
            name,
            revision,
            kind,
            "done",
            left,
            parameters,
            metrics,
            self.table("predictions", revision, TEXTS),
            videos,
            self._cost(revision, parameters, videos),
        )

    def table(self, word: str, revision: str | None, columns: dict[str, str]) -> pd.DataFrame | None:
        """A CSV file of a stage at a revision; None where there is none, or it is of an earlier version."""
        content = self._content(word, revision)
        if content is None:
            return None
        try:
            return read_csv(content, columns, keep_default_na=False, usecols=list(columns))
        except (ValueError, OverflowError):  # of an earlier version, or damaged
            return None

    def _content(self, word: str, revision: str | None) -> bytes | None:
        paths = self.files.get(word, {}).values()
        return next((found for path in paths if (found := self.kept.read(path, revision)) is not None), None)

    def _json(self, word: str, revision: str | None) -> dict[str, Any]:
        try:
            found = json.loads(self._content(word, revision) or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _cost(self, revision: str | None, parameters: dict[str, Any], videos: pd.DataFrame | None) -> Cost:
        exported, runtimes = self._json("exported", revision), self._json("runtimes", revision)
        rows = [row for row in runtimes.get("rows") or [] if isinstance(row, dict)]
        exact = next((r for r in rows if (r.get("runtime"), r.get("precision")) == ("onnxruntime", "float32")), {})
        size = exported.get("onnx_bytes")
        return Cost(
            training_minutes=self._minutes(revision, parameters, videos),
            model_mb=exact.get("size_mb") or (size / 1e6 if size else None),
            ms_per_clip=exact.get("ms_p50") or exported.get("latency_ms_per_view"),
            parameters=exported.get("parameters"),
            macs_per_view=exported.get("macs_per_view"),
        )

    def _minutes(self, revision: str | None, parameters: dict[str, Any], videos: pd.DataFrame | None) -> float | None:
        """Minutes that the epochs' training steps took, of each network that was trained: clips by clips per second."""
        drawn = [parameters.get(f"training.{name}") for name in ("clips_per_video", "min_clips")]
        if videos is None or not all(isinstance(number, int) for number in drawn):
            return None
        recipe = Training.model_construct(clips_per_video=drawn[0], min_clips=drawn[1])  # of whatever version
        training = int((videos["split"] == "train").sum())
        seconds = 0.0
        for stage, path in self.files.get("epochs", {}).items():
            epochs = parameters.get(f"{stage}.epochs")
            content = self.kept.read(path, revision)
            if not content or not isinstance(epochs, int) or not epochs:
                continue
            try:
                rates = pd.read_csv(io.BytesIO(content))["clips_per_sec"]
            except (ValueError, KeyError):  # of a network that was not trained
                continue
            clips = training * clips_of_a_video(recipe, training, epochs)
            seconds += float((clips / rates[rates > 0]).sum())
        return seconds / 60 if seconds else None


def validation_videos(root: Path) -> int:
    """Videos of the checkout's validation split; 0 where there is no index."""
    reader = _Reader(root, stages_at(root))
    videos = reader.table("videos", None, OF_VIDEO)
    return 0 if videos is None else int((videos["split"] == "val").sum())


def _state(state: str | None) -> State:
    known: dict[str | None, State] = {"queued": "queued", "running": "running", "success": "done"}
    return known.get(state, "failed")


def _parameters(root: Path, revision: str | None) -> dict[str, Any]:
    """The parameters of a revision, a key with dots for each plain value."""
    return _flat(_values(root, revision), "")


def _values(root: Path, revision: str | None) -> dict[str, Any]:
    found = yaml_at(root, PARAMS, revision)
    return found if isinstance(found, dict) else {}


def _flat(values: dict[str, Any], above: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
    return found
