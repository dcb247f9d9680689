"""The reader of weights gives what NumPy, Paddle and PyTorch wrote, and nothing that a bad file asks for.

Another draw each time: `PPTSM_FUZZ=20 pytest tests/test_unpickler.py` (that many times the mutations).
"""

import contextlib
import io
import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from helpers.foreign import _Global, torch_stream, torch_zip, write
from pptsm.weights.adapters import state_dict_in
from pptsm.weights.loading import as_float32
from pptsm.weights.state_dict import MAX_BYTES, WeightsError, read_weights
from pptsm.weights.unpickle import MOST_STEPS

MANY = int(os.environ.get("PPTSM_FUZZ", "1"))
RNG = np.random.default_rng(1)
ARRAYS = {
    "a.weight": RNG.normal(size=(3, 4)).astype(np.float32),
    "b._mean": RNG.normal(size=5).astype(np.float32),
    "n": np.array(7, dtype=np.int64),
}


def read(folder: Path, data: bytes) -> Any:
    return read_weights(write(folder / "w", data))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", ["f2", "<f4", ">f4", "f8", "i1", "i8", "u1", "?", "c8"])
def test_what_numpy_pickles_comes_back(tmp_path: Path, protocol: int, code: str) -> None:
    """Every protocol, element type and order of bytes and axes; empty, scalar, shared; containers as they are."""
    array = (RNG.normal(size=(2, 3, 4)) * 3).astype(code)
    numbers = np.array([5, 6], dtype=code)
    content = {"c": array, "f": np.asfortranarray(array), "t": array.transpose(1, 2, 0), "empty": array[:, :0]}
    content |= {"shared": [numbers, numbers], "scalar": array[0, 0, 0], "zero": numbers[0, ...], "epoch": 3}
    found = read(tmp_path, pickle.dumps(OrderedDict(content), protocol))
    assert list(found) == list(content)
    for name in ("c", "f", "t", "empty", "zero"):
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], content[name])
    assert found["shared"][0] is found["shared"][1]
    assert found["scalar"] == array[0, 0, 0]
    assert type(found["epoch"]) is int


def test_text_beside_weights_is_read_as_nothing(tmp_path: Path) -> None:
    """Class names as an array; sets, lists and bytes of words stay."""
    content = {"w": ARRAYS["a.weight"], "classes": np.array(["walk", "run"]), "tags": {"x"}, "log": [1.5, None, b"b"]}
    found = read(tmp_path, pickle.dumps(content))
    assert found.pop("classes") is None
    np.testing.assert_array_equal(found.pop("w"), content["w"])
    assert found == {"tags": {"x"}, "log": [1.5, None, b"b"]}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_what_paddle_saves_comes_back(tmp_path: Path, protocol: int, dtype: str) -> None:
    """At the top, below it, beside an optimiser; bfloat16 as the numbers that it means."""
    state = {name: paddle.to_tensor(ARRAYS[name]).astype(dtype) for name in ("a.weight", "b._mean")}
    expected = {name: tensor.astype("float64").numpy() for name, tensor in state.items()}
    forms: dict[str, Any] = {"plain": state, "nested": {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}}}
    for name, content in forms.items():
        paddle.save(content, str(tmp_path / name), protocol=protocol)
        found = state_dict_in(read_weights(tmp_path / name))
        assert set(found) == set(expected)
        for key, array in found.items():
            np.testing.assert_array_equal(array.astype(np.float64), expected[key])


def test_a_tensor_of_a_static_graph_is_read_though_its_file_names_eval(tmp_path: Path) -> None:
    """Only in the one form that Paddle writes; any other expression is refused and not evaluated."""

    class Written:
        def __init__(self, *arguments: object) -> None:
            self.arguments = arguments

        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return eval, self.arguments

    array = ARRAYS["a.weight"]
    found = read(tmp_path, pickle.dumps({"w": Written("data", {"data": array})}))
    np.testing.assert_array_equal(found["w"], array)
    marker = tmp_path / "ran"
    for arguments in ((f"open({str(marker)!r}, 'w')",), ("data", {"data": "x"}), ("data", None), ("data", {})):
        with pytest.raises(WeightsError, match="expression to be evaluated"):
            read(tmp_path, pickle.dumps({"w": Written(*arguments)}))
    assert not marker.exists()


@pytest.mark.parametrize("container", [torch_zip, torch_stream])
def test_bfloat16_of_pytorch_is_what_it_means(tmp_path: Path, container: Callable[[Any], bytes]) -> None:
    """The upper halves of float32, in both of its formats."""
    numbers = np.array([1.5, -2.0, 2.0**100, 0.0, np.inf], dtype=np.float32)
    halves = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    found = read(tmp_path, container({"state_dict": {"x": halves}}))["state_dict"]["x"]
    assert found.dtype == np.float32
    assert found.tolist() == numbers.tolist()


def pickle_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        return members.read("archive/data.pkl")


