"""The shuffle of the standard library is given an array with rows."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, spelled

JOINED = ("numpy.hstack", "numpy.concatenate")
STACKED = ("numpy.column_stack", "numpy.vstack", "numpy.eye")


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``random.shuffle(X)`` where ``X`` has been made as an array of two dimensions."""
    for call in sketch.calls("random.shuffle"):
        name = spelled(call.args[0]) if call.args else ""
        values = sketch.values.get(name, []) if name not in sketch.passed else []
        if values and all(_has_rows(sketch, value) for value in values):
            yield Suspicion(
                call,
                f"random.shuffle is given {name}, an array with rows",
                "it swaps by a, b = b, a, and rows of an array are views: some rows are lost and others doubled",
                f"np.random.shuffle({name}), or an index from np.random.permutation for several arrays",
            )


def _has_rows(sketch: Sketch, value: ast.expr | None) -> bool:
    if value is None:
        return False
    called = sketch.called(value)
    if called in ("numpy.array", "numpy.asarray") and isinstance(value, ast.Call) and value.args:
        rows = value.args[0]
        return isinstance(rows, ast.List) and bool(rows.elts) and isinstance(rows.elts[0], ast.List)
    if called in JOINED and isinstance(value, ast.Call) and value.args:
        parts = value.args[0]
        return isinstance(parts, (ast.List, ast.Tuple)) and any(_has_rows(sketch, part) for part in parts.elts)
    return called in STACKED or len(sketch.constructed(value)[1]) > 1
