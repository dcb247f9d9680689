"""A folder to hand on: the model with its calibration, its card, and what a server needs; with checksums."""

import json
from collections.abc import Mapping
from pathlib import Path

from pptsm.data.table import save_labels
from pptsm.deploy.calibrated import with_calibration
from pptsm.evaluation.calibration import Calibration
from pptsm.evaluation.model_file import read_exported
from pptsm.runtime.errors import unusable
from pptsm.runtime.files import sha256_of

MODEL_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
SUMS_FILE = "SHA256SUMS"


def write_package(
    folder: Path,
    models: Mapping[str, Path],
    calibration: Calibration | None,
    labels: list[str],
    texts: Mapping[str, str],
) -> None:
    """Fill an empty folder.

    Args:
        folder: the folder.
        models: file name -> exported file; each gets the calibration.
        calibration: None: there is none.
        labels: names of the classes.
        texts: file name -> content.

    Raises:
        UserError: as `read_exported`.
    """
    for name, file in models.items():
        read_exported(file)  # refuses what cannot be used
        (folder / name).write_bytes(with_calibration(file.read_bytes(), calibration))
    save_labels(labels, folder / "labels.txt")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in sorted(folder.iterdir()) if file.is_file()]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8", newline="\n")


def read_calibration(path: Path, classes: int) -> Calibration | None:
    """The calibration that stage `evaluate` wrote; None where it says that there is none.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["calibration"]
        return None if found is None else Calibration.of_json(json.dumps(found), classes)
    except OSError as error:
        raise unusable("the calibration", path, error.strerror or str(error), "evaluate") from None
    except (ValueError, KeyError, TypeError) as error:
        raise unusable("the calibration", path, f"it is damaged ({error})", "evaluate") from None
