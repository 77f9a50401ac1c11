"""A gradient is divided by a size of its inputs that is not the one the product sums over."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, reads, spelled


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``m = X.shape[1]`` and ``dW = X.T @ dZ / m``, and the same in columns."""
    for nodes in sketch.scopes():
        sizes = dict(_sizes(nodes))
        said = set()
        for statement, inputs, _, axis in sketch.weight_gradients(nodes):
            assert isinstance(statement, (ast.Assign, ast.AugAssign))
            for name in _divisors(statement.value):
                node, owner, taken = sizes.get(name, (None, "", axis))
                if node is not None and owner == inputs and taken != axis and name not in said:
                    said.add(name)
                    yield Suspicion(
                        node,
                        f"{name} is the size of axis {taken} of {inputs}, and the product at line "
                        f"{statement.lineno}, which is divided by it, sums over axis {axis}",
                        "a mean over the samples divides by the number of samples",
                        f"{inputs}.shape[{axis}]",
                    )


def _sizes(nodes: list[ast.AST]) -> Iterator[tuple[str, tuple[ast.expr, str, int]]]:
    for node in nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Subscript):
            continue
        shape, index = node.value.value, node.value.slice
        if isinstance(shape, ast.Attribute) and shape.attr == "shape" and isinstance(index, ast.Constant):
            name, owner = spelled(node.targets[0]), spelled(shape.value)
            if name and owner and type(index.value) is int and index.value in (0, 1):
                yield name, (node.value, owner, index.value)


def _divisors(node: ast.expr) -> set[str]:
    divided = [part.right for part in ast.walk(node) if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div)]
    return {name for part in divided for name in reads(part)}
