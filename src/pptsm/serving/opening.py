"""Which file, runtime and precision answer: what was asked for, or the fastest here of what may be taken.

How long each takes is measured once for a machine, a model and its clips, and remembered in the user's cache.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from pptsm.evaluation.engines import Engine, has_bfloat16, open_engine, session_of_graph
from pptsm.evaluation.model_file import Exported, read_exported
from pptsm.params.choices import Precision, Runtime
from pptsm.runtime.console import note
from pptsm.runtime.cores import cores, multiplies_int8, processor_name
from pptsm.runtime.errors import UserError
from pptsm.runtime.memory import recall, remember
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.package_folder import INT8_FILE, Package, package_at

WORTH_MS = 20.0  # a network that takes less for a clip gains less than another runtime takes to start
WORTH_SHARE = 0.8  # of the time of what was evaluated, ONNX Runtime in float32: less is not worth other last digits
TIMED_RUNS = 4

Way = tuple[Runtime, Precision]


@dataclass(frozen=True)
class Network:
    """An exported network, opened."""

    exported: Exported
    metadata: ModelMetadata
    engine: Engine


def open_network(model: Path, runtime: Runtime | Literal["auto"], precision: Precision | Literal["auto"]) -> Network:
    """Open a model file or a package as asked for, or by the fastest way here.

    Args:
        model: an ONNX file or the folder of a package.
        runtime: "auto" is what was measured to be the fastest.
        precision: "auto" is what a file is; of a package, whatever passed its gate.

    Raises:
        UserError: as `Predictor`.
    """
    package = package_at(model)
    if package and runtime == precision == "auto":
        runtime, precision = package.serving.get("runtime", "auto"), package.serving.get("precision", "auto")
        if runtime == "openvino" and find_spec("openvino") is None:
            runtime = "auto"  # the package was made elsewhere, and this machine does without
    files = _Files(package.model if package else model, package)
    way = _fastest(files, _ways(files, runtime, precision))
    exported, metadata = files.of(way[1])
    return Network(exported, metadata, open_engine(exported, *way))


class _Files:
    """The files of a model, each read once: of float32, and of int8 beside it if there is one."""

    def __init__(self, model: Path, package: Package | None) -> None:
        self.package = package
        self.model = model
        self._read: dict[Path, tuple[Exported, ModelMetadata]] = {}

    @property
    def own(self) -> Precision:
        """What the named file is."""
        return self._at(self.model)[1].precision

    def of(self, precision: Precision) -> tuple[Exported, ModelMetadata]:
        """The file that is computed in a precision.

        Raises:
            UserError: there is none.
        """
        if (precision == "int8") == (self.own == "int8"):
            return self._at(self.model)
        if self.own == "int8":
            raise UserError(
                f"{self.model} is of int8, and cannot be computed in {precision}: name the file that it is of."
            )
        beside = self.model.with_name(INT8_FILE)
        if not beside.is_file():
            raise UserError(
                f"there is no file of int8: looked for {beside}. Stage quantize writes one if it passes its gate "
                "(reports/runtimes.json says what it lost), and stage package puts it beside the model: name that."
            )
        return self._at(beside)

    def _at(self, file: Path) -> tuple[Exported, ModelMetadata]:
        if file not in self._read:
            exported = read_exported(file)
            self._read[file] = exported, ModelMetadata.of(session_of_graph(exported), file)
        return self._read[file]


def _ways(files: _Files, runtime: Runtime | Literal["auto"], precision: Precision | Literal["auto"]) -> Iterator[Way]:
    """The runtimes and precisions that may be taken, the plainest first."""
    if precision != "auto":
        precisions: list[Precision] = [precision]
    elif files.package is None:
        precisions = [files.own]
    else:
        precisions = ["float32", "bfloat16", "int8"]
    for each in precisions:
        runtimes: list[Runtime] = [runtime] if runtime != "auto" else _runtimes_of(each)
        for name in runtimes:
            if precision != "auto" or each == files.own or (files.package and files.package.passed(name, each)):
                if each == "int8" and each != files.own and precision == "auto" and not _is_safe_here(files):
                    continue  # a file that is itself of int8 was asked for by its name
                if each == "bfloat16" and precision == "auto" and not (name == "openvino" and has_bfloat16()):
                    continue
                yield name, each


def _runtimes_of(precision: Precision) -> list[Runtime]:
    found: list[Runtime] = ["onnxruntime"] if precision != "bfloat16" else []
    return [*found, "openvino"] if precision == "bfloat16" or find_spec("openvino") is not None else found


def _is_safe_here(files: _Files) -> bool:
    """Whether this processor adds up 8-bit products without overflow, or the file was made for those that do not."""
    return multiplies_int8() or files.of("int8")[1].reduced_range


def _fastest(files: _Files, ways: Iterator[Way]) -> Way:
    """By the times that are remembered or, once, measured; the first where the network is quick anyway."""
    first = next(ways)
    exported, metadata = files.of(first[1])
    key, known = machine_key(metadata), known_times(exported.digest)
    times = dict(known.get(key, {}))
    if times.get(_name(first), math.inf) < WORTH_MS:
        return first  # before the others are asked for, because that imports OpenVINO
    others = list(ways)
    if not others:
        return first
    if _name(first) not in times:
        times[_name(first)] = clip_ms(open_engine(exported, *first), metadata)
    if times[_name(first)] >= WORTH_MS:
        times |= {_name(way): _ms_or_never(files, way) for way in others if _name(way) not in times}
    if known.get(key) != times:
        remember("models", exported.digest, ms=known | {key: times})
        if len(times) > 1:
            shown = ", ".join(f"{name} {ms:.0f}" for name, ms in times.items())
            note(f"measured once on this machine, in ms a clip: {shown}")
    best = min((first, *others), key=lambda way: times.get(_name(way), math.inf))
    return best if times[_name(best)] <= WORTH_SHARE * times[_name(first)] else first


def _name(way: Way) -> str:
    return " ".join(way)


def _ms_or_never(files: _Files, way: Way) -> float:
    """Milliseconds of a clip; infinity where a runtime cannot load or compute the file, as another one can."""
    exported, metadata = files.of(way[1])
    try:
        return clip_ms(open_engine(exported, *way), metadata)
    except UserError as error:
        note(f"{way[0]} in {way[1]} is never taken for this model: {error}")
        return math.inf


def known_times(digest: str) -> dict[str, dict[str, float]]:
    """Remembered milliseconds of a clip of a model: machine -> runtime and precision -> time; nothing garbled."""
    found = recall("models", digest).get("ms")
    return {
        machine: {way: ms for way, ms in times.items() if isinstance(ms, float)}
        for machine, times in (found.items() if isinstance(found, dict) else ())
        if isinstance(times, dict)
    }


def machine_key(metadata: ModelMetadata) -> str:
    """What times depend on: processor, cores, version of the runtime, shape of a clip."""
    shape = "x".join(map(str, metadata.clip.shape))
    return f"{processor_name()}, {cores()} cores, onnxruntime {onnxruntime.__version__}, clips of {shape}"


def clip_ms(engine: Engine, metadata: ModelMetadata, runs: int = TIMED_RUNS) -> float:
    """The shortest time of an engine for one clip, in milliseconds: what else runs here only adds to it."""
    clip = np.random.default_rng(0).standard_normal((1, *metadata.clip.shape)).astype(np.float32)
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        engine.score(clip)
        times.append((time.perf_counter() - started) * 1000)
    return round(min(times), 3)
