"""BD405 parameter-shape-drift: an update silently changes the shape of a parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "error"
LAST_RESORT = True


def examine(case: Case) -> Iterator[Sighting]:
    """Shapes before and after one real step, where the gradient itself explains nothing."""
    for parameter in case.roles.parameters:
        after = case.live.value(parameter.updates[-1])
        if after is None or np.shape(after) == parameter.shape:
            continue
        site = case.site(parameter.updates[-1])
        operands = case.judgement.operands[parameter.object]
        objects = (parameter.successor, *(q.object for q in operands))
        gradient = next((q for q in operands if q.shape != parameter.shape), None)
        cause = f"; {gradient.name} is {case.describe(gradient.shape)}" if gradient else ""
        yield Sighting(
            node=site.node,
            message=f"{parameter.name} changes shape in its update: {case.describe(parameter.shape)} becomes "
            f"{case.describe(np.shape(after))}{cause}",
            label=f"{parameter.name} becomes {case.describe(np.shape(after))}",
            why="broadcasting stretches the smaller operand; a parameter keeps its shape for ever",
            evidence=(
                Evidence(
                    f"shape of {parameter.name} after one step",
                    case.describe(np.shape(after)),
                    case.describe(parameter.shape),
                ),
            ),
            objects=objects,
        )
