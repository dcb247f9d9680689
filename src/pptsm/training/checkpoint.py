"""The state of a training run between two steps, kept outside every stage's outputs.

DVC empties a stage's outputs before it runs, so what a run needs to go on lies in the state folder: of a run that
was killed, under a key of all that decides its result; of the last run of a role that came to its end, under the
role's name, for a training that is made longer. Beside each state stands what its key was made of, so that a run
which cannot take it up says why.

A state is one file of safetensors: arrays, and all the rest as JSON in its header. No random state is in it, because
every step seeds its own.

Several checkouts, and containers, may share the folder. A state belongs to the run that holds its lock, which the
kernel takes back from a process that dies; a role's lock is held for moments, while states change their names.
"""

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paddle
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pptsm.distributed.device import computed_with
from pptsm.distributed.ranks import Ranks, is_helper
from pptsm.model.network import VideoNetwork
from pptsm.params.choices import Source
from pptsm.runtime import fingerprint
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import remove, state_dir, whole_file
from pptsm.training.signals import Stopping
from pptsm.weights.state_dict import as_arrays

Arrays = dict[str, Any]
Item = TypeVar("Item")

OTHER_CODE = "PPTSM_OTHER_CODE"  # set to 1: an unfinished training goes on although the code is another
STATE, MADE_OF = "state.safetensors", "made_of.json"
STATE_BEFORE = "state.pdparams"  # as older versions wrote it
# In a state's JSON: the one key of what stands for an array, with its name; and the header's key of the JSON itself.
# (One key, because safetensors writes several in any order.) Before the JSON stands the digest of the whole file, taken
# while zeros are in its place.
ARRAY, REST = "array", "state"
BLANK = "0" * 64
PARTS = {"progress", "models", "optimizer", "scaler", "computed_with"}
SHOWN = 8  # differences in a sentence


@dataclass(frozen=True)
class MadeOf:
    """All that decides the result of a run, by name: parameters, hashes of inputs, and hashes of code."""

    parameters: dict[str, Any]  # "training.base_lr": 0.02
    inputs: dict[str, str]  # "the index": hash
    code: dict[str, str]  # "training/loop.py": digest, "paddle": version

    def key(self, role: str) -> str:
        """A short name for the run: its role and a hash."""
        return f"{role}-{hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()[:16]}"

    def revision(self, role: str, weights: Arrays) -> str:
        """A name for what came of the run: its role and a hash of parameters, inputs and weights.

        Code is not in it: where other code gives the same weights, nothing that is made of them changes.
        """
        digest = hashlib.sha256(json.dumps([self.parameters, self.inputs], sort_keys=True).encode())
        for name, array in sorted(weights.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return f"{role}-{digest.hexdigest()[:16]}"

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


def code_of(role: str, source: Source) -> dict[str, str]:
    """The code that decides the result of a role's training: file or library -> digest or version.

    ONNX Runtime computes other stages' results with a file that training imports too; and no video is decoded where
    training reads archives of JPEGs, which simplejpeg and OpenCV decode.
    """
    unused = {"onnxruntime"} | ({"av", "decord"} if source == "archive" else set())
    return {name: value for name, value in fingerprint.of_stage(role).items() if name not in unused}


@dataclass
class Progress:
    """What has been reached: finished epochs, the history of each, the best epoch's weights, and steps beyond."""

    epochs_done: int
    history: list[dict[str, float]]
    best_top1: float
    best_weights: list[Arrays] | None  # of each network that learns; None: the last epoch's are kept
    best_epoch: int = 0  # counted from 1; 0: none yet
    sums: dict[str, Any] | None = None  # `Tally.sums` of the epoch that is under way; None: no step of it is done

    def within(self, sums: dict[str, Any]) -> "Progress":
        """The same and some steps more, with what they have come to."""
        return replace(self, sums=sums)

    def after(self, row: dict[str, float]) -> "Progress":
        """The same and an epoch more, with its row of the history."""
        return replace(self, epochs_done=self.epochs_done + 1, history=[*self.history, row], sums=None)

    @property
    def and_steps(self) -> str:
        """The steps beyond the last whole epoch, for a sentence."""
        return f" and {self.sums['steps']} steps" if self.sums else ""


class Checkpoint:
    """One run's state: each written whole in place of the one before, the last kept when the outputs are in place."""

    def __init__(self, role: str, made_of: MadeOf, save_every_min: float = math.inf) -> None:
        """Of a role's run; within an epoch a state is due so many minutes after the one before."""
        self.role = role
        self.made_of = made_of
        self.key = made_of.key(role)
        self.folder = state_dir("training") / self.key
        self.finished = state_dir("training") / f"{role}-finished"
        self.ranks = Ranks()  # rank 0 alone holds, reads and writes the state; after every step all have the same
        self._stopping = Stopping(role)
        self._save_every_min = save_every_min
        self._saved_at = time.monotonic()
        self._waited = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs of the same training out; where there is one, wait for its end and then take what it left.

        A process that was started or launched as another rank than 0 has nothing to hold: its rank 0 does.

        Raises:
            Stopped: a signal asked for it, once all is saved.
        """
        if is_helper():
            with self._stopping.heeded():
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
            with self._stopping.heeded():
                yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # who waits for it looks whether it is still there
            lock.release()

    def is_wanted(self) -> bool:
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

    def save(self, progress: Progress, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> None:
        """Write all that the next step depends on; to be called by all ranks alike.

        Raises:
            Stopped: a signal had asked a rank for it before all was saved.
        """
        if not self.ranks.rank:
            self._write(progress, models, optimizer, scaler)
        self._saved_at = time.monotonic()
        asked = max(self.ranks.gather([self._stopping.asked]))
        self._stopping.saved(f"epoch {progress.epochs_done}{progress.and_steps}", asked)

    def _write(self, progress: Progress, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> None:
        state = {
            "progress": vars(progress),
            "models": [as_arrays(model.state_dict()) for model in models],
            "optimizer": as_arrays(optimizer.state_dict()),
            "scaler": as_arrays(scaler.state_dict()),
            "computed_with": computed_with(),
        }
        with whole_file(self.folder / STATE) as partial:
            write_state(partial, state)
        with whole_file(self.folder / MADE_OF) as partial:
            partial.write_text(json.dumps(vars(self.made_of), indent=1), encoding="utf-8")

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
            return _read(self.folder) or self._finished_before() or self._longer() or self._with_other_code()

    def finish(self) -> None:
        """Keep the state as that of the role's last finished run, in place of the one before."""
        with _lock_of(self.role):
            if self.folder.exists():
                remove(self.finished)
                self.folder.rename(self.finished)

    def _finished_before(self) -> Arrays | None:
        """The last finished run's, if it is this very training: of another run, or of this stage for another reason."""
        if _made_of(self.finished) != self.made_of or (state := _read(self.finished)) is None:
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
        found = sorted(state_dir("training").glob(f"{self.role}-*/{MADE_OF}"), key=lambda path: path.stat().st_mtime)
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
            f"{self.role}: starts anew, because the unfinished training in {folder} differs from this one in "
            f"{changed}. To go on from it, stop this run and put that back (`git diff`, `git checkout`){either}; to "
            "forget it, delete that folder"
        )
        return None


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write arrays, and containers of arrays and plain values, as one file of safetensors with a digest of it all."""
    arrays: Arrays = {}
    rest = json.dumps(_without_arrays(state, "", arrays))
    content = bytearray(save(arrays, {REST: BLANK + rest}))  # its `save_file` shuts out users of a shared folder
    content[_place_of_digest(content)] = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content)


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, every bit of it.

    Raises:
        SafetensorError, OSError, ValueError, KeyError, TypeError: it is damaged, or something else.
    """
    content = bytearray(path.read_bytes())
    place = _place_of_digest(content)
    written = bytes(content[place])
    content[place] = BLANK.encode()
    if hashlib.sha256(content).hexdigest().encode() != written:
        raise ValueError("its bytes are not those that were written")
    arrays = load(bytes(content))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    state: dict[str, Any] = json.loads(
        header["__metadata__"][REST].removeprefix(BLANK),
        object_hook=lambda found: arrays[found[ARRAY]] if found.keys() == {ARRAY} else found,
    )
    return state


