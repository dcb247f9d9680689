"""Opening an ONNX file in ONNX Runtime."""

from pathlib import Path

import onnxruntime

ERRORS_ONLY = 3


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A session on all cores of the CPU, for a file or its bytes.

    ONNX Runtime's warnings tell what its optimiser removes, which no user can act on: errors only.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
