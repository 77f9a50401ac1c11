"""The logarithm of a probability that nothing keeps from 0."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, spelled

GUARDS = ("numpy.clip", "numpy.maximum", "numpy.where", "numpy.log")


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``np.log(A)`` and ``np.log(1 - A)`` where ``A`` is exponentials divided by something."""
    probable = {function.name for function in sketch.functions() if _is_probability(sketch, function)}
    for call in sketch.calls("numpy.log"):
        argument = call.args[0] if len(call.args) == 1 and not call.keywords else None
        if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Sub) and _is_one(argument.left):
            argument = argument.right
        while isinstance(argument, ast.Subscript):
            argument = argument.value
        name = spelled(argument)
        values = sketch.values.get(name, []) if name not in sketch.passed else []
        if values and all(isinstance(value, ast.Call) and spelled(value.func) in probable for value in values):
            yield Suspicion(
                call,
                f"the logarithm of {name} is taken, and nothing keeps {name} from becoming exactly 0 or 1",
                "in float64 a probability becomes 0 as soon as its exponential is too small: the loss is inf or nan",
                f"{name} + 1e-12 for a logarithm of {name}",
            )


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def _is_probability(sketch: Sketch, function: ast.AST) -> bool:
    nodes = list(ast.walk(function))
    divides = any(isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) for node in nodes)
    tiny = any(isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value < 1e-2 for node in nodes)
    called = {sketch.called(node) for node in nodes}
    # tanh is written with exponentials too, and differs: its result can be negative, and has no logarithm.
    return divides and "numpy.exp" in called and not tiny and not called & set(GUARDS)
