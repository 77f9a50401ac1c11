"""Over which axis do the output's probabilities sum to 1?"""

from __future__ import annotations

from typing import Literal

import numpy as np

from backprop_doctor.case import Case

__all__ = ["normalised_over"]

TOLERANCE = 1e-6


def normalised_over(case: Case) -> Literal["classes", "samples", "everything"] | None:
    """The axis over which a non-negative output sums to 1; None when it is no distribution at all."""
    output = case.roles.output
    axis = case.axes.output_samples
    if output is None or axis is None:
        return None
    p = np.asarray(case.value(output), np.float64)
    if p.ndim != 2 or p.size == 0 or not np.all(np.isfinite(p)) or p.min() < 0 or p.shape[1 - axis] < 2:
        return None
    if np.allclose(p.sum(axis=1 - axis), 1, atol=TOLERANCE):
        return "classes"
    if np.allclose(p.sum(axis=axis), 1, atol=TOLERANCE):
        return "samples"
    return "everything" if abs(p.sum() - 1) < TOLERANCE else None
