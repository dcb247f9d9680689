#!/usr/bin/env bash
# Converting a model with paddle2onnx changes the environment: it installs packages.
#
# One would guess that `paddle2onnx.export` writes one file. Its default optimisation is Polygraphy's folding of
# constants, which runs pip for what it does not find: after the call the environment has modules that nobody asked for,
# in versions that nobody pinned. With `optimize_tool="None"` it stays as it was. Seen with paddle2onnx 2.1.0,
# paddlepaddle 3.2.2.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q paddlepaddle==3.2.2 paddle2onnx==2.1.0 onnx==1.17.0 onnxruntime==1.32.0 numpy==2.4.6
cat >export.py <<'PY'
import sys

import paddle
import paddle2onnx

network = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.ReLU())
network.eval()
paddle.jit.save(network, "net", input_spec=[paddle.static.InputSpec([1, 4], "float32")])
options = {"optimize_tool": "None"} if sys.argv[1] == "none" else {}
paddle2onnx.export("net.json", "net.pdiparams", "net.onnx", opset_version=17, **options)
PY
packages() { venv/bin/python -m pip list --format=freeze --disable-pip-version-check 2>/dev/null | cut -d= -f1 | sort; }
packages >before
venv/bin/python -W ignore export.py none >log 2>&1 || { cat log; exit 1; }
packages >still
cmp before still
venv/bin/python -W ignore export.py default >log 2>&1 || { cat log; exit 1; }
packages >after
echo "paddle2onnx 2.1.0, one export; packages that are new: $(comm -13 before after | tr '\n' ' ')"
[[ -n $(comm -13 before after) ]] || { echo "nothing is installed now"; exit 1; }
