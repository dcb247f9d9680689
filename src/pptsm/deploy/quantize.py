"""From an exported file to one of int8, by ONNX Runtime's static quantiser.

Weights become QInt8 per channel, activations QUInt8: on x86-64 only with these are additions and pooling computed in 8
bits too. Which layers stay in float is decided on the calibration clips, never on the videos that the gate looks at.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pptsm.data.transforms import ClipArray
from pptsm.deploy.initialisers import constants_to_initialisers
from pptsm.deploy.int8_form import int8_form
from pptsm.evaluation.engines import Scorer, open_engine
from pptsm.evaluation.model_file import DIGEST, NO_DIGEST, Exported, read_exported, with_digest
from pptsm.runtime.cores import multiplies_int8
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata

FAITHFUL = 0.05  # mean difference of the logits, relative to the largest, up to which no more layers are kept in float


def quantise(parent: Exported, metadata: ModelMetadata, clips: Sequence[ClipArray], target: Path) -> list[str]:
    """Write a network as a file of int8.

    Args:
        parent: the file of float32.
        metadata: what it says of itself; the new file says the same, and its precision.
        clips: normalised [S, 3, H, W], of training videos: ranges of the activations are theirs.
        target: the file to write.

    Returns:
        The names of the layers that stay in float.

    Raises:
        UserError: there is no clip.
    """
    if not clips:
        raise UserError("there is no training clip to find the ranges of activations on. Look at the split (index).")
    reduced = not multiplies_int8()
    said = replace(metadata, precision="int8", reduced_range=reduced).to_properties()
    exact = open_engine(parent, "onnxruntime", "float32").score
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        _prepare(parent, prepared)
        kept: list[str] = []
        for kept in _choices_of_layers(prepared):
            _quantise(prepared, Path(scratch) / "int8.onnx", clips, kept, reduced)
            proto = onnx.load(str(Path(scratch) / "int8.onnx"))
            onnx.helper.set_model_props(proto, said | {DIGEST: NO_DIGEST})
            target.write_bytes(with_digest(proto.SerializeToString()))
            if _difference(exact, open_engine(read_exported(target), "onnxruntime", "int8").score, clips) <= FAITHFUL:
                break
    return kept


def _prepare(parent: Exported, prepared: Path) -> None:
    """ONNX Runtime's preparation: shapes are inferred, batch norm is folded.

    Its symbolic inference fails on the reshape of the temporal shift.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    proto = onnx.load_model_from_string(parent.data)
    constants_to_initialisers(proto.graph)  # of files of older exports
    plain = prepared.with_name("plain.onnx")  # as a file: of a graph in memory the arrays are lost on the way
    onnx.save(int8_form(proto), str(plain))
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)


def _choices_of_layers(prepared: Path) -> Iterator[list[str]]:
    """Layers to keep in float: none; the first and the last.

    One between others of int8 cannot be kept: ONNX Runtime computes it in 8 bits all the same, with coarser weights.
    """
    nodes = onnx.load(str(prepared)).graph.node
    layers = [node for node in nodes if node.op_type in {"Conv", "Gemm", "MatMul"}]
    yield []
    yield [layers[0].name, layers[-1].name]


def _quantise(prepared: Path, target: Path, clips: Sequence[ClipArray], kept: list[str], reduced: bool) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(prepared),
        str(target),
        _Reader(clips),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=reduced,
        nodes_to_exclude=kept,
    )


class _Reader:
    """Calibration clips as ONNX Runtime asks for them."""

    def __init__(self, clips: Sequence[ClipArray]) -> None:
        self._clips = iter(clips)

    def get_next(self) -> dict[str, Any] | None:
        clip = next(self._clips, None)
        return None if clip is None else {"clips": clip[None]}


def _difference(exact: Scorer, other: Scorer, clips: Sequence[ClipArray]) -> float:
    """Mean over clips of the largest difference of the logits, relative to the clip's largest logit."""
    found = []
    for clip in clips:
        logits = exact(clip[None])
        found.append(float(np.abs(other(clip[None]) - logits).max() / np.abs(logits).max()))
    return float(np.mean(found))
