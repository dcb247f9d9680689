#!/usr/bin/env bash
# OpenVINO fills the zero padding of an INT8 network with other numbers, and says nothing of it.
#
# One would guess that a quantised file gives the same in OpenVINO as in ONNX Runtime, but for a step or so of rounding.
# Here a tensor is quantised, padded with zeros and quantised again by the same scale and zero point, as ONNX Runtime's
# static quantiser writes around each Pad (QDQ). ONNX's reference and ONNX Runtime give 0 in the padding. OpenVINO gives
# the zero point times the scale: 3.9, where the data end at 3 and 8 bits can hold no more than 3.75. It happens where
# the Pad goes along one axis, whichever, and the zero point is not 0. Without the second quantisation, along two axes
# at once (as spatial padding mostly is) or with zero point 0 (as after a ReLU) all is well. A shift along time pads one
# axis. What is not padding agrees.
# A constant of 0.5 in place of 0 comes out as 0, even without the second quantisation: OpenVINO moves the Pad before
# the dequantisation and writes the real number 0.5 into an 8-bit integer there.
# Both go back to the "low precision" step on Pad (src/common/low_precision_transformations/src/pad.cpp of
# github.com/openvinotoolkit/openvino; no thread about this was found there).
# Seen with openvino 2026.4.1 on an x86-64 CPU, onnxruntime 1.32.0, onnx 1.17.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q openvino==2026.4.1 onnx==1.17.0 onnxruntime==1.32.0 numpy==2.4.6
cat >padding.py <<'PY'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SHAPE, SCALE = (2, 2, 3, 3), 0.03
FIRST, HEIGHT, BOTH = (1, 0, 0, 0, 1, 0, 0, 0), (0, 0, 1, 0, 0, 0, 1, 0), (0, 0, 1, 1, 0, 0, 1, 1)


def network(pads: tuple[int, ...], zero_point: int, value: float, again: bool) -> onnx.ModelProto:
    parameters = ["scale", "zero_point"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *parameters], ["integers"]),
        helper.make_node("DequantizeLinear", ["integers", *parameters], ["numbers"]),
        helper.make_node("Pad", ["numbers", "pads", "value"], ["padded" if again else "y"]),
    ]
    if again:
        nodes += [
            helper.make_node("QuantizeLinear", ["padded", *parameters], ["padded_integers"]),
            helper.make_node("DequantizeLinear", ["padded_integers", *parameters], ["y"]),
        ]
    arrays = {"scale": np.float32(SCALE), "zero_point": np.uint8(zero_point), "value": np.float32(value),
              "pads": np.array(pads)}
    size = [before + length + after for before, length, after in zip(pads[:4], SHAPE, pads[4:])]
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, size)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def compare(title: str, pads: tuple[int, ...], zero_point: int, value: float = 0, again: bool = True) -> float:
    """What OpenVINO has in the padding; the other two have `value` there, and all agree elsewhere."""
    model = network(pads, zero_point, value, again)
    onnx.save(model, "network.onnx")
    reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
    runtime = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    other = openvino.Core().compile_model("network.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
    inside = tuple(slice(before, before + length) for before, length in zip(pads, SHAPE))
    padding = np.ones(reference.shape, bool)
    padding[inside] = False
    np.testing.assert_array_equal(runtime, reference)
    np.testing.assert_allclose(runtime[padding], value, atol=SCALE / 2)
    np.testing.assert_allclose(other[inside], reference[inside], atol=1e-5)
    assert np.ptp(other[padding]) < 1e-5
    print(f"{title}: in the padding ONNX Runtime {runtime[padding][0]:.2f}, OpenVINO {other[padding][0]:.2f}")
    return float(other[padding][0])


print("OpenVINO", openvino.__version__)
print("ONNX Runtime", onnxruntime.__version__, "and onnx", onnx.__version__)
x = np.random.default_rng(0).uniform(-3, 3, SHAPE).astype(np.float32)
wrong = [compare("first axis", FIRST, 130), compare("height", HEIGHT, 130)]
right = [compare("height and width", BOTH, 130), compare("first axis, quantised once", FIRST, 130, again=False)]
half = compare("first axis, constant 0.5, quantised once", FIRST, 130, 0.5, again=False)
x = np.abs(x)
right.append(compare("first axis, no negative data, zero point 0", FIRST, 0))
np.testing.assert_allclose(right, 0, atol=1e-5)
np.testing.assert_allclose(wrong, 130 * SCALE, atol=1e-4, err_msg="the padding has changed")
assert half == 0, "the constant has changed"
PY
venv/bin/python padding.py
