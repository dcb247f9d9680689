"""The state of a training run between two epochs, kept outside every stage's outputs.

DVC empties a stage's outputs before it runs, so what a killed run needs to go on lies in the state folder,
under a key of everything that decides the result: other parameters or inputs never pick it up.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pptsm.console import note
from pptsm.files import remove_tree, state_dir, whole_file
from pptsm.model.device import computed_with
from pptsm.model.network import VideoNetwork
from pptsm.model.pickles import as_arrays, read_weights, write_arrays

Arrays = dict[str, Any]


def run_key(role: str, **decides: Any) -> str:
    """A short name for a run: its role and a hash of all that decides its result.

    Args:
        role: "teacher" or "student" (with its peer, if it has one).
        decides: parameters and hashes of inputs, as JSON-able values. The code that trains and Paddle's
            version are added here: a mended loss must not go on from weights of the broken one.
    """
    package = Path(__file__).parent.parent
    code = hashlib.sha256()
    for wing in ("data", "evaluation", "model", "training"):
        for file in sorted((package / wing).glob("*.py")):
            code.update(file.read_bytes())
    text = json.dumps({**decides, "code": code.hexdigest(), "paddle": paddle.__version__}, sort_keys=True)
    return f"{role}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass
class Progress:
    """What has been reached: finished epochs, the history of each, and the best epoch's weights."""

    epochs_done: int
    history: list[dict[str, float]]
    best_top1: float
    best_weights: list[Arrays] | None  # of each network that learns


class Checkpoint:
    """One run's state file; written whole after each epoch, removed when the run's outputs are in place."""

    def __init__(self, key: str) -> None:
        self.folder = state_dir("training") / key
        self.path = self.folder / "state.pdparams"

    def save(self, progress: Progress, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> None:
        """Write all that the next epoch depends on. Random states are not among it: every epoch seeds its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "progress": vars(progress),
            "models": [as_arrays(model.state_dict()) for model in models],
            "optimizer": as_arrays(optimizer.state_dict()),
            "scaler": as_arrays(scaler.state_dict()),
            "computed_with": computed_with(),
        }
        with whole_file(self.path) as partial:
            write_arrays(partial, state)

    def load(self, models: list[VideoNetwork], optimizer: Any, scaler: Any) -> Progress | None:
        """Put a saved state back into models, optimiser and scaler; None where there is none."""
        if not self.path.exists():
            return None
        state = read_weights(self.path)
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

    def remove(self) -> None:
        """Forget the run."""
        remove_tree(self.folder)
