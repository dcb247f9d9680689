"""From a trained Paddle network to an inference model and an ONNX file, and the check that they agree."""

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import paddle
from numpy.typing import NDArray
from paddle.static import InputSpec

from pptsm.data.transforms import ClipArray
from pptsm.deploy.session import open_session
from pptsm.errors import UserError
from pptsm.evaluation.scoring import Scorer
from pptsm.model.network import VideoNetwork

INFERENCE_NAME = "model"


@dataclass(frozen=True)
class Agreement:
    """How far ONNX Runtime is from Paddle on the same clips."""

    clips: int
    max_relative_difference: float  # of the logits, relative to the largest logit of the clip
    same_top1: bool


def save_inference(model: VideoNetwork, folder: Path, clip_shape: tuple[int, int, int, int]) -> None:
    """Write Paddle's inference model (program and weights) for clips of `clip_shape` (T, 3, H, W), any batch."""
    model.eval()
    spec = [InputSpec([None, *clip_shape], "float32", name="clips")]
    static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    paddle.jit.save(static, str(folder / INFERENCE_NAME))


def convert_to_onnx(inference: Path, target: Path, opset: int, properties: dict[str, str]) -> None:
    """Convert a folder that `save_inference` wrote; `properties` become the file's metadata."""
    import paddle2onnx

    paddle2onnx.export(
        str(inference / f"{INFERENCE_NAME}.json"),
        str(inference / f"{INFERENCE_NAME}.pdiparams"),
        str(target),
        opset_version=opset,
        verbose=False,
        optimize_tool="None",  # the default one installs packages at run time; ONNX Runtime folds constants itself
    )
    proto = onnx.load(str(target))
    graph = proto.graph
    _rename(graph, graph.input[0].name, "clips")
    _rename(graph, graph.output[0].name, "logits")
    onnx.helper.set_model_props(proto, properties)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(target))


def onnx_scorer(model: VideoNetwork, clip_shape: tuple[int, int, int, int], opset: int) -> Scorer:
    """The network as a function that ONNX Runtime computes: views [B, *clip_shape] -> logits [B, K].

    On a CPU this is about ten times as fast as Paddle's own execution, and it is what gets deployed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_inference(model, folder, clip_shape)
        convert_to_onnx(folder, folder / "model.onnx", opset, {})
        session = open_session((folder / "model.onnx").read_bytes())

    def score(views: ClipArray) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(["logits"], {"clips": views})[0]
        return logits

    return score


def compare(model: VideoNetwork, onnx_file: Path, clips: Iterable[ClipArray]) -> Agreement:
    """Score clips [T, 3, H, W] with Paddle and with ONNX Runtime."""
    session = open_session(onnx_file)
    model.eval()
    worst, same, count = 0.0, True, 0
    for clip in clips:
        batch = clip[None]
        with paddle.no_grad():
            ours: NDArray[np.float32] = model(paddle.to_tensor(batch)).numpy()
        theirs = session.run(["logits"], {"clips": batch})[0]
        worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(ours).max()))
        same &= bool((ours.argmax(axis=1) == theirs.argmax(axis=1)).all())
        count += 1
    return Agreement(count, worst, same)


def require(agreement: Agreement, tolerance: float) -> None:
    """The gate.

    Raises:
        UserError: the exported file does not compute what the network computes.
    """
    # written so that NaN fails too
    if not (agreement.max_relative_difference <= tolerance and agreement.same_top1):
        raise UserError(
            f"the ONNX file does not agree with Paddle on {agreement.clips} real clips: logits differ by "
            f"{agreement.max_relative_difference:.3g} of the largest (allowed {tolerance:g}), same top-1: "
            f"{agreement.same_top1}. Nothing was exported. Check the versions of paddlepaddle and paddle2onnx."
        )


def latency_ms(onnx_file: Path, clip: ClipArray, runs: int) -> float:
    """Median time of ONNX Runtime for one clip [T, 3, H, W] on all cores, in milliseconds."""
    session = open_session(onnx_file)
    feed = {"clips": clip[None]}
    times = []
    for _ in range(runs + 2):  # the first two warm up
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]) * 1000)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