def with_pickle(archive: bytes, pickled: bytes) -> bytes:
    """The archive with another pickle in it, whole as an archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


# ---- what is refused ------------------------------------------------------------------------------------


class Crafted:
    """Pickles as a call of a named function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


RECONSTRUCT = np.array([1.0]).__reduce__()[0]
DTYPE, SCALAR = np.dtype, np.float32(1).__reduce__()[0]
F4, OBJECTS = np.dtype("f4"), np.dtype("O")
COMPOSITE = np.dtype([("a", "f4"), ("b", "i4")])


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, []], dtype=object),
        np.zeros(3, dtype=COMPOSITE),
        np.zeros(3, dtype="M8[s]"),
        OBJECTS,
        Crafted(DTYPE, "O8", False, True),
        Crafted(DTYPE, "V4", False, True),
        Crafted(DTYPE, [("a", "O")]),
        Crafted(SCALAR, OBJECTS, b"12345678"),
        Crafted(SCALAR, F4, b"12345678"),
        Crafted(RECONSTRUCT, np.ndarray, (1 << 30,), b"b"),
        Crafted(RECONSTRUCT, np.ndarray, (0,), "O"),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1 << 40,), F4, False, b"1234")),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (-1,), F4, False, b"1234")),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1.0,), F4, False, b"1234")),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1,), OBJECTS, False, [1])),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1,), F4, False, [1.0])),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1,)),
        Crafted(RECONSTRUCT, np.ndarray, (0,), b"b", state={"a": 1}),
        Crafted(RECONSTRUCT, np.matrix, (0,), b"b"),
    ],
    ids=range(19),
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_numpys_own_pickles_of_numbers_never_hold_is_refused(tmp_path: Path, value: Any, protocol: int) -> None:
    """Objects, composite elements, sizes that are not those of the values: at once, with the file's name."""
    with peak_below(1 << 20), pytest.raises(WeightsError, match=str(tmp_path / "w")):
        read(tmp_path, pickle.dumps({"x": value}, protocol))


class peak_below:  # noqa: N801  reads as a sentence
    """Fails where more memory than so many bytes was allocated at a time within it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < self.limit


LONG = (1 << 33).to_bytes(8, "little")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + LONG + b"x.",  # bytes
        b"\x80\x05\x96" + LONG + b"x.",  # an array of bytes
        b"\x80\x04\x8d" + LONG + b"x.",  # text
        b"\x80\x04\x95" + LONG + b"N.",  # a frame
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",  # a long number
        b"\x80\x02T\xff\xff\xff\x7fx.",  # text of Python 2
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # a place to remember: taken, but no room is made for those before it
    ],
    ids=["bytes", "bytearray", "text", "frame", "number", "string", "memo"],
)
def test_a_promise_of_gigabytes_allocates_nothing(tmp_path: Path, data: bytes) -> None:
    """Of a file of a few bytes."""
    with peak_below(1 << 20):
        if data[2:3] == b"N":
            assert read(tmp_path, data) is None
        else:
            with pytest.raises(WeightsError, match="cut off"):
                read(tmp_path, data)


def test_storages_larger_than_the_file_are_refused(tmp_path: Path) -> None:
    """In both of PyTorch's formats; and a tensor that repeats its storage."""
    for container in (torch_zip, torch_stream):
        data = container({"x": np.zeros(3, np.float32)})
        pid = b"cpuq" if b"cpuq" in data else b"cpu"
        place = data.index(b"K\x03", data.index(pid))  # the count of the storage
        large = data[:place] + b"J\xff\xff\xff\x7f" + data[place + 2 :]
        if container is torch_zip:
            pickled = pickle_of(data)
            place = pickled.index(b"K\x03", pickled.index(b"cpu"))
            large = with_pickle(data, pickled[:place] + b"J\xff\xff\xff\x7f" + pickled[place + 2 :])
        with peak_below(1 << 20), pytest.raises(WeightsError):
            read(tmp_path, large)
    pickled = pickle_of(torch_zip({"x": np.zeros((7, 3), np.float32)}))
    repeated = pickled.replace(b"K\x07K\x03\x86K\x03K\x01\x86", b"M\xff\xffK\x03\x86K\x00K\x01\x86")
    repeated = repeated if repeated != pickled else pickled.replace(b"K\x07K\x03", b"M\xff\xffK\x03", 1)
    with pytest.raises(WeightsError, match="reaches beyond its storage"):
        read(tmp_path, with_pickle(torch_zip({"x": np.zeros((7, 3), np.float32)}), repeated))


