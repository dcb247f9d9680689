"""A reader of pickles that can make numbers, words, containers and arrays, and nothing else.

Nothing that a pickle names is ever looked up: each name it may use stands for a small function here, which takes just
what NumPy's, Paddle's and PyTorch's own pickles give it. So neither a class nor NumPy's own way of filling an array,
which believes what it is given, is within a file's reach. It is Python's own reader in Python: the one in C allocates
what a file promises before it looks whether the file is that long.
"""

import itertools
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.errors import UserError

ReadStorage = Callable[[str, np.dtype[Any], int], NDArray[Any]]  # key, element type, count -> values

MOST_STEPS = 2_000_000  # instructions of a pickle; a network of a thousand arrays takes fifty thousand
MOST_AXES = 32
NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
TEXT = re.compile(r"[SU]\d{1,9}")
BFLOAT16 = np.dtype("u2")  # NumPy has no such type: Paddle writes its bits as whole numbers, and has no use for those
LATIN = ("latin1", "latin-1", "iso-8859-1")
# PyTorch's storage classes stand for an element type.
TORCH_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# Instructions that no weights need: what makes objects of classes, and what reaches outside the file.
UNUSED = {
    pickle.OBJ[0], pickle.NEWOBJ_EX[0], pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0], pickle.NEXT_BUFFER[0],
    pickle.READONLY_BUFFER[0], pickle.PERSID[0],
}  # fmt: skip


class WeightsError(UserError):
    """A weights file is damaged, dangerous, or belongs to another network."""


@dataclass(frozen=True, eq=False)
class StandIn:
    """What a name in a pickle stands for here; `make` is called with what the pickle gives it."""

    make: Callable[..., Any]


@dataclass(eq=False)
class _Element:
    """Stands for a NumPy element type; None: text, which is read as nothing."""

    dtype: np.dtype[Any] | None


@dataclass(eq=False)
class _Unfilled:
    """Stands for an array until its state comes, and afterwards wherever the pickle refers to it again."""

    array: NDArray[Any] | None = None
    is_filled: bool = False


class _Ignored:
    """Stands for a logged object; takes any state and keeps none."""


class BoundedFile:
    """A file that is asked for no more bytes than it has."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self.size = file, size

    def read(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            EOFError: the file has fewer; nothing was allocated.
        """
        if count > self.size - self._file.tell():
            raise EOFError("it promises more bytes than it has")
        return self._file.read(count)

    def readline(self) -> bytes:
        """Up to the end of the line."""
        return self._file.readline()


