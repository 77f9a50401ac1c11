"""A delta is summed to one number, which is the step of a bias with several entries."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, reads, spelled


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``db = np.sum(dZ)`` where ``b`` was made with more than one entry."""
    biases = {
        gradient: update.name
        for update in sketch.updates
        for gradient in reads(update.step)
        if _is_wide(sketch, update.name)
    }
    for nodes in sketch.scopes():
        axes = {delta: axis for _, _, delta, axis in sketch.weight_gradients(nodes)}
        for statement in nodes:
            if not isinstance(statement, ast.Assign) or spelled(statement.targets[0]) not in biases:
                continue
            for call in ast.walk(statement.value):
                delta, _, is_whole = sketch.summed(call) or ("", None, False)
                if is_whole and delta in axes:
                    target = spelled(statement.targets[0])
                    yield Suspicion(
                        call,
                        f"{delta} is summed to one number, and {biases[target]} has several entries",
                        "every entry of a bias has a gradient of its own: sum over the samples only",
                        f"axis={axes[delta]}, keepdims=True",
                    )


def _is_wide(sketch: Sketch, name: str) -> bool:
    shapes = [sketch.constructed(value)[1] for value in sketch.values.get(name, [])]
    return bool(shapes) and all(any((sketch.number(size) or 0) > 1 for size in shape) for shape in shapes)
