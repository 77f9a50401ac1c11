"""The new value of a parameter is bound to the name of its gradient."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, reads, spelled


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``db = b - lr * db`` where ``b`` is never bound again."""
    for node in sketch.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.BinOp):
            continue
        target, parameter = spelled(node.targets[0]), spelled(node.value.left)
        if not isinstance(node.value.op, ast.Sub) or not target or not parameter or target == parameter:
            continue
        made = [sketch.constructed(value)[0] for value in sketch.values.get(parameter, [])]
        is_step = isinstance(node.value.right, ast.BinOp) and isinstance(node.value.right.op, ast.Mult)
        if is_step and target in reads(node.value.right) and parameter not in sketch.parameters and made and all(made):
            yield Suspicion(
                node.targets[0],
                f"{parameter} less its step is bound to {target}, and {parameter} is never changed",
                f"the name on the left is that of the gradient: {parameter} keeps its first value",
                parameter,
            )
