"""The state of a training run between two steps, kept outside every stage's outputs.

DVC empties a stage's outputs before it runs, so what a run needs to go on lies in the state folder: of a run that
was killed, under a key of all that decides its result; of the last run of a role that came to its end, under the
role's name, for a training that is made longer. Beside each state stands what its key was made of, so that a run
which cannot take it up says why.

A state is one file (`pptsm.training.state_file`). No random state is in it, because every step seeds its own.

Several checkouts, and containers, may share the folder. A state belongs to the run that holds its lock, which the
kernel takes back from a process that dies; a role's lock is held for moments, while states change their names.
"""

import json
import math
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paddle
import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from pptsm.distributed.device import computed_with
from pptsm.distributed.ranks import Ranks, is_helper
from pptsm.model.network import VideoNetwork
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file, remove, state_dir
from pptsm.training.provenance import PROVENANCE, Provenance, listed, read_provenance, until
from pptsm.training.signals import Stopping
from pptsm.training.state_file import Arrays, read_state, write_state
from pptsm.weights.state_dict import as_arrays

Item = TypeVar("Item")

# Of any history.
COLUMNS = ["epoch", "lr", "loss", "cross_entropy", "train_top1", "clips_per_sec", "wait_share", "kept"]
OTHER_CODE = "PPTSM_OTHER_CODE"  # set to 1: an unfinished training goes on although the code is another
STATE = "state.safetensors"
PARTS = {"progress", "models", "optimizer", "scaler", "computed_with"}


