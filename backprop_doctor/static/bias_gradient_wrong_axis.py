"""A delta is summed over one axis for the bias, and over the other one by the product for the weights."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, spelled


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``np.sum(dZ, axis=1)`` next to ``X.T @ dZ``, and ``axis=0`` next to ``dZ @ X.T``."""
    for nodes in sketch.scopes():
        axes = {delta: (axis, statement) for statement, _, delta, axis in sketch.weight_gradients(nodes)}
        for statement in nodes:
            if not isinstance(statement, ast.Assign) or spelled(statement.targets[0]) not in sketch.gradients:
                continue
            for call in ast.walk(statement.value):
                delta, given, _ = sketch.summed(call) or ("", None, False)
                right, product = axes.get(delta, (None, None))
                if right is None or product is None or given is None or given % 2 == right:
                    continue
                yield Suspicion(
                    call,
                    f"{delta} is summed over axis {given} for {spelled(statement.targets[0])}, and over axis {right} "
                    f"by the product at line {product.lineno}",
                    "the gradients of weights and bias are sums over the same samples",
                    f"axis={right}",
                )
