"""What decides the result of a training, by name: the key of its state, and the reason where a state does not fit."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pptsm.params.choices import Source
from pptsm.runtime import fingerprint
from pptsm.runtime.console import note
from pptsm.training.state_file import Arrays

PROVENANCE = "provenance.json"
SHOWN = 8  # differences in a sentence


@dataclass(frozen=True)
class Provenance:
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

    def differences(self, other: "Provenance") -> list[str]:
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


def read_provenance(folder: Path) -> Provenance | None:
    """What a state's key was made of; None where there is no state, or one of another version, or a damaged one."""
    try:
        return TypeAdapter(Provenance).validate_json((folder / PROVENANCE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        note(f"{folder / PROVENANCE} cannot be read: no other training goes on from this state")
        return None


def until(epoch: int, provenance: Provenance) -> Provenance:
    """Without the parameters that decide only what comes from an epoch on, under a piecewise schedule."""
    parameters = {name: value for name, value in provenance.parameters.items() if not name.endswith(".epochs")}
    parameters["training.step_epochs"] = [step for step in parameters.get("training.step_epochs", []) if step < epoch]
    return Provenance(parameters, provenance.inputs, provenance.code)


def listed(names: list[str]) -> str:
    """Names for a sentence: the first of them, and how many there are besides."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
