"""The card of a package: Hugging Face's metadata as YAML, and what a person should know, all from files of the stages.

Source of the metadata's form: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import io
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import metadata
from typing import Any

from ruamel.yaml import YAML

from pptsm.report.page import render

TASK = "video-classification"


def model_card(values: Mapping[str, Any]) -> str:
    """README.md of a package.

    Args:
        values: `title`, `root` (folder of the videos), `split`, `sampling`, `labels`, `splits` (split -> usable
            videos), `groups`, `metrics` (sampling -> figures of the student), `best` (those of the headline),
            `exported` (its figures), `clip`, `revision`, `warning`, `calibrated` (as calibration.json has it),
            `runtimes` (rows, or none), `licence`.
    """
    head = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.allow_unicode, yaml.width = False, True, 1 << 16
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(metadata_of(values), head)
    return f"---\n{head.getvalue()}---\n\n{render('card.md', dict(values))}"


def metadata_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The head of the card."""
    data = {"name": one_line(values["root"]), "type": slug(values["root"]), "split": values["split"]}
    measured = [
        {"type": "accuracy", "name": f"top-{k}, {sampling} sampling", "value": figures[f"top{k}"]}
        for sampling, figures in values["metrics"].items()
        for k in ((1, 5) if figures["classes"] > 5 else (1,))
    ]
    return {
        "license": values["licence"].lower(),
        "library_name": "onnx",
        "pipeline_tag": TASK,
        "tags": ["video", "action-recognition", "pp-tsm", "onnx"],
        "model-index": [
            {
                "name": one_line(values["title"]),
                "results": [{"task": {"type": TASK}, "dataset": data, "metrics": measured}],
            }
        ],
    }


def licence() -> str:
    """The licence of this package, as its metadata have it."""
    found: str = metadata("pptsm")["License-Expression"] or "other"
    return found


def one_line(text: str) -> str:
    """A text without line breaks."""
    return " ".join(text.split()) or "unnamed"


def slug(text: str) -> str:
    """A name that an identifier of a data set may have."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "videos"


def triton_config(clip_shape: Sequence[int], classes: int) -> str:
    """config.pbtxt for Triton's ONNX Runtime backend; the model is called as its folder is.

    Args:
        clip_shape: [S, 3, H, W].
        classes: K.
    """
    return f"""backend: "onnxruntime"
max_batch_size: 32
input [
  {{
    name: "clips"
    data_type: TYPE_FP32
    dims: [ {", ".join(map(str, clip_shape))} ]
  }}
]
output [
  {{
    name: "logits"
    data_type: TYPE_FP32
    dims: [ {classes} ]
    label_filename: "labels.txt"
  }}
]
dynamic_batching {{ }}
"""
