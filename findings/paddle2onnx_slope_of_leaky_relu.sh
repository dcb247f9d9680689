#!/usr/bin/env bash
# paddle2onnx writes another slope of leaky ReLU where Paddle is a release newer.
#
# One would guess that a converter which takes a model of Paddle 3.3 writes its numbers or refuses. The slope of leaky
# ReLU is written exactly from a model of paddlepaddle 3.2.2, and as a number that has nothing to do with it from one of
# 3.3.1 (it is stored in double precision there, and read as single); the file is valid, and its answers are wrong. Seen
# with paddle2onnx 2.1.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
cat >slope.py <<'PY'
import numpy as np
import onnx
import onnxruntime
import paddle
import paddle2onnx

SLOPE = 0.1
network = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.LeakyReLU(SLOPE))
network.eval()
paddle.jit.save(network, "net", input_spec=[paddle.static.InputSpec([1, 4], "float32")])
paddle2onnx.export("net.json", "net.pdiparams", "net.onnx", opset_version=17, optimize_tool="None")
graph = onnx.load("net.onnx").graph
(written,) = (node.attribute[0].f for node in graph.node if node.op_type == "LeakyRelu")
inputs = np.array([[-3.0, -1.0, 1.0, 2.0]], np.float32)
session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
(answer,) = session.run(None, {graph.input[0].name: inputs})
off = float(np.abs(answer - network(paddle.to_tensor(inputs)).numpy()).max())
print(f"Paddle {paddle.__version__}, slope {SLOPE}: written {written:.9g}, answers differ by {off:.2g}")
right = abs(written - SLOPE) < 1e-6
assert right == (off < 1e-5)
assert right == paddle.__version__.startswith("3.2."), "the slope of newer models is written right now"
PY
for version in 3.2.2 3.3.1; do
    "${PYTHON:-python3.11}" -m venv "$version"
    "$version/bin/python" -m pip install -q "paddlepaddle==$version" paddle2onnx==2.1.0 onnx==1.17.0 \
        onnxruntime==1.32.0 numpy==2.4.6
    "$version/bin/python" -W ignore slope.py 2>log >said || { cat said log; exit 1; }
    tail -1 said
done
