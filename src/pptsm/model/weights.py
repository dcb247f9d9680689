"""Weights from outside: their names are translated, their fit is checked, and what happened is reported.

Every file ends up as a dict of arrays under the names of `pptsm.model.network`; a file that fills too
little of the network is an error, never a silent partial load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.model.network import VideoNetwork
from pptsm.model.pickles import WeightsError, read_paddle

Arrays = dict[str, NDArray[Any]]
HEAD = ("head.fc.weight", "head.fc.bias")


@dataclass(frozen=True)
class LoadReport:
    """What became of each name. The head's names are in `reinitialised` where the file has other classes."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    reinitialised: list[str]
    wrong_shape: list[str]
    coverage: float  # share of the network's values, without its head, that the file filled

    def summary(self) -> str:
        """One line for the log."""
        return (
            f"{len(self.loaded)} arrays loaded ({self.coverage:.1%} of the values below the head), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, "
            f"{len(self.reinitialised)} re-initialised, {len(self.wrong_shape)} of wrong shape"
        )


def load_weights(model: VideoNetwork, path: Path, min_coverage: float = 1.0) -> LoadReport:
    """Fill a network from a weights file.

    Args:
        model: keeps its own values where the file has none, and in the head if classes differ.
        path: the file.
        min_coverage: least share of the network's values, without its head, that the file must fill.

    Returns:
        What was loaded and what was not.

    Raises:
        WeightsError: the file cannot be read safely, or covers too little; the model is then unchanged.
    """
    found = named_arrays(read_paddle(path), path)
    return fill(model, found, str(path), min_coverage)


def named_arrays(content: Any, path: Path) -> Arrays:
    """The arrays of a state dict by name.

    Raises:
        WeightsError: it is no state dict.
    """
    if isinstance(content, Mapping):
        arrays = {str(name): np.asarray(value) for name, value in content.items() if isinstance(value, np.ndarray)}
        if arrays:
            return arrays
    raise WeightsError(f"{path} holds no state dict (names with arrays), but a {type(content).__name__}.")


def fill(model: VideoNetwork, found: Arrays, origin: str, min_coverage: float) -> LoadReport:
    """Put arrays under our own names into a network; see `load_weights`."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    fitting = {name: array for name, array in found.items() if own.get(name) == array.shape}
    wrong = [name for name, array in found.items() if name in own and own[name] != array.shape]
    reinitialised = [name for name in HEAD if name not in fitting]
    body = {name: int(np.prod(shape)) for name, shape in own.items() if name not in HEAD}
    report = LoadReport(
        loaded=sorted(fitting),
        missing=sorted(set(own) - set(found) - set(HEAD)),
        unexpected=sorted(set(found) - set(own)),
        reinitialised=reinitialised,
        wrong_shape=sorted(set(wrong) - set(HEAD)),
        coverage=sum(size for name, size in body.items() if name in fitting) / sum(body.values()),
    )
    if report.coverage < min_coverage:
        examples = [
            f"{name} is {list(found[name].shape)} there and {list(own[name])} here" for name in report.wrong_shape[:3]
        ]
        examples += [f"{name} is missing" for name in report.missing[:3]]
        raise WeightsError(
            f"{origin} does not fit this network: it fills {report.coverage:.1%} of it, at least {min_coverage:.1%} "
            f"is asked for. {'; '.join(examples)}. Check network, depth and width in params.yaml."
        )
    model.set_state_dict(fitting)
    return report
