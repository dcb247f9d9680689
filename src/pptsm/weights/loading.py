"""Weights from outside: their names are translated, their fit is checked, and what happened is reported.

Every file ends up as a dict of arrays under the names of `pptsm.model.network`; a file that fills too
little of the network is an error, never a silent partial load.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.model.network import VideoNetwork
from pptsm.runtime.paths import StrPath
from pptsm.weights.adapters import Arrays, convert_keys, state_dict_in
from pptsm.weights.state_dict import WeightsError, read_weights


@dataclass(frozen=True)
class LoadReport:
    """What became of each name: ours, except in `ignored`, which has the file's.

    The head's names are in `reinitialised` where the file has none, or one for other classes. Values that the network
    computes from others are in no list but `ignored`.
    """

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    reinitialised: list[str]
    wrong_shape: list[str]
    ignored: list[str]
    spread: list[str]  # of `loaded`: weights for frames, halved, and taken for frames and for differences
    coverage: float  # share of the network's values, without its head, that the file filled

    def summary(self) -> str:
        """One line for the log."""
        spread = ", the first layer's halved for frames and differences" if self.spread else ""
        return (
            f"{len(self.loaded)} arrays loaded ({self.coverage:.1%} of the values below the head), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, "
            f"{len(self.reinitialised)} re-initialised, {len(self.wrong_shape)} of wrong shape{spread}"
        )


def load_weights(
    model: VideoNetwork, path: StrPath, min_coverage: float = 1.0, *, new_head: bool = False
) -> LoadReport:
    """Fill a network from a weights file of any known dialect (see `pptsm.weights.adapters`).

    Args:
        model: keeps its own values where the file has none, and in the head if the classes differ in number.
        path: a Paddle or PyTorch file.
        min_coverage: least share of the network's values, without its head, that the file must fill.
        new_head: keep the model's own head even where the file's would fit (other classes, as many).

    Returns:
        What was loaded and what was not.

    Raises:
        WeightsError: the file cannot be read safely, covers too little, holds names that this network has no place or
            another shape for, or values that are no numbers; the model is then unchanged.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    path = Path(path)
    content = read_weights(path)
    try:
        found = state_dict_in(content)
        arrays, ignored = convert_keys(found, own, model.backbone.block_names)
    except WeightsError as error:
        raise WeightsError(f"{path} was refused: {error}") from None
    if not found:
        raise WeightsError(f"{path} holds no state dict (names with arrays).")
    # a file may hold them as they were before its training went on, so they are not taken from any
    computed = [name for name in model.computed_names if arrays.pop(name, None) is not None]
    own = {name: shape for name, shape in own.items() if name not in model.computed_names}
    spread = _spread_over_both(model, arrays, own)
    head = model.head_names
    if new_head:
        arrays = {name: array for name, array in arrays.items() if name not in head}
    fitting = {name: array for name, array in arrays.items() if own.get(name) == array.shape}
    body = {name: int(np.prod(shape)) for name, shape in own.items() if name not in head}
    report = LoadReport(
        loaded=sorted(fitting),
        missing=sorted(set(body) - set(arrays)),
        unexpected=sorted(set(arrays) - set(own)),
        reinitialised=[name for name in head if name not in fitting],
        wrong_shape=sorted(name for name in body if name in arrays and name not in fitting),
        ignored=ignored + computed,
        spread=spread,
        coverage=sum(size for name, size in body.items() if name in fitting) / sum(body.values()),
    )
    if computed and (source := next((name for name in report.missing if ".dw_conv_list." in name), None)):
        raise WeightsError(
            f"{path} was saved for inference: it has {computed[0]}, but not what that was computed from ({source}), "
            "which training and export begin with. Take the training weights of the same network."
        )
    # names without a place, or in another shape, mean another architecture, however much of this one happens to fit
    if report.coverage < min_coverage or report.unexpected or report.wrong_shape:
        raise WeightsError(_misfit(path, report, arrays, own, min_coverage))
    try:
        values = {name: as_float32(name, array) for name, array in fitting.items()}
    except WeightsError as error:
        raise WeightsError(f"{path} was refused: {error}") from None
    model.set_state_dict(values)
    return report


def _spread_over_both(model: VideoNetwork, arrays: Arrays, own: dict[str, tuple[int, ...]]) -> list[str]:
    """Make a first convolution for frames one for frames and differences; its name, if there was one to change.

    Each half has half of the weights, so that sums keep about their size: as timm does for images of more channels.
    """
    name = model.stem_name
    found, shape = arrays.get(name), own[name]
    if model.input != "both" or found is None or found.shape != (shape[0], 3, *shape[2:]) or found.dtype.kind != "f":
        return []
    arrays[name] = np.concatenate([found, found], axis=1) * found.dtype.type(0.5)
    return [name]


def as_float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """An array of a network as it computes with it.

    Raises:
        WeightsError: its values are no real numbers, or one of them is not a number, infinite, or too large for
            float32; or it is a variance below 0, whose square root batch norm takes.
    """
    if array.dtype.kind != "f":
        raise WeightsError(
            f"its array {name!a} is of type {array.dtype}, and weights are real numbers: perhaps the file is "
            "quantised. Take the weights from before that."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    if not (finite := np.isfinite(values)).all():
        raise WeightsError(
            f"{(~finite).sum():,} of the {values.size:,} values of its array {name!a} are not a number, or infinite: "
            "the training that wrote it has diverged, or the file is damaged. Take weights from before that, or fetch "
            "it again."
        )
    if name.endswith("._variance") and (values < 0).any():
        raise WeightsError(f"its array {name!a} has variances below 0: the file is damaged. Fetch it again.")
    return values


def _misfit(
    path: Path, report: LoadReport, arrays: Arrays, own: dict[str, tuple[int, ...]], min_coverage: float
) -> str:
    examples = [
        f"{name} is {list(arrays[name].shape)} there, {list(own[name])} here" for name in report.wrong_shape[:3]
    ]
    examples += [f"{name} is missing" for name in report.missing[:3]]
    examples += [f"{name} has no place here" for name in report.unexpected[:3]]
    return (
        f"{path} does not fit this network: it fills {report.coverage:.1%} of it (at least {min_coverage:.1%} is asked "
        f"for) and has {len(report.unexpected)} arrays without a place, {len(report.wrong_shape)} of another shape. "
        f"{'; '.join(examples)}. "
        "Check network, depth, width, segments and attention in params.yaml, and clip.input."
    )
