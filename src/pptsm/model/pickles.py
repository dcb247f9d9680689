"""Reading weight files without running what is in them.

A `.pdparams` file is a Python pickle, a `.pth` file holds one, and unpickling can call anything. Here only
what arrays are made of is allowed; any other name stops the read before it is looked up. PyTorch itself is
not needed: its two file formats (a ZIP since 1.6, a stream of pickles before) are read here.
"""

import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pptsm.errors import UserError

# module, name: what a file of numpy arrays refers to
ARRAY_NAMES = {
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}
# PyTorch's storage classes stand for an element type
TORCH_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# Training logs that mmaction2 leaves in its files; read as nothing.
LOG_NAMES = {("mmengine.logging.history_buffer", "HistoryBuffer"), ("mmengine.logging.message_hub", "MessageHub")}
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
WEIGHTS = "weights.pdparams"  # the file of weights in a folder
MAX_BYTES = 8 << 30
MAX_RATIO = 20  # weights hardly compress: more is a file made to fill memory

# What PaddleX (MODEL_infer.tar) and PaddleVideo (a ZIP) publish for serving.
STATIC_GRAPH = (".pdiparams", ".pdmodel")
INFERENCE_ARCHIVE = (
    "it is an inference archive, a static graph for serving, and no weights to train from or to convert. Take the "
    "training weights of the same model: of PaddleX MODEL_pretrained.pdparams in place of MODEL_infer.tar; "
    "`pptsm weights` lists what is known."
)

DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, MemoryError,
    ImportError, OverflowError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

ReadStorage = Callable[[str, np.dtype[Any], int], NDArray[Any]]  # key, element type, count -> values


class WeightsError(UserError):
    """A weights file is damaged, dangerous, or belongs to another network."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numbers, strings, containers and arrays; nothing else."""

    def __init__(self, file: IO[bytes], read_storage: ReadStorage | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        """Look up an allowed name.

        Raises:
            WeightsError: any other name.
        """
        if (module, name) in ARRAY_NAMES:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) in LOG_NAMES:
            return _Ignored
        if self._read_storage is not None:
            if module == "torch" and name in TORCH_STORAGES:
                return np.dtype(TORCH_STORAGES[name])
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return _rebuild_tensor
            if (module, name) == ("torch._utils", "_rebuild_parameter"):
                return _rebuild_parameter
            if (module, name) == ("torch", "Size"):
                return tuple
        raise WeightsError(
            f"it holds a reference to {module}.{name}, which is no array: a weights file never needs that. "
            "Nothing of it was run. Do not use this file."
        )

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        """A PyTorch storage: ("storage", element type, key, place, count, ...)."""
        if self._read_storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("a reference to something outside the file")
        return self._read_storage(str(pid[2]), pid[1], int(pid[4]))


class _Ignored:
    """Stands for a logged object; takes any state and keeps none."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_weights(path: Path) -> Any:
    """The object in a weights file of Paddle or PyTorch, tensors as numpy arrays.

    Raises:
        WeightsError: the file is missing, damaged, too large, or refers to anything but arrays.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_torch_zip(path)
        with path.open("rb") as file:
            content = ArrayUnpickler(file).load()
            return _read_torch_stream(file) if content == TORCH_MAGIC else content
    except WeightsError as error:
        raise WeightsError(f"{path} was refused: {error}") from None
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}.") from None
    except DAMAGED as error:
        if _holds_static_graph(path):
            raise WeightsError(f"{path} was refused: {INFERENCE_ARCHIVE}") from None
        raise WeightsError(
            f"{path} is no weights file, or is cut off ({type(error).__name__}: {str(error)[:120]}). "
            f"It has {path.stat().st_size} bytes; fetch it again."
        ) from None


def _holds_static_graph(path: Path) -> bool:
    """Whether a file is a tar archive with a network for serving in it."""
    try:
        with tarfile.open(path) as archive:
            return any(name.endswith(STATIC_GRAPH) for name in archive.getnames())
    except (tarfile.TarError, EOFError, zlib.error):
        return False


def write_arrays(path: Path, values: Any) -> None:
    """Pickle arrays and containers of them; the same values give the same bytes, and `paddle.load` reads it."""
    with path.open("wb") as file:
        pickle.dump(values, file, protocol=4)


def as_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors of a (nested) state dict as numpy arrays."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return as_arrays(value)
        return np.asarray(value.numpy()) if hasattr(value, "numpy") else value

    return {key: convert(value) for key, value in state.items()}


def _read_torch_zip(path: Path) -> Any:
    """PyTorch since 1.6: NAME/data.pkl refers to raw values in NAME/data/KEY."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        size = sum(info.file_size for info in infos)
        if size > MAX_BYTES or size > MAX_RATIO * max(path.stat().st_size, 1):
            raise WeightsError(
                f"unpacked it would take {size / 1e9:.1f} GB, {size / path.stat().st_size:.0f} times its own size. "
                "Weights do not compress like that."
            )
        pickles = [info.filename for info in infos if info.filename.rpartition("/")[2] == "data.pkl"]
        if any(info.filename.endswith(STATIC_GRAPH) for info in infos):
            raise WeightsError(INFERENCE_ARCHIVE)
        if len(pickles) != 1:
            raise WeightsError("it is a ZIP archive without PyTorch's data.pkl.")
        folder = pickles[0].removesuffix("data.pkl")

        def read_storage(key: str, element: np.dtype[Any], count: int) -> NDArray[Any]:
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype=element, count=count)

        with archive.open(pickles[0]) as file:
            return ArrayUnpickler(file, read_storage).load()


def _read_torch_stream(file: IO[bytes]) -> Any:
    """PyTorch before 1.6: after the magic number two headers, the object, the keys, and the values by key."""
    for _ in range(2):
        ArrayUnpickler(file).load()
    storages: dict[str, NDArray[Any]] = {}
    room = MAX_BYTES

    def read_storage(key: str, element: np.dtype[Any], count: int) -> NDArray[Any]:
        nonlocal room
        if key not in storages:
            room -= count * element.itemsize
            if count < 0 or room < 0:
                raise WeightsError(f"it asks for more than {MAX_BYTES >> 30} GB of memory.")
            storages[key] = np.zeros(count, dtype=element)  # filled below: tensors are views of it
        return storages[key]

    content = ArrayUnpickler(file, read_storage).load()
    for key in ArrayUnpickler(file).load():
        values = storages[str(key)]
        count = int.from_bytes(file.read(8), "little")
        data = file.read(count * values.itemsize)
        if count != len(values) or len(data) != values.nbytes:
            raise EOFError("the values end before the names do")
        values[:] = np.frombuffer(data, dtype=values.dtype)
    return content


def _rebuild_tensor(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """A view of the storage; checked, for numpy does not check strides."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    empty = any(n == 0 for n in size)
    if (
        offset < 0
        or any(n < 0 for n in size)
        or any(step < 0 for step in stride)
        or (not empty and last >= len(storage))
    ):
        raise ValueError("a tensor reaches beyond its storage")
    if empty:
        return np.zeros(size, dtype=storage.dtype)
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _rebuild_parameter(tensor: NDArray[Any], *_: Any) -> NDArray[Any]:
    return tensor
