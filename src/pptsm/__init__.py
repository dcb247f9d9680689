"""PP-TSM video action recognition, from raw videos to a checked ONNX file and an accuracy report.

For use from Python: `build_model` (a network), `load_network` (a trained one from its folder), `Predictor` (an exported
file) and `ClipSpec` (what decides which pixels a network sees). docs/python.md shows each at work.

>>> from pptsm import Predictor
>>> Predictor("model.onnx").predict("a.mp4", top_k=1)
[Guess(label='left', score=0.9...)]
"""

import os
from typing import TYPE_CHECKING, Any

from pptsm.runtime.cores import choose_kernels
from pptsm.runtime.extras import watch_imports

if TYPE_CHECKING:
    from pptsm.data.spec import ClipSpec
    from pptsm.model.network import build_model
    from pptsm.serving.predictor import Predictor
    from pptsm.weights.card import load_network

__all__ = ["ClipSpec", "Predictor", "build_model", "load_network"]

watch_imports()
# ONNX Runtime's builds (1.32.0 was looked at) report their use to Microsoft and keep an identifier in the home folder,
# unless this is set before their import
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
choose_kernels()  # here, because it must come before the first import of Paddle, whichever entrance was taken


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the command and prediction start without Paddle."""
    if name in ("build_model", "load_network"):
        from pptsm.model.network import build_model
        from pptsm.weights.card import load_network

        return build_model if name == "build_model" else load_network
    if name == "Predictor":
        from pptsm.serving.predictor import Predictor

        return Predictor
    if name == "ClipSpec":
        from pptsm.data.spec import ClipSpec

        return ClipSpec
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