def _counted(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """An instruction that counts itself: a file of nothing but empty lists would take many times its size."""

    def counted(unpickler: "ArrayUnpickler") -> None:
        if next(unpickler.steps) >= MOST_STEPS:
            raise WeightsError(f"it has more than {MOST_STEPS:,} instructions, and no weights need a tenth of that.")
        load(unpickler)

    return counted


class ArrayUnpickler(pickle._Unpickler):  # its dispatch table is the point: what is not in it cannot happen
    """Unpickles numbers, words, containers and arrays; nothing else.

    Args:
        file: read from its current place on.
        read_storage: gives the values of a PyTorch storage; None: the file is no PyTorch file.
    """

    # Python's own, which its type stubs leave out
    stack: list[Any]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(self, file: BoundedFile, read_storage: ReadStorage | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._read_storage = read_storage
        self.steps = itertools.count()
        self._names = _NAMES if read_storage is None else _NAMES | _TORCH_NAMES

    def find_class(self, module: str, name: str) -> StandIn:
        """What a name stands for; nothing is imported.

        Raises:
            WeightsError: it stands for nothing here.
        """
        if (found := self._names.get((module.replace("numpy.core", "numpy._core"), name))) is None:
            raise WeightsError(
                f"it holds a reference to {f'{module}.{name}'[:100]!a}, which is no array: a weights file never needs "
                "that. Nothing of it was run. Do not use this file."
            )
        return found

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        """A PyTorch storage: ("storage", element type, key, place, count, ...)."""
        if self._read_storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("a reference to something outside the file")
        element, key, count = pid[1], pid[2], pid[4]
        if not isinstance(element, StandIn) or element not in _TORCH_ELEMENTS or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage without an element type or a name")
        values = self._read_storage(key, _TORCH_ELEMENTS[element], _whole(count))
        return _widened(values)

    def _load_bytes(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))  # not first an empty array of that length

    def _load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        called = self.find_class(module, name)
        self.append(called.make(*self.pop_mark()))

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("an instruction that no weights need")

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        called = self.stack[-1]
        if not isinstance(called, StandIn) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("a call of something that is no function")
        self.stack[-1] = called.make(*arguments)

    def _load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Unfilled):
            target.array, target.is_filled = _array_of_state(state), True
            self.stack[-1] = target.array
        elif isinstance(target, _Element):
            _order_bytes(target, state)
        elif not isinstance(target, (_Ignored, dict)):  # of those, attributes beside the items are left out
            raise pickle.UnpicklingError("a state for something that has none")

    def _load_get(self) -> None:
        self._recall(int(self.readline()[:-1]))

    def _load_binget(self) -> None:
        self._recall(self.read(1)[0])

    def _load_long_binget(self) -> None:
        self._recall(int.from_bytes(self.read(4), "little"))

    def _recall(self, place: int) -> None:
        if place not in self.memo:
            raise pickle.UnpicklingError("a reference to something that is not there")
        value = self.memo[place]
        self.append(value.array if isinstance(value, _Unfilled) and value.is_filled else value)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dictionary()[_key(key)] = value

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._dictionary().update(_pairs(items))

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_pairs(items))

    def _load_additems(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update(map(_key, items))

    def _load_frozenset(self) -> None:
        self.append(frozenset(map(_key, self.pop_mark())))

    def _dictionary(self) -> dict[Any, Any]:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("items for something that is no dictionary")
        return target

    _own: ClassVar[dict[int, Any]] = dict.fromkeys(UNUSED, _refuse) | {
        pickle.INST[0]: _load_inst,
        pickle.BYTEARRAY8[0]: _load_bytes,
        pickle.REDUCE[0]: _load_reduce,
        pickle.NEWOBJ[0]: _load_reduce,  # a class and its arguments: stand-ins are called either way
        pickle.BUILD[0]: _load_build,
        pickle.GET[0]: _load_get,
        pickle.BINGET[0]: _load_binget,
        pickle.LONG_BINGET[0]: _load_long_binget,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
    }
    dispatch: ClassVar[dict[int, Any]] = {
        code: _counted(load) for code, load in (pickle._Unpickler.dispatch | _own).items()
    }


def _key(value: Any) -> Any:
    """A key of a dictionary; the hash of deeply nested tuples would end the process."""
    if not isinstance(value, (str, int, float, bytes)):
        raise pickle.UnpicklingError("a key that is neither a name nor a number")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _whole(value: Any) -> int:
    """A number of things."""
    if type(value) is not int or value < 0:
        raise pickle.UnpicklingError("a size that is no whole number")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > MOST_AXES:
        raise pickle.UnpicklingError("a shape that is none")
    return tuple(map(_whole, value))


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    """The same values; of bfloat16, the upper half of a float32, as float32."""
    if values.dtype != BFLOAT16 and values.dtype != BFLOAT16.newbyteorder():
        return values
    return (values.astype(np.uint32) << 16).view(np.float32)


def _array(element: Any, data: Any, shape: tuple[int, ...], order: str) -> NDArray[Any] | None:
    """An array, read-only, over the bytes of a pickle; None of text.

    Raises:
        ValueError: shape and bytes do not agree; nothing was allocated.
    """
    if isinstance(data, str):  # of a pickle that Python 2 wrote
        data = data.encode("latin1")
    if not isinstance(element, _Element) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("an array without element type or values")
    if element.dtype is None:
        return None
    if math.prod(shape) * element.dtype.itemsize != len(data):
        raise ValueError("an array has another size than its values")
    values = np.frombuffer(data, element.dtype)
    return _widened(values).reshape(shape, order="F" if order == "F" else "C")


# ---- what the names stand for -----------------------------------------------------------------------------


def _dtype(code: Any, *_: Any) -> _Element:
    """numpy.dtype("f4", False, True)."""
    if not isinstance(code, str):
        raise pickle.UnpicklingError("an element type that is none")
    if code in NUMBERS:
        return _Element(np.dtype(code))
    if TEXT.fullmatch(code):
        return _Element(None)
    raise WeightsError(
        f"it holds an array of element type {code[:20]!a}, and weights are numbers. Do not use this file."
    )


def _order_bytes(element: _Element, state: Any) -> None:
    """The state of a dtype: (version, order of bytes, subtype, names, fields, ...)."""
    if (
        not isinstance(state, tuple)
        or not 8 <= len(state) <= 9
        or state[0] not in (3, 4)
        or state[1] not in ("<", ">", "|", "=")
        or any(part is not None for part in state[2:5])
    ):
        raise WeightsError("it holds an array of composite elements, and weights are numbers. Do not use this file.")
    if element.dtype is not None and state[1] in ("<", ">"):
        element.dtype = element.dtype.newbyteorder(state[1])


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Unfilled:
    """numpy._core.multiarray._reconstruct(ndarray, (0,), b"b"): an array, to be filled by its state."""
    if kind is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise pickle.UnpicklingError("an array that is not begun as NumPy does")
    return _Unfilled()


def _array_of_state(state: Any) -> NDArray[Any] | None:
    """The state of an array: (version, shape, element type, Fortran order, values)."""
    if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
        raise pickle.UnpicklingError("an array that is not filled as NumPy does")
    _, shape, element, is_fortran, data = state
    return _array(element, data, _shape(shape), "F" if is_fortran is True or is_fortran == 1 else "C")


def _frombuffer(data: Any, element: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any] | None:
    """numpy._core.numeric._frombuffer, of protocol 5."""
    array = _array(element, data, _shape(shape), "F" if order == "F" else "C")
    return array if array is None or axes is None or order != "K" else array.transpose(_shape(axes))


def _scalar(element: Any, data: Any = None) -> Any:
    """numpy._core.multiarray.scalar, as a number of Python."""
    array = _array(element, data, (), "C")
    return None if array is None else array.item()


def _encode(text: Any, encoding: Any) -> bytes:
    """_codecs.encode: how protocols before 3 write bytes."""
    if not isinstance(text, str) or encoding not in LATIN:
        raise pickle.UnpicklingError("bytes that are not written as pickles do")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """builtins.bytes without arguments: how protocols before 3 write none."""
    return b""


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    """collections.OrderedDict."""
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, (list, tuple)) for item in items):
        raise pickle.UnpicklingError("a dictionary that is none")
    return _pairs([part for key, value in items for part in (key, value)])


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    """builtins.tuple: a Paddle tensor below the top of a file is the pair of its name and its array."""
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError("a tuple that is none")
    return tuple(items)


