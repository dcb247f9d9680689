"""Reading weight files without running what is in them.

A `.pdparams` file is a Python pickle, and unpickling can call anything. Here only what arrays are made of
is allowed; any other name stops the read before it is looked up.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pptsm.errors import UserError

# module, name -> what it stands for in a file of arrays
ALLOWED = {
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class WeightsError(UserError):
    """A weights file is damaged, dangerous, or belongs to another network."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numbers, strings, containers and numpy arrays; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up an allowed name.

        Raises:
            WeightsError: any other name.
        """
        if (module, name) not in ALLOWED:
            raise WeightsError(
                f"it holds a reference to {module}.{name}, which is no array: a weights file never needs that. "
                "Nothing of it was run. Do not use this file."
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_paddle(path: Path) -> Any:
    """The object in a file that `paddle.save` or `write_arrays` wrote, arrays as numpy arrays.

    Raises:
        WeightsError: the file is missing, damaged, or refers to anything but arrays.
    """
    try:
        with path.open("rb") as file:
            return ArrayUnpickler(file, encoding="latin1").load()
    except WeightsError as error:
        raise WeightsError(f"{path} was refused: {error}") from None
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror}.") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        MemoryError,
        ImportError,
    ) as error:
        raise WeightsError(
            f"{path} is no weights file, or is cut off ({type(error).__name__}: {str(error)[:120]}). "
            f"It has {path.stat().st_size} bytes; fetch it again."
        ) from None


def write_arrays(path: Path, values: Any) -> None:
    """Pickle arrays and containers of them; the same values give the same bytes, and `paddle.load` reads it."""
    with path.open("wb") as file:
        pickle.dump(values, file, protocol=4)


def as_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors of a (nested) state dict as numpy arrays."""
    return {
        key: as_arrays(value)
        if isinstance(value, dict)
        else np.asarray(value.numpy())
        if hasattr(value, "numpy")
        else value
        for key, value in state.items()
    }
