"""What kinds of values there are, and when two are the same."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["is_array", "is_real", "is_same"]

# So many numbers are compared at once.
FEW = 1_000


def is_array(value: object) -> bool:
    """Whether a value is an array of at least one element."""
    return isinstance(value, np.ndarray) and value.size >= 1


def is_real(value: object) -> bool:
    """Whether a value is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.size >= 1 and value.dtype.kind == "f"


def is_same(a: Any, b: Any) -> bool:
    """Whether two values are bit for bit the same; NaN is NaN."""
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return False
        # Where large arrays differ, the first rows mostly do; NaN is rare and asking for it costs more.
        if a.size > FEW and a.ndim and not is_same(a[0], b[0]):
            return False
        equal = a == b
        return bool(equal.all() or (equal | ((a != a) & (b != b))).all())
    return bool(a == b) or (a != a and b != b)