def test_a_file_of_nothing_but_instructions_is_refused(tmp_path: Path) -> None:
    """Empty lists take many times the bytes that ask for them; nested tuples as a key would end the process."""
    with pytest.raises(WeightsError, match="instructions"):
        read(tmp_path, b"\x80\x02" + b"]" * (MOST_STEPS + 1) + b".")
    with pytest.raises(WeightsError, match="a key that is neither a name nor a number"):
        read(tmp_path, b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.")


@pytest.mark.parametrize(
    "code", [b"(cos\nsystem\no.", b"(ios\nsystem\n.", b"cos\nsystem\n)\x81.", b"cos\nsystem\n(tR."]
)
def test_every_way_to_make_an_object_is_refused_by_its_name(tmp_path: Path, code: bytes) -> None:
    """Old and new instructions for it."""
    with pytest.raises(WeightsError, match=r"refused: .*'os\.system'"):
        read(tmp_path, code)


@pytest.mark.parametrize("code", [b"\x82\x01.", b"Px\n.", b"K\x01Q.", b"\x97.", b"N)R.", b"N}b."])
def test_what_reaches_outside_the_file_is_refused(tmp_path: Path, code: bytes) -> None:
    """Extensions, references, buffers; and calls and states of what has none."""
    with pytest.raises(WeightsError, match="cut off"):
        read(tmp_path, code)


def test_a_dictionary_that_holds_itself_has_an_end(tmp_path: Path) -> None:
    """It is no state dict."""
    content: dict[str, Any] = {}
    content |= {"state_dict": content, "model": content, "x": {"y": content}}
    assert state_dict_in(read(tmp_path, pickle.dumps(content))) == {}


def test_no_file_and_a_huge_one_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    """A folder, a pipe that nobody writes, a device, a file of holes."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(WeightsError, match="it is no file"):
            read_weights(path)
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(WeightsError, match="at most 8 are read"):
        read_weights(tmp_path / "holes")


# ---- mutated files ----------------------------------------------------------------------------------------


def of_paddle() -> bytes:
    out = io.BytesIO()
    pickle.dump(ARRAYS, out, protocol=4)
    return out.getvalue()


def of_paddle_nested() -> bytes:
    """As `paddle.save` writes tensors below the top, in the oldest of its protocols."""
    pairs = {name: Crafted(tuple, (name, array)) for name, array in ARRAYS.items()}
    return pickle.dumps({"state_dict": pairs, "epoch": 3}, protocol=2)


DIALECTS = {
    "paddle": of_paddle(),
    "paddle, nested": of_paddle_nested(),
    "torch zip": torch_zip({"state_dict": dict(ARRAYS), "epoch": 3}),
    "torch stream": torch_stream({"state_dict": dict(ARRAYS), "epoch": 3}),
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes: a bit, a byte, a piece taken out, doubled, moved or put in, an end cut off."""
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 9))
        match rng.integers(7):
            case 0:
                data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.bytes(1) + data[at + 1 :]
            case 2:
                data = data[:at] + data[at + length :]
            case 3:
                data = data[:at] + data[at : at + length] + data[at:]
            case 4:
                other = int(rng.integers(len(data)))
                data = data[:at] + data[other : other + length] + data[at + length :]
            case 5:
                data = data[:at] + rng.bytes(length) + data[at:]
            case _:
                data = data[:at] if rng.integers(20) == 0 else data
        data = data or b"."
    return data


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_mutated_file_ends_in_an_error_or_in_arrays_of_its_own_bytes(tmp_path: Path, dialect: str) -> None:
    """Nothing else is raised, no more memory taken than the file's size explains, and each value can be looked at."""
    whole, errors, equal = DIALECTS[dialect], 0, 0
    rng = np.random.default_rng(3 if MANY == 1 else None)
    tries = 1500 * MANY
    for _ in range(tries):
        data = mutated(pickle_of(whole), rng) if dialect == "torch zip" else mutated(whole, rng)
        data = with_pickle(whole, data) if dialect == "torch zip" else data
        with peak_below(1 << 20):
            try:
                content = read(tmp_path, data)
                found = state_dict_in(content)
            except WeightsError:
                errors += 1
                continue
        equal += set(found) == set(ARRAYS) and all(
            found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in ARRAYS.items()
        )
        assert sum(array.nbytes for array in found.values()) <= 2 * len(data)  # bfloat16 takes twice its bytes
        for name, array in found.items():
            assert array.dtype.kind in "biufc"
            assert len(array.tobytes()) == array.nbytes
            with contextlib.suppress(WeightsError):
                as_float32(name, array)
    assert errors > tries / 10
    assert equal > tries / 100


def test_a_mutated_archive_ends_in_an_error_or_in_equal_arrays(tmp_path: Path) -> None:
    """A ZIP has check sums of what is in it."""
    data, rng = torch_zip({"state_dict": dict(ARRAYS)}), np.random.default_rng(5 if MANY == 1 else None)
    for _ in range(1500 * MANY):
        try:
            found = state_dict_in(read(tmp_path, mutated(data, rng)))
        except WeightsError:
            continue
        for name, array in found.items():
            np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("function", [np.float32, _Global])
def test_a_type_is_no_array(tmp_path: Path, function: Any) -> None:
    """A reference to a class of NumPy, or to one that is not there."""
    name = b"cnumpy\nfloat32\n." if function is np.float32 else b"cnowhere\nthing\n."
    with pytest.raises(WeightsError, match="is no array"):
        read(tmp_path, name)
