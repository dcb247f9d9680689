"""The state of a training run between two epochs, kept outside every stage's outputs.

DVC empties a stage's outputs before it runs, so what a run needs to go on lies in the state folder: of a run that
was killed, under a key of all that decides its result; of the last run of a role that came to its end, under the
role's name, for a training that is made longer. Beside each state stands what its key was made of, so that a run
which cannot take it up says why.

Several checkouts, and containers, may share the folder. A state belongs to the run that holds its lock, which the
kernel takes back from a process that dies; a role's lock is held for moments, while states change their names.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from pptsm.console import note
from pptsm.files import remove, sha256_of, state_dir, whole_file
from pptsm.model.device import computed_with
from pptsm.model.network import VideoNetwork
from pptsm.model.parallel import Ranks, is_helper
from pptsm.model.pickles import WeightsError, as_arrays, read_weights, write_arrays

Arrays = dict[str, Any]

PACKAGE = Path(__file__).parent.parent
# Whose code decides a training's result, with the file of its stage: dvc.yaml names the same (tests/test_graph.py).
WINGS = ("data", "evaluation", "model", "training")
OTHER_CODE = "PPTSM_OTHER_CODE"  # set to 1: an unfinished training goes on although the code is another
STATE, MADE_OF = "state.pdparams", "made_of.json"
PARTS = {"progress", "models", "optimizer", "scaler", "computed_with"}
SHOWN = 8  # differences in a sentence


@dataclass(frozen=True)
class MadeOf:
    """All that decides the result of a run, by name: parameters, hashes of inputs, and hashes of code."""

    parameters: dict[str, Any]  # "training.base_lr": 0.02
    inputs: dict[str, str]  # "the index": hash
    code: dict[str, str]  # a file of the package, or "Paddle" with its version

    def key(self, role: str) -> str:
        """A short name for the run: its role and a hash."""
        return f"{role}-{hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()[:16]}"

    def differences(self, other: "MadeOf") -> list[str]:
        """What differs from `other`, for a person: "training.base_lr (was 0.01, is 0.02)", "training/losses.py"."""
        found = []
        for part, now in vars(self).items():
            before = vars(other)[part]
            for name in sorted(now.keys() | before.keys()):
                if now.get(name) != before.get(name):
                    values = f" (was {before.get(name)}, is {now.get(name)})" if part == "parameters" else ""
                    found.append(f"{name}{values}")
        return found


def code_of(role: str) -> dict[str, str]:
    """The hash of each file that decides the result of a role's training, and Paddle's version."""
    files = [PACKAGE / "stages" / f"{role}.py"]
    for wing in WINGS:
        files += [path for path in (PACKAGE / wing).rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return {path.relative_to(PACKAGE).as_posix(): sha256_of(path) for path in files} | {"Paddle": paddle.__version__}


@dataclass
class Progress:
    """What has been reached: finished epochs, the history of each, and the best epoch's weights."""

    epochs_done: int
    history: list[dict[str, float]]
    best_top1: float
    best_weights: list[Arrays] | None  # of each network that learns


