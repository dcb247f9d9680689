#!/usr/bin/env bash
# ONNX Runtime's `quant_pre_process` takes the weights out of a model that it is given in memory.
#
# One would guess that a function which writes its result to a file leaves its input as it was, and that a model in
# memory does as well as the same one by its path. With `skip_symbolic_shape=True` (needed where sympy is not there) and
# a ModelProto, it moves all arrays out of the caller's object, for a session, and marks them as held in a file
# "foo.bin", which nobody writes. It never puts them back. So:
# - the call returns well, and the caller's model is an empty shell. `onnx.save` writes it without a word, and the file
#   cannot be loaded; a second call fails;
# - where the graph has a Reshape with a constant shape, as almost every network has, even the first call fails, over
#   the file that is not there: ONNX Runtime needs the shape while it has no data, the error is only logged, and the
#   model that the code falls back to is empty by then;
# - where the graph has no array to move, as paddle2onnx writes it (Constant nodes only), the move itself fails, which
#   is only logged as well: the call returns well, the file is not optimised, its constants are no initialisers, and a
#   quantiser does not find them (see quantiser_makes_no_smaller_file_of_paddle2onnx.sh).
# The same model by its path, or with symbolic shapes (the model is written to a file then), works and stays whole.
# `quantize_static` did the same to its input and got a copy for it (github.com/microsoft/onnxruntime/pull/23322); this
# function did not. Seen with onnxruntime 1.32.0, onnx 1.17.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q onnx==1.17.0 onnxruntime==1.32.0 numpy==2.4.6 ml-dtypes==0.6.0 sympy==1.14.0
cat >empty.py <<'PY'
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process


def network(reshape: bool) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["rows" if reshape else "x", "weight"], ["y"])]
    arrays = {"weight": np.random.default_rng(0).random((8, 8), np.float32)}
    if reshape:
        nodes.insert(0, helper.make_node("Reshape", ["x", "shape"], ["rows"]))
        arrays["shape"] = np.array([-1, 8])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])]
    initialisers = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def said(action: Callable[[], object]) -> str:
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "returns well"


print("ONNX Runtime", onnxruntime.__version__, "with onnx", onnx.__version__)
for reshape in (False, True):
    print("With a Reshape:" if reshape else "Without a Reshape:")
    onnx.save(network(reshape), "input.onnx")
    by_path = said(lambda: quant_pre_process("input.onnx", "output.onnx", skip_symbolic_shape=True))
    symbolic = network(reshape)
    with_symbols = said(lambda: quant_pre_process(symbolic, "output.onnx"))
    model = network(reshape)
    first = said(lambda: quant_pre_process(model, "output.onnx", skip_symbolic_shape=True))
    places = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data}
    saved = said(lambda: onnx.save(model, "saved.onnx"))
    loaded = said(lambda: onnx.load("saved.onnx"))
    second = said(lambda: quant_pre_process(model, "output.onnx", skip_symbolic_shape=True))
    for what, text in {"by path": by_path, "with symbolic shapes": with_symbols, "in memory": first,
                       "the model after that": f"arrays in {places}", "saved": saved, "loaded again": loaded,
                       "a second call": second}.items():
        print(f"  {what}: {text}")
    assert by_path == with_symbols == saved == "returns well"
    assert symbolic == network(reshape)
    assert model != network(reshape) and places == {"foo.bin"}, "the model keeps its arrays now"
    assert ("foo.bin" in first) if reshape else (first == "returns well")
    assert "foo.bin" in loaded and "foo.bin" in second

model = network(False)
weight = model.graph.initializer.pop()
model.graph.node.insert(0, helper.make_node("Constant", [], ["weight"], value=weight))
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "input.onnx")
found = {}
for way, given in {"by path": "input.onnx", "in memory": model}.items():
    quant_pre_process(given, "output.onnx", skip_symbolic_shape=True)
    graph = onnx.load("output.onnx").graph
    found[way] = len(graph.initializer), sum(node.op_type == "Constant" for node in graph.node)
    print(f"With a Constant, {way}: returns well; {found[way][0]} initialisers, {found[way][1]} constants in its file")
assert found == {"by path": (1, 0), "in memory": (0, 1)}, "constants become initialisers in memory too now"
PY
venv/bin/python empty.py 2>log >said || { cat said log; exit 1; }
sed "s|$(dirname "$place")/[^ ]*/foo.bin|.../foo.bin|" said
