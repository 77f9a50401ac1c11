"""A weight is changed, and then carries back an error that was computed with its old value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, reads, spelled, transposed


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``W2 -= lr * dW2`` above ``dA1 = dZ2 @ W2.T`` in statements that follow each other."""
    updates = {id(update.statement): update for update in sketch.updates}
    for block in sketch.blocks():
        for place, statement in enumerate(block):
            update = updates.get(id(statement))
            if update is None:
                continue
            before = {name for earlier in block[:place] for name in _bound(earlier)}
            after: set[str] = set()
            for later in block[place + 1 :]:
                for product in sketch.products(list(ast.walk(later)) if isinstance(later, ast.Assign) else []):
                    for weight, delta in ((product.right, product.left), (product.left, product.right)):
                        error = spelled(delta)
                        if transposed(weight) == update.name and error in before - after and _steps(sketch, error):
                            yield Suspicion(
                                statement,
                                f"{update.name} is changed here, and at line {later.lineno} it carries back {error}, "
                                "which was computed with its old value",
                                "the chain rule takes all factors at the same point: the weights of the forward pass",
                                f"move this line below line {later.lineno}",
                            )
                after |= set(_bound(later))


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from reads(target)


def _steps(sketch: Sketch, error: str) -> bool:
    """Whether a value goes into the step of a parameter, so that it is a delta."""
    return error in sketch.gradients or any(
        error in reads(value) for name in sketch.gradients for value in sketch.values.get(name, []) if value is not None
    )
