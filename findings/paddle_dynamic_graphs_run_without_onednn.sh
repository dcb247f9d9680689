#!/usr/bin/env bash
# FLAGS_use_onednn speeds up no training of Paddle on a CPU: in a dynamic graph no kernel of oneDNN is ever chosen.
#
# One would guess that the flag (once FLAGS_use_mkldnn), which Paddle accepts, lists and returns as True, makes dynamic
# graphs compute with oneDNN, which is built in. It does so in the inference engine alone: there the very same layers,
# saved and loaded again, run as oneDNN's primitives. oneDNN says of each primitive that it ran (ONEDNN_VERBOSE): a
# convolution forward and backward leaves no line, the engine leaves one for the same convolution.
# Seen with paddlepaddle 3.2.2 (oneDNN 3.6.2) on x86-64.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q paddlepaddle==3.2.2 numpy==2.4.6 setuptools==80.9.0
cat > layers.py <<'PY'
import sys

import paddle

layers = paddle.nn.Sequential(paddle.nn.Conv2D(16, 32, 3, padding=1), paddle.nn.BatchNorm2D(32), paddle.nn.ReLU())
images = paddle.randn([4, 16, 28, 28])
print(paddle.__version__, paddle.get_flags(["FLAGS_use_onednn", "FLAGS_use_mkldnn"]))
if sys.argv[1] == "dynamic":
    layers(images).sum().backward()
    sys.exit()
layers.eval()
paddle.jit.save(layers, "saved", input_spec=[paddle.static.InputSpec([4, 16, 28, 28])])
settings = paddle.inference.Config("saved.json", "saved.pdiparams")
settings.enable_mkldnn()
paddle.inference.create_predictor(settings).run([images])
PY
export ONEDNN_VERBOSE=1 FLAGS_use_onednn=1 FLAGS_use_mkldnn=1
for way in dynamic engine; do
    venv/bin/python -W ignore layers.py "$way" > "$way.txt" 2> /dev/null
    grep "FLAGS_use_onednn" "$way.txt"
    echo "$way: $(grep -c 'primitive,exec,.*convolution' "$way.txt" || true) convolutions by oneDNN"
done
if grep "primitive,exec" dynamic.txt; then exit 1; fi
grep -q "primitive,exec,.*convolution" engine.txt
