#!/usr/bin/env bash
# ONNX Runtime's quantiser leaves a file of paddle2onnx as large as it was, and says nothing of it.
#
# One would guess that 8-bit weights make a file of a quarter of the size. paddle2onnx writes weights as outputs of
# Constant nodes, and the quantiser looks for initialisers: dynamic and static quantisation both return well, with
# operators on integers in the graph, but weights stay float32 in the file and are quantised anew in each run. The same
# file after `quant_pre_process`, which makes initialisers of them, shrinks to 27 %. Seen with paddlepaddle 3.2.2,
# paddle2onnx 2.1.0, onnxruntime 1.32.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q paddlepaddle==3.2.2 paddle2onnx==2.1.0 onnx==1.17.0 onnxruntime==1.32.0 numpy==2.4.6 \
    ml-dtypes==0.6.0
cat >quantise.py <<'PY'
import os

import numpy as np
import onnx
import onnxruntime
import paddle
import paddle2onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from paddle import nn

SHAPE = (4, 3, 32, 32)


class Batches(CalibrationDataReader):
    def __init__(self, name: str) -> None:
        rng = np.random.default_rng(0)
        self.batches = iter([{name: rng.random(SHAPE, dtype=np.float32)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


network = nn.Sequential(nn.Conv2D(3, 64, 3), nn.ReLU(), nn.Conv2D(64, 64, 3), nn.ReLU(), nn.Conv2D(64, 64, 3))
network.eval()
paddle.jit.save(network, "net", input_spec=[paddle.static.InputSpec(list(SHAPE), "float32")])
paddle2onnx.export("net.json", "net.pdiparams", "net.onnx", opset_version=17, optimize_tool="None")
graph = onnx.load("net.onnx").graph
constants = sum(node.op_type == "Constant" for node in graph.node)
quantize_dynamic("net.onnx", "dynamic.onnx")
quantize_static("net.onnx", "static.onnx", Batches(graph.input[0].name))
quant_pre_process("net.onnx", "prepared.onnx", skip_symbolic_shape=True)
quantize_static("prepared.onnx", "prepared_static.onnx", Batches(graph.input[0].name))
names = ("net", "dynamic", "static", "prepared_static")
share = {name: os.path.getsize(f"{name}.onnx") / os.path.getsize("net.onnx") for name in names}
print(f"ONNX Runtime {onnxruntime.__version__}: {len(graph.initializer)} initialisers, {constants} constants;",
      *(f"{name} {value:.0%}" for name, value in share.items()))
assert not graph.initializer
assert share["dynamic"] > 0.95 and share["static"] > 0.95, "constants are quantised now"
assert share["prepared_static"] < 0.4
PY
venv/bin/python -W ignore quantise.py 2>log >said || { cat said log; exit 1; }
tail -1 said
