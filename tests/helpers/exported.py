"""Small exported networks."""

import functools
import tempfile
from pathlib import Path

import onnx

from conftest import spec_with
from helpers.networks import seeded_state
from pptsm.data.spec import ClipSpec
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.model.network import VideoNetwork, build_model
from pptsm.serving.metadata import ModelMetadata

SHAPE = (4, 3, 32, 32)
CLIP = spec_with(resize_px=32, crop_px=32, test_crop_px=32, dense_window=8, dense_clips=2)
LABELS = ["left", "right", "ünï 走"]


def network(name: str = "pptsm", depth: int = 18) -> VideoNetwork:
    model = build_model(name, depth, 3, 4, width=0.125)  # type: ignore[arg-type]
    model.set_state_dict(seeded_state(model))
    model.eval()
    return model


def exported(folder: Path, model: VideoNetwork | None = None, clip: ClipSpec = CLIP) -> Path:
    """Export a network to a folder, by default `network()`, which is converted once for all tests; the ONNX file."""
    if model is None and clip is CLIP:
        for name, content in _of_the_default().items():
            (folder / name).write_bytes(content)
    else:
        model = model or network()
        save_inference(model, folder, clip.shape)
        convert_to_onnx(folder, folder / "model.onnx", 17, ModelMetadata(LABELS, clip, "student-0").to_properties())
    return folder / "model.onnx"


@functools.cache
def _of_the_default() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        exported(Path(folder), network())
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def properties_of(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
