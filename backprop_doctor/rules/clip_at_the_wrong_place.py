"""BD705 clip-at-the-wrong-place: scores are clipped before they are normalised.

Stub
----
x
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence

SEVERITY = "warning"

SHARE = 0.05


def examine(case: Case) -> Iterator[Sighting]:
    """Scores that are limited on their way to the softmax's division, and probabilities that change for it."""
    output, axis = case.roles.output, case.axes.output_samples
    if output is None or axis is None or normalised_over(case) != "classes":
        return
    for event in case.step_events:
        site = case.program.sites[event.site]
        if event.index >= output.index or not case.roles.forward(event) or not isinstance(site.node, ast.Call):
            continue
        if np.shape(event.value) != output.shape:
            continue
        operand = next((o for o in case.children(event) if _is_limited(o, event)), None)
        if operand is None:
            continue
        before, after = np.asarray(operand.value, np.float64), np.asarray(event.value, np.float64)
        changed = float(np.mean(before != after))
        trace = case.run({event.key: lambda v, b=before: b.copy()}, limit=case.roles.step.middle)  # type: ignore[misc]
        free, limited = trace.value(output.birth), case.trace.value(output.birth)
        if changed < SHARE or free is None or np.shape(free) != np.shape(limited) or not np.all(np.isfinite(free)):
            continue
        difference = float(np.abs(np.asarray(free) - limited).max())
        ties = int(np.sum(np.argmax(free, axis=1 - axis) != np.argmax(limited, axis=1 - axis)))
        if difference < 0.01:
            continue
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} limits scores before they are normalised: {changed:.0%} of them are cut, and "
            f"probabilities change by up to {difference:.2g}",
            label="clips before the division",
            why="before the division entries may be of any size; what is cut there is lost, and the gradient A - Y knows "
            "nothing of it",
            evidence=(
                Evidence("scores that the clip changes", f"{changed:.0%}", "0%"),
                Evidence("largest change of a probability", f"{difference:.2g}", "0"),
                Evidence("samples whose predicted class changes", f"{ties} of {case.samples}", "0"),
            ),
            fix="clip the probabilities, where the logarithm reads them: np.log(np.clip(p, 1e-12, 1))",
        )
        return


def _is_limited(operand: Event, result: Event) -> bool:
    """Whether a result is its operand, held between two numbers."""
    before, after = np.asarray(operand.value), np.asarray(result.value)
    if before.shape != after.shape or after.size < 4 or not np.all(np.isfinite(before)):
        return False
    held = before != after
    if not held.any():
        return False
    bounds = np.unique(after[held])
    clipped = np.clip(before, after.min(), after.max())
    return bounds.size <= 2 and np.array_equal(clipped, after) and not (bounds.size == 1 and bounds[0] == 0)
