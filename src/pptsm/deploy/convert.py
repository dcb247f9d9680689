"""From a trained Paddle network to an inference model, and from that to an ONNX file."""

from pathlib import Path

import onnx
import paddle
import paddle2onnx
from paddle.static import InputSpec

from pptsm.deploy.initialisers import constants_to_initialisers
from pptsm.evaluation.model_file import DIGEST, NO_DIGEST, with_digest
from pptsm.model.network import VideoNetwork
from pptsm.runtime.paths import StrPath

INFERENCE_NAME = "model"


def save_inference(model: VideoNetwork, folder: StrPath, clip_shape: tuple[int, int, int, int]) -> None:
    """Write Paddle's inference model (program and weights) for clips of `clip_shape` (T, 3, H, W), any batch.

    The model itself is changed: it is put into evaluation mode, with its parallel convolutions fused.
    """
    folder = Path(folder)
    model.eval()
    model.fuse()
    spec = [InputSpec([None, *clip_shape], "float32", name="clips")]
    static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    paddle.jit.save(static, str(folder / INFERENCE_NAME))


def convert_to_onnx(inference: StrPath, target: StrPath, opset: int, properties: dict[str, str]) -> None:
    """Convert a folder that `save_inference` wrote; `properties` become the file's metadata, with its digest."""
    inference, target = Path(inference), Path(target)
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
    constants_to_initialisers(graph)
    onnx.helper.set_model_props(proto, properties | {DIGEST: NO_DIGEST})
    onnx.checker.check_model(proto)
    target.write_bytes(with_digest(proto.SerializeToString()))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
