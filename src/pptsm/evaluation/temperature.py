"""The temperature that makes a network's probabilities fit how often it is right. Apart, because it needs SciPy."""

import numpy as np
from scipy.optimize import minimize_scalar

from pptsm.evaluation.calibration import LEAST_TEMPERATURE, MOST_TEMPERATURE
from pptsm.evaluation.metrics import Labels, Logits, cross_entropy, require_numbers


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature by which to divide logits so that the labels are as likely as can be; within the bounds.

    1 where it changes nothing: one class, or logits that are the same for all classes.

    Args:
        logits: [N, K] of videos that are not evaluated, N at least 1.
        labels: [N].

    Raises:
        NoNumbersError: a logit is not a finite number, or there is no video.

    Source: Guo et al., "On calibration of modern neural networks" (2017), section 4.2. The loss is convex in 1 / T, so
    in a bounded range it has one least value.
    """
    require_numbers(logits)
    wide = logits.astype(np.float64)
    if float(np.ptp(wide, axis=1).max()) == 0:
        return 1.0
    found = minimize_scalar(
        lambda inverse: cross_entropy(wide * inverse, labels),
        bounds=(1 / MOST_TEMPERATURE, 1 / LEAST_TEMPERATURE),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(1 / found.x)
