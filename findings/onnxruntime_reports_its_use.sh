#!/usr/bin/env bash
# ONNX Runtime from the package index reports its use over the network, on Linux too, unless it is told not to.
#
# One would guess that a runtime which is imported and opens a file keeps to itself, and that its documented switch,
# `disable_telemetry_events()`, stops all there is. Builds for Linux carry an uploader: importing the package makes an
# identifier of the machine and a queue of events below XDG_CACHE_HOME (or ~/.cache), before any call could stop it.
# Only the environment variable ORT_DISABLE_TELEMETRY=1, set before the import, prevents both.
# Seen with ONNX Runtime 1.32.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q onnxruntime==1.32.0 numpy==2.4.6 onnx==1.17.0
venv/bin/python - <<'PY'
from onnx import TensorProto, helper, save

values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "m.onnx")
PY
left() {  # the files that a program leaves in its home and its temporary folder
    local home="$place/home.$1"
    mkdir "$home"
    env -u ORT_DISABLE_TELEMETRY HOME="$home" XDG_CACHE_HOME="$home/cache" TMPDIR="$home" "${@:3}" \
        venv/bin/python -c "import onnxruntime; $2; onnxruntime.InferenceSession('m.onnx', providers=['CPUExecutionProvider'])"
    (cd "$home" && find . -type f | sort)
}
by_itself=$(left 1 pass)
by_call=$(left 2 "onnxruntime.disable_telemetry_events()")
by_variable=$(left 3 pass ORT_DISABLE_TELEMETRY=1)
printf 'by itself:\n%s\nafter disable_telemetry_events():\n%s\nwith ORT_DISABLE_TELEMETRY=1:\n%s\n' \
    "$by_itself" "$by_call" "$by_variable"
grep -q deviceid <<<"$by_itself"
grep -q deviceid <<<"$by_call"
[ -z "$by_variable" ]
