"""A count of hits is overwritten in the loop that should add to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, reads, spelled


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``correct =+ 1``, and ``correct = (guess == label)`` in a loop behind ``correct = 0``."""
    for block in sketch.blocks():
        zeros: set[str] = set()
        for place, statement in enumerate(block):
            if isinstance(statement, ast.Assign):
                zero = isinstance(statement.value, ast.Constant) and statement.value.value == 0
                names = {spelled(target) for target in statement.targets} - {""}
                zeros = zeros | names if zero else zeros - names
            elif isinstance(statement, (ast.For, ast.While)):
                divided = {name for later in block[place + 1 :] for name in _divided(later)}
                yield from _overwritten(statement, zeros & divided)


def _overwritten(loop: ast.For | ast.While, counts: set[str]) -> Iterator[Suspicion]:
    inside = [part for statement in loop.body for part in ast.walk(statement)]
    for name in counts:
        stores = [node for node in inside if isinstance(node, (ast.Assign, ast.AugAssign)) and name in _targets(node)]
        read = [node for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        if len(stores) != 1 or any(node.id == name for node in read):
            continue
        value = stores[0].value
        is_plus = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.UAdd)
        is_hit = any(isinstance(part, ast.Compare) for part in ast.walk(value))
        if isinstance(stores[0], ast.Assign) and (is_plus or is_hit):
            yield Suspicion(
                stores[0],
                f"{name} is 0 before the loop at line {loop.lineno}, overwritten in each turn, and divided below",
                "only the last turn counts; =+ assigns a positive number" if is_plus else "only the last turn counts",
                f"{name} += ",
            )


def _targets(node: ast.Assign | ast.AugAssign) -> list[str]:
    return [spelled(target) for target in (node.targets if isinstance(node, ast.Assign) else [node.target])]


def _divided(statement: ast.stmt) -> Iterator[str]:
    for part in ast.walk(statement):
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div):
            yield from reads(part.left)
