"""BD502 accuracy-loop-bounds: the accuracy looks at a few samples and divides by all of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import loops_over
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Only the first k of N predictions matter to the metric, and a loop runs k times."""
    accuracy = case.accuracy
    if accuracy is None or accuracy.looked_at >= accuracy.samples:
        return
    k, n = accuracy.looked_at, accuracy.samples
    size = next(
        (s for name, s in case.axes.sizes.items() if s >= k and name != "samples" and loops_over(case, s, accuracy)), k
    )
    for loop in loops_over(case, size, accuracy)[:1]:
        over = next((a for a, s in case.axes.sizes.items() if s == size), "")
        top = accuracy.perfect[0]
        fix, edits = _fix(case, loop, n)
        yield Sighting(
            node=loop.iter,
            message=f"the accuracy looks at {size} of the {n} samples: the loop runs over the {over or 'first few'}",
            label=f"{size} turns, not {n}",
            why=f"with one turn for each of the {size} {over} at most {size} hits are counted, and they are "
            f"divided by {n}",
            evidence=(
                Evidence(
                    f"{accuracy.quantity.name} when every prediction is right",
                    f"{top:.3g}",
                    "100" if top * n / size > 1.5 else "1",
                ),
                Evidence("predictions that can change it", f"the first {size}", f"all {n}"),
            ),
            fix=fix,
            edits=edits,
            objects=(accuracy.quantity.object,),
        )


def _fix(case: Case, loop: ast.For, n: int) -> tuple[str, tuple[Edit, ...]]:
    """Swap the index of the shape in ``range(...)`` for the axis with the samples."""
    for node in ast.walk(loop.iter):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
            continue
        base = node.value.value if isinstance(node.value, ast.Attribute) else None
        if isinstance(node.value, ast.Call) and node.value.args:
            base = node.value.args[0]
        for event in case.trace.events:
            if base is not None and case.program.sites[event.site].node is base and n in np.shape(event.value):
                axis = np.shape(event.value).index(n)
                return f"{case.text(node.value)}[{axis}]", (case.edit(node.slice, str(axis)),)
    return f"loop over all {n} samples", ()
