"""What must hold of an exported file before a runtime is given it: its digest, its arrays, and that it is one file.

The digest is that of all bytes of the file, with zeros in its own place. It stands in the file's metadata and shows a
change of any bit, on the disk or in a copy; who changes a file on purpose can write another.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pptsm.runtime.errors import UserError
from pptsm.runtime.memory import recall, remember
from pptsm.runtime.paths import StrPath

if TYPE_CHECKING:
    import onnx

DIGEST = "pptsm.sha256"
NO_DIGEST = "0" * 64
# How protobuf writes the entry of the metadata: field 1, the name, and field 2, a text of 64 bytes.
_ENTRY = b"\x0a" + bytes([len(DIGEST)]) + DIGEST.encode() + b"\x12" + bytes([len(NO_DIGEST)])
MAX_BYTES = 2 << 30  # of a message of protobuf
RULES = 1  # raise it when `_faults` looks for more: files that were found sound are then looked into again
FULLY_CONNECTED = ("MatMul", "Gemm")
REMEDY = (
    "`dvc repro --force --single-item export` makes it anew, also in DVC's cache, and `pptsm convert` one of published "
    "weights."
)


def with_digest(data: bytes) -> bytes:
    """An ONNX file, whose metadata have `DIGEST` with the value `NO_DIGEST`, with the digest in that place."""
    place = data.rindex(_ENTRY + NO_DIGEST.encode()) + len(_ENTRY)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:place] + digest + data[place + len(digest) :]


def has_right_digest(data: bytes) -> bool | None:
    """Whether an ONNX file is, bit for bit, as it was exported; None: it has no digest, as those of older versions."""
    said, found = _digests(data)
    return None if said is None else said == found


def _digests(data: bytes) -> tuple[str | None, str]:
    """The digest that a file says it has (None: it says none), and the one that it has."""
    if (entry := data.rfind(_ENTRY)) < 0:
        return None, hashlib.sha256(data).hexdigest()
    place = entry + len(_ENTRY)
    said = data[place : place + len(NO_DIGEST)]
    zeroed = hashlib.sha256(data[:place])
    zeroed.update(NO_DIGEST.encode())
    zeroed.update(memoryview(data)[place + len(NO_DIGEST) :])
    return said.decode("ascii", "replace"), zeroed.hexdigest()


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was looked into."""

    file: Path
    data: bytes
    digest: str  # of its bytes, with zeros in the place of the digest
    has_digest: bool  # files of older versions say none


def read_exported(model: StrPath) -> Exported:
    """Read an ONNX file and look into it; one that was found sound before is known by its digest.

    Raises:
        UserError: there is no such file, or it is no ONNX file, or is not as it was exported, or keeps arrays in other
            files, or an array of it holds what is not a number.
    """
    model = Path(model)
    if not model.is_file():
        raise UserError(
            f"no exported model {model} (looked from {Path.cwd()}). `dvc repro export` makes one; --model of "
            "`pptsm predict` names another."
        )
    if (size := model.stat().st_size) > MAX_BYTES:
        raise UserError(f"{model} is no ONNX file: it has {size / 1e9:.1f} GB, and those have at most 2.1.")
    data = model.read_bytes()
    said, digest = _digests(data)
    if said not in (None, digest):
        raise UserError(
            f"{model} is not as it was exported: its digest is not that of its bytes, so something changed in it "
            f"since, on the disk or in a copy. Nothing was computed with it. {REMEDY}"
        )
    if recall("models", digest).get("sound") != RULES:
        _look_into(model, data)
        remember("models", digest, sound=RULES, file=str(model.absolute()))
    return Exported(model, data, digest, said is not None)


def _look_into(model: Path, data: bytes) -> None:
    import onnx  # a tenth of a second, which a file that is known has no need of

    try:
        fault = next(_faults(onnx.load_model_from_string(data)), None)
    except Exception as error:  # protobuf raises its own classes, and NumPy what a tensor of another size makes it
        raise unloadable(model, error) from None
    if fault is not None:
        raise UserError(f"{model} ({len(data)} bytes) cannot be used: {fault}. {REMEDY}")


def with_features(exported: Exported) -> bytes:
    """An exported network with a second output, `features` [B, C]: what enters its last fully connected layer.

    That is pooled over the frames' places and times, so it describes a view.

    Raises:
        UserError: the logits come from no fully connected layer.
    """
    import onnx

    proto = onnx.load_model_from_string(exported.data)
    made_by = {name: node for node in proto.graph.node for name in node.output}
    node = made_by.get("logits")
    while node is not None and node.op_type not in FULLY_CONNECTED:
        # a bias and the scales of a quantised layer are initialisers or constants: only one input is computed
        node = next((made for name in node.input if (made := made_by.get(name)) and made.op_type != "Constant"), None)
    if node is None:
        raise UserError(
            f"{exported.file} has no features to write: its logits come from no fully connected layer "
            f"({FULLY_CONNECTED[0]}, {FULLY_CONNECTED[1]}). Name another model, or leave --features out."
        )
    proto.graph.node.append(onnx.helper.make_node("Identity", [node.input[0]], ["features"]))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, None))
    return bytes(proto.SerializeToString())


def unloadable(model: Path, error: Exception, runtime: str = "ONNX Runtime") -> UserError:
    """The sentence for a file that is no ONNX file, or none that a runtime can load."""
    what, why = f"{model} ({model.stat().st_size} bytes)", " ".join(str(error).split())[:200].rstrip(".")
    if runtime != "ONNX Runtime":  # which loads all that the export writes
        return UserError(f"{runtime} cannot load {what}: {why}. Take --runtime onnxruntime.")
    return UserError(
        f"{what} is no ONNX file that can be loaded: {why}. `dvc repro export` makes one; --model of `pptsm predict` "
        "names another."
    )


def _faults(model: "onnx.ModelProto") -> Iterator[str]:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    if not model.graph.node:
        yield "it is no ONNX file that can be loaded: no network is in it"
    for name, tensor in _arrays(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield f"its array {name!a} is kept in another file, and an exported network is one file"
        elif tensor.data_type in floats:
            values = numpy_helper.to_array(tensor)
            # a single number may be a bound, and that infinite
            good = np.isfinite(values) if values.size > 1 else ~np.isnan(values)
            if not good.all():
                bad = f"{(~good).sum():,} of the {values.size:,} values"
                yield f"{bad} of its array {name!a} are not a number or infinite"


def _arrays(model: "onnx.ModelProto") -> Iterator[tuple[str, "onnx.TensorProto"]]:
    """All arrays of a file with their names: weights are initialisers, or, from paddle2onnx, constants."""
    yield from _arrays_of_graph(model.graph)
    for function in model.functions:
        yield from _arrays_of_nodes(function.node)


def _arrays_of_graph(graph: "onnx.GraphProto") -> Iterator[tuple[str, "onnx.TensorProto"]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, sparse.values
    yield from _arrays_of_nodes(graph.node)


def _arrays_of_nodes(nodes: "Iterable[onnx.NodeProto]") -> Iterator[tuple[str, "onnx.TensorProto"]]:
    for node in nodes:
        name = next(iter(node.output), node.name)
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors, attribute.sparse_tensor.values):
                yield tensor.name or name, tensor
            for graph in (attribute.g, *attribute.graphs):
                yield from _arrays_of_graph(graph)
