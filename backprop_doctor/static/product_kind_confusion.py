"""A product of three factors in one call: the third is where numpy puts the result."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, spelled

PRODUCTS = ("numpy.dot", "numpy.matmul", "numpy.multiply")
BUFFERS = ("numpy.empty", "numpy.zeros", "numpy.empty_like", "numpy.zeros_like")


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``np.dot(A, B, C)`` where ``C`` is no buffer."""
    thrown_away = {node.value for node in sketch.nodes if isinstance(node, ast.Expr)}
    for call in sketch.calls(*PRODUCTS):
        if len(call.args) != 3 or call in thrown_away or any(isinstance(arg, ast.Starred) for arg in call.args):
            continue
        values = sketch.values.get(spelled(call.args[2]), [])
        if any(sketch.called(value) in BUFFERS for value in values if value is not None):
            continue
        name = sketch.called(call).rpartition(".")[2]
        yield Suspicion(
            call.args[2],
            f"the third argument of np.{name} is out: the product of the first two is written into it",
            "A (a, b) times B (b, c) times C (c, d) are two products; the third factor is not multiplied, but lost",
            f"np.{name}(np.{name}(A, B), C)",
        )
