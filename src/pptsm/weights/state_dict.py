"""Reading weight files without running what is in them.

A `.pdparams` file is a Python pickle, a `.pth` file holds one, and unpickling can call anything: `unpickler` allows
only what arrays are made of. PyTorch itself is not needed: its two file formats (a ZIP since 1.6, a stream of pickles
before) are read here.
"""

import lzma
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.paths import StrPath
from pptsm.weights.unpickle import ArrayUnpickler, BoundedFile, WeightsError

__all__ = ["WEIGHTS", "WeightsError", "as_arrays", "read_weights", "write_arrays"]

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
    OverflowError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError,
)  # fmt: skip


def read_weights(path: StrPath) -> Any:
    """The object in a weights file of Paddle or PyTorch, tensors as numpy arrays, bfloat16 as float32.

    Raises:
        WeightsError: the file is missing, damaged, too large, or refers to anything but arrays.
    """
    path = Path(path)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise WeightsError("it is no file. Name the file of weights.")
        if facts.st_size > MAX_BYTES:
            raise WeightsError(f"it has {facts.st_size / 1e9:.1f} GB, and at most {MAX_BYTES >> 30} are read.")
        if zipfile.is_zipfile(path):
            return _read_torch_zip(path)
        with path.open("rb") as file:
            content = ArrayUnpickler(BoundedFile(file, facts.st_size)).load()
            is_torch = isinstance(content, int) and content == TORCH_MAGIC
            return _read_torch_stream(file, facts.st_size) if is_torch else content
    except WeightsError as error:
        raise WeightsError(f"{path} was refused: {error}") from None
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}.") from None
    except DAMAGED as error:
        if _holds_static_graph(path):
            raise WeightsError(f"{path} was refused: {INFERENCE_ARCHIVE}") from None
        raise WeightsError(
            f"{path} is no weights file, or is cut off ({type(error).__name__}: {str(error)[:120]!a}). "
            f"It has {path.stat().st_size} bytes; fetch it again."
        ) from None


def _holds_static_graph(path: Path) -> bool:
    """Whether a file is a tar archive with a network for serving in it."""
    try:
        with tarfile.open(path, "r:") as archive:
            return any(name.endswith(STATIC_GRAPH) for name in archive.getnames())
    except (tarfile.TarError, OSError, *DAMAGED):
        return False


def write_arrays(path: StrPath, values: Any) -> None:
    """Pickle arrays and containers of them; the same values give the same bytes, and `paddle.load` reads it."""
    path = Path(path)
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

        storages: dict[str, NDArray[Any]] = {}  # by key: tensors may share one

        def read_storage(key: str, element: np.dtype[Any], count: int) -> NDArray[Any]:
            if key not in storages:
                storages[key] = np.frombuffer(archive.read(f"{folder}data/{key}"), dtype=element, count=count)
            return _same(storages[key], element, count)

        with archive.open(pickles[0]) as file:
            return ArrayUnpickler(BoundedFile(file, archive.getinfo(pickles[0]).file_size), read_storage).load()


def _read_torch_stream(file: IO[bytes], size: int) -> Any:
    """PyTorch before 1.6: after the magic number two headers, the object, the keys, and the values by key.

    The object is read twice: for the sizes of the values that come after it, and again with the values.
    """
    bounded = BoundedFile(file, size)
    for _ in range(2):
        ArrayUnpickler(bounded).load()
    start = file.tell()
    asked: dict[str, tuple[np.dtype[Any], int]] = {}
    room = size

    def note_storage(key: str, element: np.dtype[Any], count: int) -> NDArray[Any]:
        nonlocal room
        if key not in asked:
            room -= count * element.itemsize
        if asked.setdefault(key, (element, count)) != (element, count):
            raise ValueError("a storage of two sizes or types")
        if room < 0:
            raise EOFError("it promises more values than it has bytes")
        return np.broadcast_to(np.zeros((), element), count)  # takes no memory

    ArrayUnpickler(bounded, note_storage).load()
    keys = ArrayUnpickler(bounded).load()
    storages: dict[str, NDArray[Any]] = {}
    for key in keys:
        element, expected = asked[str(key)]
        if (count := int.from_bytes(bounded.read(8), "little")) != expected:
            raise EOFError("the values end before the names do")
        storages[str(key)] = np.frombuffer(bounded.read(count * element.itemsize), dtype=element)
    file.seek(start)
    return ArrayUnpickler(bounded, lambda key, element, count: _same(storages[key], element, count)).load()


def _same(values: NDArray[Any], element: np.dtype[Any], count: int) -> NDArray[Any]:
    """The values of a storage, if it is asked for as before."""
    if values.dtype != element or len(values) != count:
        raise ValueError("a storage of two sizes or types")
    return values
