"""A function divides exponentials by one sum, and is given many samples."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, axis_of, spelled


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``e / np.sum(e)`` where the text shows that there is a sample in each row."""
    names = {id(node): function.name for function in sketch.functions() for node in ast.walk(function)}
    for nodes in sketch.scopes():
        for total, exponential in _totals(sketch, nodes):
            rows = _shifted(sketch, exponential) or _with_rows(sketch, names.get(id(total), ""))
            if rows:
                yield Suspicion(
                    total,
                    f"the exponentials are divided by one sum for all samples; {rows}, a sample in each row",
                    "the probabilities of one sample have to sum to 1: sum over its classes only",
                    "axis=1, keepdims=True",
                )


def _totals(sketch: Sketch, nodes: list[ast.AST]) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Sums that exponentials are divided by, and these."""
    exponentials = {
        spelled(node.targets[0]): node.value
        for node in nodes
        if isinstance(node, ast.Assign) and sketch.called(node.value) == "numpy.exp"
    }
    for node in nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            name, _, is_whole = sketch.summed(node.right) or ("", None, False)
            if is_whole and name and spelled(node.left) == name and name in exponentials:
                yield node.right, exponentials[name]


def _shifted(sketch: Sketch, exponential: ast.expr) -> str:
    """Whether the maximum of each row is subtracted."""
    for call in ast.walk(exponential):
        if not isinstance(call, ast.Call):
            continue
        is_method = isinstance(call.func, ast.Attribute) and call.func.attr == "max" and not sketch.called(call)
        if (is_method or sketch.called(call) in ("numpy.max", "numpy.amax")) and axis_of(
            call, given=not is_method
        ) == 1:
            return "the maximum is taken over axis 1"
    return ""


def _with_rows(sketch: Sketch, function: str) -> str:
    """Whether the largest entry in each row of a result of the function is taken."""
    for call in sketch.calls("numpy.argmax"):
        name = spelled(call.args[0]) if call.args else ""
        value = sketch.only_value(name)
        if function and axis_of(call) == 1 and isinstance(value, ast.Call) and spelled(value.func) == function:
            return f"the largest entry of {name} is taken over axis 1"
    return ""
