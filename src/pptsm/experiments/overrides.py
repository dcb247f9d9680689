"""Names of experiments, and parameters that they change (`student.epochs=3`), checked before DVC gets them."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pptsm.experiments.graph import PARAMS
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import state_home

MAX_NAME = 100
NAME = re.compile(r"\w[\w-]*")  # what git takes as part of a reference, and every file system as a name


def check_overrides(overrides: list[str]) -> None:
    """Refuse overrides of other files than params.yaml.

    DVC takes a file in front (`other.yaml:a=5`), writes into it wherever it lies, and may leave git's index damaged.

    Raises:
        UserError: there is one.
    """
    from dvc.utils.cli_parse import to_path_overrides

    others = [path for path in to_path_overrides(overrides) if path != PARAMS]
    if others:
        raise UserError(
            f"overrides: {', '.join(others)} is named as the file to change, and only params.yaml may be. Leave out "
            "all before the colon; a value with a colon needs no file: report.title='a: b'."
        )


def check_name(name: str) -> str:
    """The name of an experiment, if it can be one.

    Raises:
        UserError: it has other characters than letters, digits, _ and -, or too many.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise UserError(
            f"{name!r} cannot name an experiment: it takes letters, digits, _ and -, at most {MAX_NAME}, no - in front."
        )
    return name


def values_with(root: Path, overrides: list[str]) -> Any:
    """The values of params.yaml with overrides, as DVC writes them into an experiment's copy; not checked.

    Raises:
        UserError: DVC takes one for no override.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides
    from hydra.errors import HydraException

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(root / "params.yaml", folder))
        try:
            apply_overrides(copy, to_path_overrides(overrides).get(PARAMS, []))
        except (DvcException, HydraException) as error:
            raise UserError(f"overrides: {' '.join(overrides)}: {error}") from None
        return YAML(typ="safe").load(copy)


def environment_of_copy(root: Path) -> dict[str, str]:
    """Of an experiment of `root`: the copy's own source comes first; finished work is shared with the checkout."""
    return {"PYTHONPATH": "src", "PPTSM_STATE": str(root.absolute() / state_home())}
