"""Looking for settings: Optuna proposes, a trial is an experiment of DVC, validation decides. A search goes on."""

import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from pptsm.experiments.gather import CHECKOUT, TRIAL, Experiment, gather
from pptsm.experiments.graph import GRAPH, compared_files, stages_at
from pptsm.experiments.kept import Kept
from pptsm.experiments.overrides import check_name, environment_of_copy
from pptsm.experiments.space import Searched, override
from pptsm.orchestration.running import CommandError, run_streaming
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file, state_dir

if TYPE_CHECKING:
    from optuna import Study

KIND = "tuning"  # folder of the histories, below the state's
VALUE, KEPT_EPOCH = "val_top1", "kept"  # columns of the table of epochs
MOST_FAILURES = 3  # in a row; then it is no setting's fault
FEWEST = 10  # finished trials that say which parameter matters
IGNORED = "compute."  # begins the parameters that change no result
SEED = 2026  # of the proposals, with the number of the trial
LAST_LINES = 3

TrialState = Literal["pending", "done", "failed"]


@dataclass(frozen=True)
class Trial:
    """Settings that were, or are to be, tried."""

    number: int
    name: str  # of the experiment
    settings: dict[str, Any]  # parameter -> value
    state: TrialState
    value: float | None = None  # validation top-1 of the kept epoch, 0 to 1
    reason: str = ""  # why it failed


@dataclass
class History:
    """All trials of a search, kept in a file that is whole at any moment."""

    file: Path
    space: list[str]  # as it was asked for
    base: dict[str, Any]  # the other parameters
    videos: str | None  # hash of the index, by which all trials were validated
    trials: list[Trial] = field(default_factory=list)

    def save(self) -> None:
        """Write it."""
        values = {"version": 1, **{key: value for key, value in vars(self).items() if key not in ("file", "trials")}}
        values["trials"] = [asdict(trial) for trial in self.trials]
        with atomic_file(self.file) as partial:
            partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def put(self, trial: Trial) -> None:
        """Add a trial, or what came of it."""
        self.trials = [each for each in self.trials if each.number != trial.number]
        self.trials = sorted([*self.trials, trial], key=lambda each: each.number)
        self.save()

    @property
    def done(self) -> list[Trial]:
        """Those that have a value."""
        return [trial for trial in self.trials if trial.state == "done"]

    @property
    def best(self) -> Trial | None:
        """The first of those with the highest value."""
        return max(self.done, key=lambda trial: trial.value or 0.0, default=None)


@dataclass(frozen=True)
class Search:
    """What is asked for."""

    root: Path
    name: str
    space: list[Searched]
    texts: list[str]  # the space, as it was typed
    trials: int  # in all, with those that were done before


def tune(search: Search, after_each: Callable[[History], None] = lambda _: None) -> History:
    """Try settings until as many trials are finished as were asked for.

    A trial is `dvc exp run --temp` up to the training whose validation decides, so no trial evaluates a test video.
    Experiments that are there already count, if they differ from params.yaml in the searched parameters alone.

    Args:
        search: what is asked for.
        after_each: called with the history at the start and after each trial.

    Raises:
        UserError: the history is of another search, no validation is there, or trials fail in a row.
        CommandError: DVC does not answer.
    """
    check_name(f"{TRIAL}{search.name}-000")
    graph = stages_at(search.root)
    stage = next((name for name, each in graph.items() if each.get("meta", {}).get("objective")), None)
    paths = compared_files(graph)
    if stage is None or stage not in paths.get("epochs", {}):
        raise UserError(f"no stage of {GRAPH} has `objective` and a table of epochs (`compare`) in its meta.")
    table = paths["epochs"][stage]
    history = _take_up(search, paths, stage, table)
    after_each(history)
    failures = 0
    while (wanted := _next(search, history)) is not None:
        history.put(wanted)
        said = ", ".join(f"{key}={value}" for key, value in wanted.settings.items())
        note(f"tune: trial {len(history.done) + 1} of {search.trials}: {said}")
        try:
            value = _run(search, wanted, stage, table)
        except CommandError as error:
            failures += 1
            reason = f"{error.reason}: {' | '.join(error.last_lines[-LAST_LINES:])}"
            history.put(replace(wanted, state="failed", reason=reason))
            note(f"tune: {wanted.name} failed: {reason}")
            if failures == MOST_FAILURES:
                raise UserError(
                    f"{failures} trials failed one after another, the last one because DVC {reason}. The history is "
                    f"kept in {history.file}; mend the cause, and the same command goes on."
                ) from None
        else:
            failures = 0
            history.put(replace(wanted, state="done", value=value))
            note(f"tune: {wanted.name}: validation top-1 {value:.2%}")
        after_each(history)
    return history