def _paddle_data(*arguments: Any) -> NDArray[Any]:
    """builtins.eval, which Paddle writes for a tensor of a static graph: ("data", {"data": array}) and nothing else."""
    names = arguments[1] if len(arguments) == 2 and arguments[0] == "data" else None
    if not isinstance(names, dict) or not isinstance(array := names.get("data"), np.ndarray):
        raise WeightsError(
            "it holds an expression to be evaluated, which is no array: a weights file never needs that. Nothing of it "
            "was run. Do not use this file."
        )
    return array


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> NDArray[Any]:
    """torch._utils._rebuild_tensor_v2: a view of the storage; checked, because NumPy does not check strides."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise pickle.UnpicklingError("a tensor without a storage")
    offset, size, stride = _whole(offset), _shape(size), _shape(stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(storage) or (math.prod(size) and last >= len(storage)):
        raise ValueError("a tensor reaches beyond its storage")
    if not math.prod(size):
        return np.zeros(size, dtype=storage.dtype)
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    """torch._utils._rebuild_parameter."""
    return tensor


def _not_called(*_: Any) -> Any:
    raise pickle.UnpicklingError("a call of a type")


_NDARRAY = StandIn(_not_called)
_NAMES = {
    ("collections", "OrderedDict"): StandIn(_dictionary),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): StandIn(_dtype),
    ("numpy._core.multiarray", "_reconstruct"): StandIn(_reconstruct),
    ("numpy._core.multiarray", "scalar"): StandIn(_scalar),
    ("numpy._core.numeric", "_frombuffer"): StandIn(_frombuffer),
    ("_codecs", "encode"): StandIn(_encode),
    ("builtins", "bytes"): StandIn(_no_bytes),
    ("__builtin__", "bytes"): StandIn(_no_bytes),
    ("builtins", "tuple"): StandIn(_tuple),
    ("__builtin__", "tuple"): StandIn(_tuple),
    ("builtins", "eval"): StandIn(_paddle_data),
    ("__builtin__", "eval"): StandIn(_paddle_data),
    # training logs that mmaction2 leaves in its files
    ("mmengine.logging.history_buffer", "HistoryBuffer"): StandIn(lambda *_: _Ignored()),
    ("mmengine.logging.message_hub", "MessageHub"): StandIn(lambda *_: _Ignored()),
}
_TORCH_ELEMENTS = {StandIn(_not_called): np.dtype(code) for code in TORCH_STORAGES.values()}
_TORCH_NAMES = {
    ("torch", name): element for name, element in zip(TORCH_STORAGES, _TORCH_ELEMENTS, strict=True)
} | {
    ("torch._utils", "_rebuild_tensor"): StandIn(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): StandIn(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): StandIn(_rebuild_parameter),
    ("torch", "Size"): StandIn(_tuple),
}  # fmt: skip
