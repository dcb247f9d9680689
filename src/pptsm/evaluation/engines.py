"""What computes the logits of views: ONNX Runtime or OpenVINO with an exported file, or Paddle with the network itself.

Paddle is imported only where it computes: what is served does without it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pptsm.data.transforms import ClipArray, Pixels, normalise
from pptsm.evaluation.model_file import Exported, read_exported, unloadable, with_features
from pptsm.params.choices import Precision, Runtime
from pptsm.runtime.cores import cores, processor_name
from pptsm.runtime.errors import UserError
from pptsm.runtime.extras import require
from pptsm.runtime.paths import StrPath

if TYPE_CHECKING:
    import openvino
    import paddle

    from pptsm.model.network import VideoNetwork

Scorer = Callable[[ClipArray], NDArray[np.float32]]  # normalised views [B, S, 3, H, W] -> logits [B, K]
PixelScorer = Callable[[Pixels], NDArray[np.float32]]  # the same, of views that are not yet normalised
FeatureScorer = Callable[[ClipArray], NDArray[np.float32]]  # the same views -> features [B, C]

ERRORS_ONLY = 3
GPU_PROVIDER = "CUDAExecutionProvider"


def choose_engine(requested: Literal["auto", "onnx", "paddle"], device: str) -> Literal["onnx", "paddle"]:
    """What evaluation computes with.

    Args:
        requested: "auto" is ONNX Runtime, unless the device is a GPU that only Paddle can use.
        device: "cpu" or "gpu", as Paddle found it.
    """
    if requested == "auto":
        return "paddle" if device == "gpu" and GPU_PROVIDER not in onnxruntime.get_available_providers() else "onnx"
    return requested


@dataclass(frozen=True)
class Engine:
    """An exported network in a runtime that computes it in a precision that is known."""

    runtime: Runtime
    precision: Precision
    score: Scorer


def open_engine(exported: Exported, runtime: Runtime, precision: Precision, device: str = "cpu") -> Engine:
    """Open an exported file.

    Args:
        exported: the file, looked into. What it is itself computed in, float32 or int8, stands in it.
        runtime: what computes it.
        precision: bfloat16 is a way to compute a file of float32, which OpenVINO alone has, on some processors.
        device: as `open_session`.

    Raises:
        UserError: the runtime is not installed, cannot compute in this precision here, or cannot load the file.
    """
    if runtime == "onnxruntime":
        if precision == "bfloat16":
            raise UserError(
                "ONNX Runtime computes in float32 or int8 on processors, not in bfloat16: take --runtime openvino."
            )
        return Engine(runtime, precision, onnx_scorer(_session_of(exported, device)))
    return Engine(runtime, precision, _openvino_scorer(exported, precision))


def open_session(model: StrPath, device: str = "cpu") -> onnxruntime.InferenceSession:
    """A session for an ONNX file: on the cores of this process, or on a GPU where this ONNX Runtime can use one.

    Raises:
        UserError: there is no such file, it cannot be loaded, or `read_exported` refuses it.
    """
    return _session_of(read_exported(model), device)


def session_of_graph(exported: Exported) -> onnxruntime.InferenceSession:
    """A session that tells what a file says of itself; it is opened without optimising, and computes slowly.

    Raises:
        UserError: it cannot be loaded.
    """
    return _session_of(exported, "cpu", onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)


def _session_of(
    exported: Exported,
    device: str,
    optimised: onnxruntime.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> onnxruntime.InferenceSession:
    """What was looked into is what is opened.

    ONNX Runtime's warnings tell what its optimiser removes, which no user can act on: errors only.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = optimised
    # a thread that waits by spinning takes a core from what decodes beside it; a lone clip gains 4 % by it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if (here := cores()) != os.cpu_count():  # by itself it takes all of the machine, whatever a container's quota
        options.intra_op_num_threads = here
    on_gpu = device == "gpu" and GPU_PROVIDER in onnxruntime.get_available_providers()
    providers = [GPU_PROVIDER] if on_gpu else []
    try:
        return onnxruntime.InferenceSession(exported.data, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, which it does not document
        raise unloadable(exported.file, error) from None


def onnx_scorer(session: onnxruntime.InferenceSession) -> Scorer:
    """An exported network as a function that ONNX Runtime computes.

    It raises UserError where ONNX Runtime cannot: the file takes other clips, or memory runs out.
    """

    return lambda views: _run(session, views, ["logits"])[0]


def _run(session: onnxruntime.InferenceSession, views: ClipArray, outputs: list[str]) -> list[NDArray[np.float32]]:
    try:
        found: list[NDArray[np.float32]] = session.run(outputs, {"clips": views})
    except Exception as error:  # as above
        raise _no_answer("ONNX Runtime", views, error) from None
    return found


def feature_scorer(model: StrPath) -> FeatureScorer:
    """The features [B, C] that enter the last fully connected layer of an exported network.

    Raises:
        UserError: as `open_session`, or it has no such layer; and when it is called, as what `onnx_scorer` gives.
    """
    exported = read_exported(model)
    session = _session_of(replace(exported, data=with_features(exported)), "cpu")
    return lambda views: _run(session, views, ["features"])[0]


def onnx_pixel_scorer(session: onnxruntime.InferenceSession) -> PixelScorer:
    """The same from pixels, which are normalised on the host: an exported file takes normalised views."""
    score = onnx_scorer(session)
    return lambda pixels: score(normalise(pixels))


def has_bfloat16() -> bool:
    """Whether OpenVINO is installed, and this processor multiplies in bfloat16."""
    if find_spec("openvino") is None:
        return False
    return "BF16" in _openvino().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _openvino() -> "openvino.Core":
    """OpenVINO in this process, once and to its end.

    On processors with AMX each one gives the process another stack for signals, and takes it away when it goes: where
    one of two is left, the stack may be gone that signals still use, and Ctrl-C ends in a segmentation fault.
    """
    import openvino

    return openvino.Core()


def _openvino_scorer(exported: Exported, precision: Precision) -> Scorer:
    """An exported network as a function that OpenVINO computes on the cores of this process.

    Left to itself OpenVINO computes a file of float32 in bfloat16 where the processor can: so the precision is said.
    """
    require("--runtime openvino", ["openvino"])
    if precision == "bfloat16" and not has_bfloat16():
        raise UserError(f"this processor ({processor_name()}) does not multiply in bfloat16: take --precision float32.")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": cores(),
    }
    core = _openvino()
    try:
        compiled = core.compile_model(core.read_model(exported.data), "CPU", settings)
    except RuntimeError as error:
        raise unloadable(exported.file, error, "OpenVINO") from None

    def score(views: ClipArray) -> NDArray[np.float32]:
        try:
            logits: NDArray[np.float32] = compiled({"clips": np.ascontiguousarray(views)})["logits"].copy()
        except (RuntimeError, ValueError, TypeError) as error:
            raise _no_answer("OpenVINO", views, error) from None
        return logits

    return score


def _no_answer(runtime: str, views: ClipArray, error: Exception) -> UserError:
    return UserError(
        f"{runtime} cannot compute the exported file on clips of {list(views.shape)}: {str(error)[:200]}. "
        "Where memory ran out, close other programs or take a smaller network; else `dvc repro export` makes "
        "the file anew."
    )


def paddle_scorer(model: "VideoNetwork") -> Scorer:
    """The network, put into evaluation mode, as a function that Paddle computes."""
    import paddle

    return lambda views: _evaluated(model, paddle.to_tensor(views))


def paddle_pixel_scorer(model: "VideoNetwork") -> PixelScorer:
    """The same from pixels, which are normalised where Paddle computes."""
    from pptsm.data.loader import normalise_on_device

    return lambda pixels: _evaluated(model, normalise_on_device(pixels))


def _evaluated(model: "VideoNetwork", clips: "paddle.Tensor") -> NDArray[np.float32]:
    import paddle

    model.eval()
    with paddle.no_grad():
        logits: NDArray[np.float32] = model(clips).numpy()
    return logits