def _place_of_digest(content: bytearray) -> slice:
    """Where the digest stands in the header, before the JSON of the state."""
    start = content.index(f'"__metadata__":{{"{REST}":"'.encode()) + len(f'"__metadata__":{{"{REST}":"')
    return slice(start, start + len(BLANK))


def _without_arrays(value: Any, name: str, arrays: Arrays) -> Any:
    """`value` with each array replaced by its name in `arrays`, where it is put: "models.0.head.fc.bias"."""
    match value:
        case np.ndarray():
            arrays[name] = np.require(value, requirements="C")  # safetensors writes the bytes as they lie
            return {ARRAY: name}
        case dict():
            return {key: _without_arrays(each, f"{name}.{key}".lstrip("."), arrays) for key, each in value.items()}
        case list():
            return [_without_arrays(each, f"{name}.{number}", arrays) for number, each in enumerate(value)]
    return value


def _lock_of(name: str) -> FileLock:
    """The lock of a state, by its key, or of a role's states among each other."""
    return FileLock(state_dir("locks") / f"{name}.lock")


def _read(folder: Path) -> Arrays | None:
    """The state in a folder; None where there is none. A damaged one is removed: nobody can go on from it."""
    problem = ""
    if (folder.exists() and not folder.is_dir()) or (folder / MADE_OF).is_dir():
        problem = "files and folders have changed places"
    elif not (folder / STATE).exists():
        if (folder / STATE_BEFORE).exists():
            note(f"the training state {folder} was written by an older version and is not used; it may be deleted")
        return None
    else:
        try:
            state = read_state(folder / STATE)
            Progress(**state["progress"])
            if state.keys() == PARTS:
                return state
            problem = f"it holds {', '.join(state)}"
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            problem = f"{type(error).__name__}: {error}"
    note(f"the training state {folder} is damaged and removed, and nothing of it is used: {problem}")
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
    parameters["training.step_epochs"] = [step for step in parameters.get("training.step_epochs", []) if step < epoch]
    return MadeOf(parameters, made_of.inputs, made_of.code)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
