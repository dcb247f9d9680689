"""Arrays, and containers of arrays and plain values, as one file of safetensors with a digest of it all.

Arrays lie in the file as they are, and all the rest as JSON in its header.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

Arrays = dict[str, Any]

# In a state's JSON: the one key of what stands for an array, with its name; and the header's key of the JSON itself.
# (One key, because safetensors writes several in any order.) Before the JSON stands the digest of the whole file, taken
# while zeros are in its place.
ARRAY, REST = "array", "state"
BLANK = "0" * 64


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write arrays, and containers of arrays and plain values, as one file of safetensors with a digest of it all."""
    arrays: Arrays = {}
    rest = json.dumps(_without_arrays(state, "", arrays))
    content = bytearray(save(arrays, {REST: BLANK + rest}))  # its `save_file` shuts out users of a shared folder
    content[_place_of_digest(content)] = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content)


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, every bit of it.

    Raises:
        SafetensorError, OSError, ValueError, KeyError, TypeError: it is damaged, or something else.
    """
    content = bytearray(path.read_bytes())
    place = _place_of_digest(content)
    written = bytes(content[place])
    content[place] = BLANK.encode()
    if hashlib.sha256(content).hexdigest().encode() != written:
        raise ValueError("its bytes are not those that were written")
    arrays = load(bytes(content))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    state: dict[str, Any] = json.loads(
        header["__metadata__"][REST].removeprefix(BLANK),
        object_hook=lambda found: arrays[found[ARRAY]] if found.keys() == {ARRAY} else found,
    )
    return state


def _place_of_digest(content: bytearray) -> slice:
    """Where the digest stands in the header, before the JSON of the state."""
    start = content.index(f'"__metadata__":{{"{REST}":"'.encode()) + len(f'"__metadata__":{{"{REST}":"')
    return slice(start, start + len(BLANK))


def _without_arrays(value: Any, name: str, arrays: Arrays) -> Any:
    """`value` with each array replaced by its name in `arrays`, where it is put: "models.0.head.fc.bias"."""
    match value:
        case np.ndarray():
            arrays[name] = np.require(value, requirements="C")  # safetensors writes the bytes as they lie
            return {ARRAY: name}
        case dict():
            return {key: _without_arrays(each, f"{name}.{key}".lstrip("."), arrays) for key, each in value.items()}
        case list():
            return [_without_arrays(each, f"{name}.{number}", arrays) for number, each in enumerate(value)]
    return value
