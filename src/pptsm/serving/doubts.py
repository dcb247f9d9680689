"""What an answer may be besides its most probable class: the classes that may be at a coverage, or none of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.evaluation.calibration import NONE_OF_THESE, Calibration
from pptsm.params.choices import Sampling
from pptsm.runtime.console import one_line
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata


@dataclass(frozen=True)
class Doubts:
    """How a model's answers are doubted; a model without calibration has no doubts.

    Example:
        >>> from pptsm import Predictor
        >>> predictor = Predictor("model.onnx")
        >>> Doubts.of(predictor.metadata, predictor.sampling).values(predictor.answer("a.mp4").logits)
        {}
    """

    labels: list[str]
    calibration: Calibration | None
    coverage: float | None = None

    @classmethod
    def of(cls, metadata: ModelMetadata, sampling: Sampling, coverage: float | None = None) -> "Doubts":
        """The doubts of a model that is asked by a sampling.

        Args:
            metadata: of the model.
            sampling: by which it is asked; a calibration holds for its own alone.
            coverage: above 0 and below 1; None: no classes that may be are asked for.

        Raises:
            UserError: a coverage is asked for, and the model has no calibration, or none for this sampling, or was
                calibrated with too few groups.
        """
        found = metadata.calibration
        if coverage is not None:
            if found is None:
                raise UserError(
                    "coverage was asked for, but this model carries no calibration. `dvc repro package` makes a file "
                    "with one (--model models/package), where there are validation videos (index.val_share) that are "
                    "not those evaluated; calibration.json of the evaluation says why there is none."
                )
            if found.sampling != sampling:
                raise UserError(
                    f"coverage was asked for by {sampling} sampling, but this model was calibrated by {found.sampling} "
                    "sampling, and that says nothing about another. Leave out the sampling, or the coverage."
                )
            found.require(coverage)
        return cls(metadata.labels, found if found and found.sampling == sampling else None, coverage)

    def values(self, logits_K: NDArray[np.float32]) -> dict[str, Any]:
        """For JSON: `known`, and `classes` that may be, best first, at the `coverage` that was asked for."""
        if self.calibration is None:
            return {}
        known = self.calibration.knows(logits_K)
        found: dict[str, Any] = {} if known is None else {"known": known}
        if self.coverage is not None:
            may_be = self.calibration.may_be(logits_K, self.coverage)
            found |= {"classes": [self.labels[number] for number in may_be], "coverage": self.coverage}
        return found

    def lines(self, logits_K: NDArray[np.float32]) -> list[str]:
        """For a terminal: `none of these`, and the classes that may be."""
        found = self.values(logits_K)
        lines = [] if found.get("known", True) else [f"  {NONE_OF_THESE}"]
        if "classes" in found:
            condition = ", if it is one of them" if lines else ""
            lines.append(f"  may be ({found['coverage']:.6g}){condition}: {', '.join(map(one_line, found['classes']))}")
        return lines
