"""The Open Inference Protocol, version 2, over HTTP: a clip as tensor in, logits out, and what a model says of itself.

With the extension `binary_tensor_data`, by which Triton's clients send: a tensor's bytes stand behind the JSON, whose
length the header `Inference-Header-Content-Length` states.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md; the extension:
github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pptsm.runtime.errors import UserError

INPUT, OUTPUT, DATATYPE = "clips", "logits", "FP32"
HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSION = "binary_tensor_data"
FLOAT32 = np.dtype("<f4")  # as a tensor's bytes have it


@dataclass(frozen=True)
class Inference:
    """What a client asks."""

    clips: NDArray[np.float32]  # normalised [N, S, 3, H, W], all of them finite
    id: str | None  # of the request, to be returned
    binary_output: bool  # whether the logits are wanted as bytes


def read_inference(path: Path, shape: tuple[int, ...], most_clips: int, header_bytes: int | None) -> Inference:
    """The request in a file.

    Args:
        path: of the body.
        shape: of a clip, [S, 3, H, W].
        most_clips: in one request.
        header_bytes: length of the JSON; None: it is all of the body.

    Raises:
        UserError: it is no such request, or its tensor is another one than the network takes.
    """
    data = path.read_bytes()
    if header_bytes is not None and not 0 < header_bytes <= len(data):
        raise UserError(f"the header {HEADER_LENGTH} is {header_bytes}, and the request has {len(data)} bytes.")
    try:
        request = json.loads(data[:header_bytes])
    except (ValueError, RecursionError) as error:
        raise UserError(f"the request is no JSON: {str(error)[:200]}.") from None
    if not isinstance(request, dict):
        raise UserError('the request should be an object {"inputs": [...]}.')
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise UserError(f"`id` is {_shown(identifier)}, and should be a text.")
    tensor = _only_input(request)
    found = _checked_shape(tensor, shape, most_clips)
    given = _parameters(tensor).get("binary_data_size")
    binary = b"" if header_bytes is None else data[header_bytes:]
    values = _numbers(tensor.get("data"), found) if given is None else _from_bytes(binary, given, tensor, found)
    if bad := int((~np.isfinite(values)).sum()):
        raise UserError(f"{bad:,} of the {values.size:,} values of {INPUT!r} are not a number or infinite.")
    return Inference(values.reshape(found), identifier, _wants_bytes(request))


def _only_input(request: dict[str, Any]) -> dict[str, Any]:
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise UserError(f"`inputs` should be a list of one tensor, {INPUT!r}, and is {_shown(inputs)}.")
    tensor: dict[str, Any] = inputs[0]
    for key, due in (("name", INPUT), ("datatype", DATATYPE)):
        if tensor.get(key) != due:
            raise UserError(f"`{key}` of the input is {_shown(tensor.get(key))}, and should be {due!r}.")
    return tensor


def _checked_shape(tensor: dict[str, Any], shape: tuple[int, ...], most_clips: int) -> tuple[int, ...]:
    given = tensor.get("shape")
    found: list[Any] = given if isinstance(given, list) else []
    if (
        not all(type(size) is int for size in found)
        or len(found) != 1 + len(shape)
        or tuple(found[1:]) != shape
        or found[0] < 1
    ):
        raise UserError(
            f"`shape` of {INPUT!r} is {_shown(given)}, and should be [N, {', '.join(map(str, shape))}]: N clips."
        )
    if found[0] > most_clips:
        raise UserError(f"{INPUT!r} has {found[0]} clips, and one request may have {most_clips}: send several.")
    return tuple(found)


def _parameters(thing: dict[str, Any]) -> dict[str, Any]:
    found = thing.get("parameters")
    return found if isinstance(found, dict) else {}


def _numbers(data: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The values of a list, flat or nested as the shape says."""
    if not isinstance(data, list):
        raise UserError(f"`data` of {INPUT!r} should be a list of numbers, and is {_shown(data)}.")
    try:
        values = np.asarray(data)
    except ValueError:  # of different lengths
        _not_so_many("lists of different lengths", shape)
    if values.dtype.kind not in "fiu" and values.size:
        raise UserError(f"`data` of {INPUT!r} should be numbers alone, and something else is among them.")
    if values.shape not in ((math.prod(shape),), shape):
        _not_so_many(f"{values.size:,} values of shape {list(values.shape)}", shape)
    with np.errstate(over="ignore"):  # it is infinite then, and refused
        return values.astype(np.float32)


def _from_bytes(binary: bytes, given: Any, tensor: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    due = math.prod(shape) * FLOAT32.itemsize
    if given != due or len(binary) != due or "data" in tensor:
        raise UserError(
            f"`binary_data_size` of {INPUT!r} is {_shown(given)}, and {len(binary):,} bytes follow the JSON; the shape "
            f"{list(shape)} has {due:,}, and no `data`."
        )
    return np.frombuffer(binary, FLOAT32).astype(np.float32)


def _not_so_many(found: str, shape: tuple[int, ...]) -> NoReturn:
    raise UserError(f"`data` of {INPUT!r} has {found}, and the shape {list(shape)} has {math.prod(shape):,} values.")


def _wants_bytes(request: dict[str, Any]) -> bool:
    outputs = request.get("outputs")
    if not outputs:
        return _parameters(request).get("binary_data_output") is True
    if not isinstance(outputs, list) or any(not isinstance(each, dict) for each in outputs):
        raise UserError(f"`outputs` should be a list of objects with a name, and is {_shown(outputs)}.")
    if [each.get("name") for each in outputs] != [OUTPUT]:
        raise UserError(f"`outputs` are {_shown(outputs)}; the network has one, {OUTPUT!r}.")
    return _parameters(outputs[0]).get("binary_data") is True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def response(model: str, version: str, asked: Inference, logits_NK: NDArray[np.float32]) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where bytes follow it."""
    output: dict[str, Any] = {"name": OUTPUT, "shape": list(logits_NK.shape), "datatype": DATATYPE}
    binary = b""
    if asked.binary_output:
        binary = logits_NK.astype(FLOAT32).tobytes()
        output["parameters"] = {"binary_data_size": len(binary)}
    else:
        output["data"] = logits_NK.ravel().tolist()
    said: dict[str, Any] = {"model_name": model, "model_version": version}
    if asked.id is not None:
        said["id"] = asked.id
    header = json.dumps(said | {"outputs": [output]}, allow_nan=False).encode()
    return header + binary, len(header) if asked.binary_output else None


def model_metadata(model: str, version: str, platform: str, shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """What the protocol has a model say of itself; -1 is any size."""
    return {
        "name": model,
        "versions": [version],
        "platform": platform,
        "inputs": [{"name": INPUT, "datatype": DATATYPE, "shape": [-1, *shape]}],
        "outputs": [{"name": OUTPUT, "datatype": DATATYPE, "shape": [-1, classes]}],
    }
