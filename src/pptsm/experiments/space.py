"""The settings among which `pptsm tune` looks: which parameters, and between what."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pptsm.experiments.graph import PARAMS
from pptsm.params.checking import check_params
from pptsm.presets.compose import merged
from pptsm.runtime.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# What decides which videos are validated on, or how: trials that differ in it cannot be compared by validation top-1.
FIXED = (
    "seed",
    "motion",
    "index",
    "validate",
    "evaluate",
    "sampling",
    "compute",
    "report",
    "serving",
    "quantize",
    "export",
)
FIGURES = 6  # of a number that is proposed: as many as are written
RANGE = re.compile(r"(?P<log>log:)?(?P<low>[^.\s][^\s]*?)\.\.(?P<high>[^\s]+)")
FORM = "KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=A|B|C, such as training.base_lr=log:0.005..0.1"


@dataclass(frozen=True)
class Searched:
    """One parameter, and what it may be."""

    key: str
    low: float | None = None  # a range, both ends included
    high: float | None = None
    log: bool = False
    whole: bool = False  # whole numbers alone
    choices: tuple[Any, ...] = ()

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna; choices by their place, because they may be lists."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(tuple(range(len(self.choices))))
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, proposed: Any) -> Any:
        """What is written into params.yaml for what Optuna proposes."""
        if self.choices:
            return self.choices[proposed]
        return int(proposed) if self.whole else float(f"{proposed:.{FIGURES}g}")

    def proposed(self, value: Any) -> Any:
        """What Optuna would have proposed for a value of params.yaml; None: it is not among what may be."""
        if self.choices:
            return self.choices.index(value) if value in self.choices else None
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        assert self.low is not None
        assert self.high is not None
        return value if fits and self.low <= value <= self.high else None

    def ends(self) -> list[Any]:
        """The values that show whether all may be: both ends of a range, or each choice."""
        return list(self.choices) or [self.value(self.low), self.value(self.high)]


def read_space(
    texts: list[str], values: dict[str, Any], check: Callable[[Any, str], Any] = check_params
) -> list[Searched]:
    """What the user asked for, checked against the parameters.

    Args:
        texts: such as `training.base_lr=log:0.005..0.1`, `training.batch_size=8|16` or `student.epochs=5..20`.
        values: of params.yaml.
        check: refuses values, with the name of their file.

    Raises:
        UserError: a text cannot be read, a parameter is unknown or decides what is validated, or a value is refused.
    """
    if not texts:
        raise UserError(f"there is nothing to look for: name parameters by -s {FORM}.")
    found = [_read(text) for text in texts]
    if len({each.key for each in found}) < len(found):
        raise UserError(f"a parameter stands in two of {', '.join(texts)}. Name each once.")
    for each in found:
        section = each.key.partition(".")[0]
        if section in FIXED:
            raise UserError(
                f"{each.key} cannot be tuned: {section} decides which videos are looked at, or changes no training. "
                "Trials are compared by the same validation videos."
            )
        if not _is_there(values, each.key):
            raise UserError(f"params.yaml has no {each.key}. Name a parameter as it stands there: section.key.")
        for end in each.ends():
            check(merged(values, nested({each.key: end})), PARAMS)
    return found


def _read(text: str) -> Searched:
    key, separator, said = text.partition("=")
    if not separator or not re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)*", key):
        raise UserError(f"-s {text!r} names no parameter. It is {FORM}.")
    if "|" in said:
        choices = tuple(_plain(part, text) for part in said.split("|"))
        if any(choices.count(choice) > 1 for choice in choices):
            raise UserError(f"-s {text!r} names a value twice.")
        return Searched(key, choices=choices)
    found = RANGE.fullmatch(said)
    ends = [_plain(found[end], text) for end in ("low", "high")] if found else []
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)]
    if found is None or len(numbers) < 2:
        raise UserError(f"-s {text!r} has no range and no choices. It is {FORM}.")
    low, high = numbers
    if not low < high or (found["log"] and low <= 0):
        raise UserError(f"-s {text!r}: the lower end comes first, and is above 0 where the range is log:.")
    whole = all(isinstance(end, int) for end in numbers)
    return Searched(key, low, high, log=bool(found["log"]), whole=whole)


def _plain(text: str, said: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        raise UserError(f"-s {said!r}: {text!r} is no value of YAML. It is {FORM}.") from None


def _is_there(values: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Keys with dots as maps in maps."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        inner = found
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def override(key: str, value: Any) -> str:
    """A value as `dvc exp run --set-param` takes it: in one line of YAML."""
    with StringIO() as file:
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style, yaml.width = True, 1 << 16
        yaml.dump(value, file)
        return f"{key}={file.getvalue().removesuffix('...' + chr(10)).strip()}"


def params_at(root: Path, key: str) -> Any:
    """The value of a parameter in params.yaml; None where it has none."""
    from pptsm.params.reading import read_sections

    value: Any = read_sections(root / PARAMS)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def params_of(root: Path) -> dict[str, Any]:
    """The values of params.yaml, checked.

    Raises:
        UserError: they cannot be used.
    """
    from pptsm.params.reading import read_sections

    values = read_sections(root / PARAMS)
    check_params(values, PARAMS)
    return values