@dataclass
class TrainState:
    """What has been reached: finished epochs, the history of each, the best epoch's weights, and steps beyond."""

    epochs_done: int
    history: list[dict[str, float]]
    best_top1: float
    best_weights: list[Arrays] | None  # of each network that learns; None: the last epoch's are kept
    best_epoch: int = 0  # counted from 1; 0: none yet
    sums: dict[str, Any] | None = None  # `EpochMetrics.sums` of the epoch under way; None: no step of it is done

    def within(self, sums: dict[str, Any]) -> "TrainState":
        """The same and some steps more, with what they have come to."""
        return replace(self, sums=sums)

    def after(self, row: dict[str, float]) -> "TrainState":
        """The same and an epoch more, with its row of the history."""
        return replace(self, epochs_done=self.epochs_done + 1, history=[*self.history, row], sums=None)

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept if training ends here, counted from 1: the best or the last one."""
        return self.epochs_done if self.best_weights is None else self.best_epoch

    def table(self) -> pd.DataFrame:
        """The history, one row per finished epoch; its column `kept` is 1 in the row of `kept_epoch`, else 0."""
        return pd.DataFrame(
            [row | {"kept": int(row["epoch"] == self.kept_epoch)} for row in self.history],
            columns=None if self.history else COLUMNS,
        )

    @property
    def and_steps(self) -> str:
        """The steps beyond the last whole epoch, for a sentence."""
        return f" and {self.sums['steps']} steps" if self.sums else ""


class Checkpoint:
    """One run's state: each written whole in place of the one before, the last kept when the outputs are in place."""

    def __init__(self, role: str, provenance: Provenance, save_every_min: float = math.inf) -> None:
        """Of a role's run; within an epoch a state is due so many minutes after the one before."""
        self.role = role
        self.provenance = provenance
        self.key = provenance.key(role)
        self.folder = state_dir("training") / self.key
        self.finished = state_dir("training") / f"{role}-finished"
        self.ranks = Ranks()  # rank 0 alone holds, reads and writes the state; after every step all have the same
        self._stopping = Stopping(role)
        self._save_every_min = save_every_min
        self._saved_at = time.monotonic()
        self._waited = False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs of the same training out; where there is one, wait for its end and then take what it left.

        A process that was launched as another rank than 0 has nothing to hold: its rank 0 does.

        Raises:
            Stopped: a signal asked for it, once all is saved.
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
            with self.handle_signals():
                yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # who waits for it looks whether it is still there
            lock.release()

    def handle_signals(self) -> AbstractContextManager[None]:
        """Inside, Ctrl-C and SIGTERM end the run once all is saved; every rank is to enter it.

        Raises:
            Stopped: one of them came.
        """
        return self._stopping.handle_signals()

    def save_is_due(self) -> bool:
        """Whether a state within an epoch is due, or a signal asks for it; all ranks must hear of it."""
        return bool(self._stopping.asked) or time.monotonic() - self._saved_at >= 60 * self._save_every_min

    def steps(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches of steps, whose results are unsaved until the next `save`.

        They end early where a signal reached the processes that prepare them too. (One of several ranks cannot end:
        the others would wait for it.)
        """
        self._stopping.has_unsaved = True
        try:
            yield from batches
        except UserError:
            if not self._stopping.asked or self.ranks.size > 1:
                raise

    def save(self, progress: TrainState, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> None:
        """Write all that the next step depends on; to be called by all ranks alike.

        Raises:
            Stopped: a signal had asked a rank for it before all was saved.
        """
        if not self.ranks.rank:
            self._write(progress, models, optimizer, scaler)
        self._saved_at = time.monotonic()
        asked = max(self.ranks.gather([self._stopping.asked]))
        self._stopping.saved(f"epoch {progress.epochs_done}{progress.and_steps}", asked)

    def _write(self, progress: TrainState, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> None:
        state = {
            "progress": vars(progress),
            "models": [as_arrays(model.state_dict()) for model in models],
            "optimizer": as_arrays(optimizer.state_dict()),
            "scaler": as_arrays(scaler.state_dict()),
            "computed_with": computed_with(),
        }
        with atomic_file(self.folder / STATE) as partial:
            write_state(partial, state)
        with atomic_file(self.folder / PROVENANCE) as partial:
            partial.write_text(json.dumps(vars(self.provenance), indent=1), encoding="utf-8")

    def load(self, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> TrainState | None:
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
        return TrainState(**state["progress"])

    def _found(self) -> Arrays | None:
        with _lock_of(self.role):
            return _read(self.folder) or self._finished_before() or self._longer() or self._with_other_code()

    def finish(self) -> None:
        """Keep the state as that of the role's last finished run, in place of the one before."""
        with _lock_of(self.role):
            if self.folder.exists():
                remove(self.finished)
                self.folder.rename(self.finished)

    def _finished_before(self) -> Arrays | None:
        """The last finished run's, if it is this very training: of another run, or of this stage for another reason."""
        if read_provenance(self.finished) != self.provenance or (state := _read(self.finished)) is None:
            return None
        note(
            f"{self.role}: takes the result of the run that it waited for"
            if self._waited
            else f"{self.role}: takes the finished training in {self.finished}: the same parameters, inputs and code. "
            "To train anew, delete that folder"
        )
        return state

    def _longer(self) -> Arrays | None:
        """The last finished run, if this one is the same with more epochs and its rates so far are the same.

        A piecewise schedule's rate follows from the epoch alone, a cosine's from the number of epochs too.
        """
        before = read_provenance(self.finished)
        epochs = f"{self.role}.epochs"
        if before is None or self.provenance.parameters[epochs] <= (done := before.parameters.get(epochs, 0)):
            return None
        ours, theirs = (until(done, provenance) for provenance in (self.provenance, before))
        if ours.parameters != theirs.parameters or ours.inputs != theirs.inputs:
            return None
        why = None
        if ours.parameters["training.schedule"] == "cosine":
            why = "a cosine's learning rates depend on the number of epochs from the first one on"
        elif ours.code != theirs.code:
            why = f"the code has changed since then: {listed(ours.differences(theirs))}"
        if why:
            note(f"{self.role}: the last run's {done} epochs are of no use to a run of more: {why}. It starts anew")
            return None
        note(f"{self.role}: as the last run, which ended after {done} epochs, but with more")
        return _read(self.finished)

    def _with_other_code(self) -> Arrays | None:
        """The newest unfinished run of the role, if only its code is another and the user wants it; else: says why."""
        found = sorted(state_dir("training").glob(f"{self.role}-*/{PROVENANCE}"), key=lambda path: path.stat().st_mtime)
        for folder in [path.parent for path in reversed(found) if path.parent != self.finished]:
            try:
                with _lock_of(folder.name).acquire(blocking=False):
                    if before := read_provenance(folder):
                        return self._taken_over(folder, before)
            except Timeout:  # it is under way
                pass
        return None

    def _taken_over(self, folder: Path, before: Provenance) -> Arrays | None:
        changed = listed(self.provenance.differences(before))
        same_but_for_code = (self.provenance.parameters, self.provenance.inputs) == (before.parameters, before.inputs)
        if same_but_for_code and os.environ.get(OTHER_CODE) == "1":
            note(f"{self.role}: goes on from {folder} with other code, as {OTHER_CODE} says: {changed}")
            folder.rename(self.folder)
            return _read(self.folder)
        either = f", or set {OTHER_CODE}=1 to go on with the code as it is" if same_but_for_code else ""
        note(
            f"{self.role}: starts anew, because the unfinished training in {folder} differs from this one in "
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
    if (folder.exists() and not folder.is_dir()) or (folder / PROVENANCE).is_dir():
        problem = "files and folders have changed places"
    elif not (folder / STATE).exists():
        return None
    else:
        try:
            state = read_state(folder / STATE)
            TrainState(**state["progress"])
            if state.keys() == PARTS:
                return state
            problem = f"it holds {', '.join(state)}"
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            problem = f"{type(error).__name__}: {error}"
    note(f"the training state {folder} is damaged and removed, and nothing of it is used: {problem}")
    remove(folder)
    return None