def _take_up(search: Search, paths: dict[str, dict[str, str]], stage: str, table: str) -> History:
    """The history so far, with what was done meanwhile."""
    experiments = gather(search.root) + gather(search.root, [CHECKOUT])[1:]
    here = next(each for each in experiments if each.name == CHECKOUT)
    keys = {each.key for each in search.space}
    base = {key: value for key, value in here.parameters.items() if key not in keys and not key.startswith(IGNORED)}
    kept = Kept(search.root)
    index = next(iter(paths.get("videos", {}).values()), None)
    file = state_dir(KIND) / f"{search.name}.json"
    history = _read(file, search, base) or History(file, search.texts, base, None)
    for each in experiments:
        videos = kept.digest(index, each.revision) if index and each.revision else None
        trial = None if each.kind == "checkout" else _as_trial(search, each, base, stage, table, kept)
        if trial is None or (history.videos is not None and videos != history.videos):
            continue
        history.videos = history.videos or videos
        known = next((old for old in history.trials if old.name == each.name), None)
        twin = any(old.settings == trial.settings and old.state == "done" for old in history.trials)
        if known is not None and known.state != "done":
            history.put(replace(trial, number=known.number))
        elif known is None and not twin:
            number = max((old.number for old in history.trials), default=-1) + 1
            history.put(replace(trial, number=number))
            note(f"tune: {each.name} was run before and counts: validation top-1 {trial.value:.2%}")
    return history


def _read(file: Path, search: Search, base: dict[str, Any]) -> History | None:
    """The history in a file; None where there is none.

    Raises:
        UserError: it is of another search, or damaged.
    """
    if not file.exists():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        trials = [Trial(**each) for each in values["trials"]]
        history = History(file, values["space"], values["base"], values["videos"], trials)
        history.save()  # whatever is in it can be written again
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(
            f"the history {file} is damaged ({error}). Move it away: experiments that are done count."
        ) from None
    if history.space != search.texts:
        raise UserError(
            f"the search {search.name} looks for {' '.join(history.space)}, and now {' '.join(search.texts)} is asked "
            "for. Take another --name: trials that fit count there too."
        )
    changed = [key for key in {**history.base, **base} if history.base.get(key) != base.get(key)]
    if changed:
        raise UserError(
            f"the search {search.name} began with other parameters: {', '.join(changed[:8])} differ. Their values "
            "cannot be compared. Take another --name, or put them back."
        )
    return history


def _as_trial(
    search: Search, each: Experiment, base: dict[str, Any], stage: str, table: str, kept: Kept
) -> Trial | None:
    """An experiment or a commit as a trial; None where it differs in something else, or has not been trained."""
    if not each.parameters or stage in each.left or each.revision is None:
        return None
    keys = {searched.key for searched in search.space}
    own = {key: value for key, value in each.parameters.items() if key not in keys and not key.startswith(IGNORED)}
    settings = {searched.key: each.parameters.get(searched.key) for searched in search.space}
    if own != base or any(searched.proposed(settings[searched.key]) is None for searched in search.space):
        return None
    value = validation_of(kept.read(table, each.revision))
    return None if value is None else Trial(0, each.name, settings, "done", value)