class Checkpoint:
    """One run's state: written whole after each epoch, kept as the role's last one when its outputs are in place."""

    def __init__(self, role: str, made_of: MadeOf) -> None:
        self.role = role
        self.made_of = made_of
        self.key = made_of.key(role)
        self.folder = state_dir("training") / self.key
        self.finished = state_dir("training") / f"{role}-finished"
        self.ranks = Ranks()  # rank 0 alone holds, reads and writes the state; after every step all have the same
        self._waited = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs of the same training out; where there is one, wait for its end and then take what it left.

        A process that was started or launched as another rank than 0 has nothing to hold: its rank 0 does.
        """
        if is_helper():
            yield
            return
        lock = _lock_of(self.key)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            holder = Path(lock.lock_file).read_text(encoding="utf-8", errors="replace")
            note(
                f"{self.role}: the same training is under way in another run ({holder or 'just begun'}), with its "
                f"state in {self.folder}. This run waits for it and then takes its result; Ctrl-C ends the waiting"
            )
            self._waited = True
            lock.acquire()
        try:
            here = f"process {os.getpid()} on {platform.node()}, in {Path.cwd()}, since {datetime.now():%Y-%m-%d %H:%M}"
            Path(lock.lock_file).write_text(here, encoding="utf-8")
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # who waits for it looks whether it is still there
            lock.release()

    def save(self, progress: Progress, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> None:
        """Write all that the next epoch depends on. Random states are not among it: every epoch seeds its own."""
        if self.ranks.rank:
            return
        state = {
            "progress": vars(progress),
            "models": [as_arrays(model.state_dict()) for model in models],
            "optimizer": as_arrays(optimizer.state_dict()),
            "scaler": as_arrays(scaler.state_dict()),
            "computed_with": computed_with(),
        }
        with whole_file(self.folder / MADE_OF) as partial:
            partial.write_text(json.dumps(vars(self.made_of), indent=1), encoding="utf-8")
        with whole_file(self.folder / STATE) as partial:
            write_arrays(partial, state)

    def load(self, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> Progress | None:
        """Put a saved state back into models, optimiser and scaler; None where there is none to go on from."""
        state = self.ranks.from_first(self._found)
        if state is None:
            return None
        for model, arrays in zip(models, state["models"], strict=True):
            model.set_state_dict(arrays)
        optimizer.set_state_dict(
            {key: paddle.to_tensor(v) if isinstance(v, np.ndarray) else v for key, v in state["optimizer"].items()}
        )
        if state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        if state["computed_with"] != computed_with():
            note(
                f"the epochs before were computed with {state['computed_with']}, these with {computed_with()}: the "
                "result is as good, but not byte for byte that of one machine"
            )
        return Progress(**state["progress"])

    def _found(self) -> Arrays | None:
        with _lock_of(self.role):
            return _read(self.folder) or self._result_of_another_run() or self._longer() or self._with_other_code()

    def finish(self) -> None:
        """Keep the state as that of the role's last finished run, in place of the one before."""
        with _lock_of(self.role):
            if self.folder.exists():
                remove(self.finished)
                self.folder.rename(self.finished)

    def _result_of_another_run(self) -> Arrays | None:
        """The last finished run's, if it is this very training that this run waited for."""
        if not self._waited or _made_of(self.finished) != self.made_of:
            return None
        note(f"{self.role}: takes the result of the run that it waited for")
        return _read(self.finished)

    def _longer(self) -> Arrays | None:
        """The last finished run, if this one is the same with more epochs and its rates so far are the same.

        A piecewise schedule's rate follows from the epoch alone, a cosine's from the number of epochs too.
        """
        before = _made_of(self.finished)
        epochs = f"{self.role}.epochs"
        if before is None or self.made_of.parameters[epochs] <= (done := before.parameters.get(epochs, 0)):
            return None
        ours, theirs = (_until(done, made_of) for made_of in (self.made_of, before))
        if ours.parameters != theirs.parameters or ours.inputs != theirs.inputs:
            return None
        why = None
        if ours.parameters["training.schedule"] == "cosine":
            why = "a cosine's learning rates depend on the number of epochs from the first one on"
        elif ours.code != theirs.code:
            why = f"the code has changed since then: {_listed(ours.differences(theirs))}"
        if why:
            note(f"{self.role}: the last run's {done} epochs are of no use to a run of more: {why}. It starts anew")
            return None
        note(f"{self.role}: as the last run, which ended after {done} epochs, but with more")
        return _read(self.finished)

    def _with_other_code(self) -> Arrays | None:
        """The newest unfinished run of the role, if only its code is another and the user wants it; else: says why."""
        found = sorted(state_dir("training").glob(f"{self.role}-*/{STATE}"), key=lambda path: path.stat().st_mtime)
        for folder in [path.parent for path in reversed(found) if path.parent != self.finished]:
            try:
                with _lock_of(folder.name).acquire(blocking=False):
                    if before := _made_of(folder):
                        return self._taken_over(folder, before)
            except Timeout:  # it is under way
                pass
        return None

    def _taken_over(self, folder: Path, before: MadeOf) -> Arrays | None:
        changed = _listed(self.made_of.differences(before))
        same_but_for_code = (self.made_of.parameters, self.made_of.inputs) == (before.parameters, before.inputs)
        if same_but_for_code and os.environ.get(OTHER_CODE) == "1":
            note(f"{self.role}: goes on from {folder} with other code, as {OTHER_CODE} says: {changed}")
            folder.rename(self.folder)
            return _read(self.folder)
        either = f", or set {OTHER_CODE}=1 to go on with the code as it is" if same_but_for_code else ""
        note(
            f"{self.role}: starts anew, for the unfinished training in {folder} differs from this one in "
            f"{changed}. To go on from it, stop this run and put that back (`git diff`, `git checkout`){either}; to "
            "forget it, delete that folder"
        )
        return None


def _lock_of(name: str) -> FileLock:
    """The lock of a state, by its key, or of a role's states among each other."""
    return FileLock(state_dir("locks") / f"{name}.lock")


def _read(folder: Path) -> Arrays | None:
    """The state in a folder; None where there is none. A damaged one is removed: nobody can go on from it."""
    problem = ""
    if (folder.exists() and not folder.is_dir()) or (folder / MADE_OF).is_dir():
        problem = "files and folders have changed places"
    elif not (folder / STATE).exists():
        return None
    else:
        try:
            state: Arrays = read_weights(folder / STATE)
            Progress(**state["progress"])
            if state.keys() == PARTS:
                return state
            problem = f"it holds {', '.join(state)}"
        except (WeightsError, TypeError, KeyError) as error:
            problem = f"{type(error).__name__}: {error}"
    note(f"the training state {folder} is damaged and removed: {problem}")
    remove(folder)
    return None


def _made_of(folder: Path) -> MadeOf | None:
    """What a state's key was made of; None where there is no state, or one of another version, or a damaged one."""
    try:
        return TypeAdapter(MadeOf).validate_json((folder / MADE_OF).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        note(f"{folder / MADE_OF} cannot be read: no other training goes on from this state")
        return None


def _until(epoch: int, made_of: MadeOf) -> MadeOf:
    """Without the parameters that decide only what comes from an epoch on, under a piecewise schedule."""
    parameters = {name: value for name, value in made_of.parameters.items() if not name.endswith(".epochs")}
    parameters["training.step_epochs"] = [step for step in parameters["training.step_epochs"] if step < epoch]
    return MadeOf(parameters, made_of.inputs, made_of.code)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
