"""Values against the schema, and each fault as a sentence with its key, what was found and what is allowed."""

import difflib
import reprlib
from typing import TYPE_CHECKING, Any

from pptsm.params.reading import read_sections
from pptsm.runtime.errors import ParamsError
from pptsm.runtime.paths import StrPath, as_path

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from pptsm.params.schema import Params

NO_MORE = "key {} is no more"
MAX_FAULTS = 20  # more help nobody
MOVED = {  # key of a role in older versions -> key there now
    "network": "network.network",
    "depth": "network.depth",
    "width": "network.width",
    "segments": "network.num_segments",
    "shift": "network.shift",
    "shift_ratio": "network.shift_ratio",
    "attention": "network.attention",
    "activation": "network.activation",
    "dropout": "network.dropout",
    "start": "start.weights",
    "start_sha256": "start.sha256",
    "new_head": "start.new_head",
    "min_coverage": "start.min_coverage",
    "distillation": "distillation.kind",
    "distillation_weight": "distillation.weight",
    "temperature": "distillation.temperature",
    "weak_teacher": "distillation.weak_teacher",
}
RENAMED = {  # keys of older versions, and what took their place
    **{f"{role}.{key}": f"{role}.{now}" for role in ("teacher", "student") for key, now in MOVED.items()},
    "training.micro_batch": "training.batch_norm_clips, the clips that are computed at once and whose batch norm "
    "statistics are taken together: for 0 write the value of batch_size",
    "training.mix_alpha": "training.mixup_alpha, for blended clips, and training.cutmix_alpha, for the boxes of cutmix",
}
ADDED = {  # sections that files of older versions have not, and what stands in the default one
    "quantize": "{enabled: true, clips: 64, max_drop: 0.3}",
    "serving": "{runtime: auto, precision: auto, folder: null}",
    "explanations": "{videos: 200}",
}


def load_params(path: StrPath) -> "Params":
    """Read and check the whole of params.yaml.

    Raises:
        ParamsError: the file is missing or no YAML, or a key or value is wrong; each fault is named with
            its key, the value found, and what is allowed.
    """
    path = as_path(path, "the file of parameters")
    return check_params(read_sections(path), str(path))


def check_params(values: Any, source: str) -> "Params":
    """Check already parsed values; `source` names where they came from in an error.

    Raises:
        ParamsError: as `load_params`.
    """
    from pydantic import ValidationError  # it takes a tenth of a second, which `pptsm --help` has no need of

    from pptsm.params.schema import Params

    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults: dict[str, str] = {}
        for fault in error.errors(include_url=False):
            key = _key(fault, values)
            before = faults.get(key)  # of another kind of value that the key may have
            faults[key] = f"{before} or {_message(fault)}" if before else _sentence(key, fault)
        moved = [key for key, fault in faults.items() if fault.startswith(NO_MORE.format(key))]
        others = [key for key in faults if key not in moved]
        shown = [f"{source}: {faults[key]}" for key in (*moved, *others[:MAX_FAULTS])]
        more = [f"and {len(others) - MAX_FAULTS} more"] if len(others) > MAX_FAULTS else []
        raise ParamsError("\n".join(shown + more)) from None


def _key(fault: "ErrorDetails", values: Any) -> str:
    """Where a fault is, in the file's words: pydantic adds which kind of value it tried."""
    parts = []
    for part in fault["loc"]:
        if not isinstance(values, dict | list):
            break
        parts.append(str(part))
        values = values[int(part)] if isinstance(values, list) else values.get(part)
    return ".".join(parts) or "the file"


def _message(fault: "ErrorDetails") -> str:
    return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")


def _sentence(key: str, fault: "ErrorDetails") -> str:
    found = fault["input"]
    if fault["type"] == "missing":
        add = f"; it is newer than this file. Add the line `{key}: {ADDED[key]}`" if key in ADDED else ""
        return f"key {key} is missing{add}"
    if key in RENAMED and not isinstance(found, dict):  # a section took the place of some
        return f"{NO_MORE.format(key)}; now it is {RENAMED[key]}"
    if fault["type"] in ("extra_forbidden", "invalid_key"):
        known = _known_keys(fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    if fault["type"] == "value_error":
        return f"{key}: {_message(fault)}"
    return f"{key} is {_shown(found)}, but {_message(fault)}"


def _shown(value: Any) -> str:
    """A value on a line, whatever it is: it may be long, or contain itself."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 120
    return short.repr(value)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    from pptsm.params.schema import Params

    section: Any = Params
    for part in location:
        field = next(f for name, f in section.model_fields.items() if (f.alias or name) == part)
        section = field.annotation
    return [field.alias or name for name, field in section.model_fields.items()]
