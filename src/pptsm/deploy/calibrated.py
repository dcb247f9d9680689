"""An exported file with its calibration: other metadata and digest, the same graph, byte for byte."""

import onnx

from pptsm.evaluation.calibration import Calibration
from pptsm.evaluation.model_file import DIGEST, NO_DIGEST, with_digest
from pptsm.serving.metadata import CALIBRATION


def with_calibration(data: bytes, calibration: Calibration | None) -> bytes:
    """An exported file that carries a calibration.

    Args:
        data: the file.
        calibration: None: the file without one.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph.SerializeToString(deterministic=True)
    properties = {entry.key: entry.value for entry in model.metadata_props if entry.key not in (CALIBRATION, DIGEST)}
    if calibration is not None:
        properties[CALIBRATION] = calibration.to_json()
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, properties | {DIGEST: NO_DIGEST})
    changed = with_digest(model.SerializeToString())
    assert onnx.load_model_from_string(changed).graph.SerializeToString(deterministic=True) == graph
    return changed
