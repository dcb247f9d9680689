"""What computes the logits of views: ONNX Runtime with an exported file, or Paddle with the network itself.

Paddle is imported only where it computes: what is served does without it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pptsm.data.transforms import ClipArray, Pixels, normalise
from pptsm.evaluation.model_file import read_exported, unloadable, with_features
from pptsm.runtime.cores import cores
from pptsm.runtime.errors import UserError
from pptsm.runtime.paths import StrPath

if TYPE_CHECKING:
    import paddle

    from pptsm.model.network import VideoNetwork

Scorer = Callable[[ClipArray], NDArray[np.float32]]  # normalised views [B, S, 3, H, W] -> logits [B, K]
PixelScorer = Callable[[Pixels], NDArray[np.float32]]  # the same, of views that are not yet normalised
FeatureScorer = Callable[[ClipArray], tuple[NDArray[np.float32], ...]]  # the same views -> logits, features [B, C]

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


def open_session(model: StrPath, device: str = "cpu") -> onnxruntime.InferenceSession:
    """A session for an ONNX file: on the cores of this process, or on a GPU where this ONNX Runtime can use one.

    ONNX Runtime's warnings tell what its optimiser removes, which no user can act on: errors only.

    Raises:
        UserError: there is no such file, it cannot be loaded, or `read_exported` refuses it.
    """
    model = Path(model)
    return _session(read_exported(model), model, device)  # what was looked into is what is opened


def _session(data: bytes, model: Path, device: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    # a thread that waits by spinning takes a core from what decodes beside: with it, 8 clients of `pptsm serve` got 0.6
    # times the clips of without, and a lone clip gains 4 %
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if (here := cores()) != os.cpu_count():  # by itself it takes all of the machine, whatever a container's quota
        options.intra_op_num_threads = here
    on_gpu = device == "gpu" and GPU_PROVIDER in onnxruntime.get_available_providers()
    providers = [GPU_PROVIDER] if on_gpu else []
    try:
        return onnxruntime.InferenceSession(data, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, which it does not document
        raise unloadable(model, error) from None


def onnx_scorer(session: onnxruntime.InferenceSession) -> Scorer:
    """An exported network as a function that ONNX Runtime computes.

    It raises UserError where ONNX Runtime cannot: the file takes other clips, or memory runs out.
    """

    return lambda views: _run(session, views, ["logits"])[0]


def _run(session: onnxruntime.InferenceSession, views: ClipArray, outputs: list[str]) -> list[NDArray[np.float32]]:
    try:
        found: list[NDArray[np.float32]] = session.run(outputs, {"clips": views})
    except Exception as error:  # as above
        raise UserError(
            f"ONNX Runtime cannot compute the exported file on clips of {list(views.shape)}: {str(error)[:200]}. "
            "Where memory ran out, close other programs or take a smaller network; else `dvc repro export` makes "
            "the file anew."
        ) from None
    return found


def feature_scorer(model: StrPath) -> FeatureScorer:
    """An exported network that also gives the features [B, C] that enter its last fully connected layer.

    Raises:
        UserError: as `open_session`, or it has no such layer; and when it is called, as what `onnx_scorer` gives.
    """
    session = _session(with_features(read_exported(model), model), Path(model), "cpu")
    return lambda views: tuple(_run(session, views, ["logits", "features"]))


def onnx_pixel_scorer(session: onnxruntime.InferenceSession) -> PixelScorer:
    """The same from pixels, which are normalised on the host: an exported file takes normalised views."""
    score = onnx_scorer(session)
    return lambda pixels: score(normalise(pixels))


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