def validation_of(content: bytes | None) -> float | None:
    """Validation top-1 of the epoch whose weights were kept, from a table of epochs; None: it has none."""
    try:
        epochs = pd.read_csv(io.BytesIO(content or b""))
        rows = epochs[epochs[KEPT_EPOCH] == 1][VALUE]
    except (ValueError, KeyError):
        return None
    value = float(rows.iloc[-1]) if len(rows) else math.nan
    return value if 0 <= value <= 1 else None


def _next(search: Search, history: History) -> Trial | None:
    """The trial to run: one that was left, or a new one; None: there are enough."""
    left = next((trial for trial in history.trials if trial.state == "pending"), None)
    if len(history.done) >= search.trials:
        return None
    if left is not None:
        return left
    number = max((trial.number for trial in history.trials), default=-1) + 1
    settings = _propose(search, history, number)
    return Trial(number, f"{TRIAL}{search.name}-{number:03d}", settings, "pending")


def _propose(search: Search, history: History, number: int) -> dict[str, Any]:
    """What Optuna proposes after the trials so far, the same each time it is asked; first, what params.yaml has."""
    study = as_study(search, history, number)
    if not history.trials:
        from pptsm.experiments.space import params_at

        here = {each.key: params_at(search.root, each.key) for each in search.space}
        if all(each.proposed(here[each.key]) is not None for each in search.space):
            return here
    tried = [trial.settings for trial in history.trials]
    settings: dict[str, Any] = {}
    for _ in range(20):  # of few choices it proposes what was tried; such a trial would tell nothing
        proposed = study.ask({each.key: each.distribution() for each in search.space}).params
        settings = {each.key: each.value(proposed[each.key]) for each in search.space}
        if settings not in tried:
            return settings
    raise UserError(
        f"all that Optuna proposes was tried: {len(history.trials)} trials are enough for {' '.join(search.texts)}. "
        "Ask for fewer, or for more values."
    )


def as_study(search: Search, history: History, number: int = 0) -> "Study":
    """The trials so far as a study of Optuna, in memory: the history's file is what is kept."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=SEED + number)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {each.key: each.distribution() for each in search.space}
    for trial in history.trials:
        if trial.state == "pending":
            continue
        proposed = {each.key: each.proposed(trial.settings.get(each.key)) for each in search.space}
        state = optuna.trial.TrialState.COMPLETE if trial.state == "done" else optuna.trial.TrialState.FAIL
        value = trial.value if trial.state == "done" else None
        study.add_trial(
            optuna.trial.create_trial(params=proposed, distributions=distributions, value=value, state=state)
        )
    return study


def importances(search: Search, history: History) -> dict[str, float]:
    """How much of the difference between good trials and all each parameter explains; empty with few trials.

    Source: Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces"
    (2023).
    """
    if len(history.done) < FEWEST or len(search.space) < 2:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    found = get_param_importances(as_study(search, history), evaluator=PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}


def _run(search: Search, trial: Trial, stage: str, table: str) -> float:
    """Train by a trial's settings; its validation top-1.

    Raises:
        CommandError: DVC or a stage failed.
        UserError: the training has no validation.
    """
    command = ["dvc", "--wait-for-lock", "exp", "run", "--temp", "--name", trial.name]
    command += [f"--set-param={override(key, value)}" for key, value in trial.settings.items()]
    command.append(stage)
    run_streaming(command, note, cwd=search.root, environment=environment_of_copy(search.root))
    found = [each for each in gather(search.root) if each.name == trial.name]
    content = Kept(search.root).read(table, found[0].revision) if found and found[0].revision else None
    value = validation_of(content)
    if value is None:
        raise UserError(
            f"{trial.name} was trained, but {table} has no {VALUE} of a kept epoch: there is no validation split. Set "
            "index.val_share above 0, and commit; the test split must not choose settings."
        )
    return value
