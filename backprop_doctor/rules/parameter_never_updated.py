"""BD403 parameter-never-updated: a parameter takes part in the forward pass and is never changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Arrays set before training that move the output, that stay as they are while others change."""
    output = case.roles.output
    if output is None:
        return
    for constant in case.roles.constants:
        tangents = case.measurement.tangents(constant.birth)
        moves = max(float(np.abs(t.derivatives.get(output.birth, np.zeros(1))).max()) for t in tangents)
        if not moves > 1e-9:
            continue
        gradient = _gradient(case, constant)
        lost = next(
            (
                e
                for e in case.step_events
                if case.roles.backward(e)
                and case.program.sites[e.site].target
                and any(c.object == constant.object for c in case.children(e))
                and isinstance(case.program.sites[e.site].node, ast.BinOp)
                and np.shape(e.value) == constant.shape
            ),
            None,
        )
        node = case.program.sites[lost.site].statement if lost else case.home(constant)
        if lost is not None:
            target = case.program.sites[lost.site].target
            message = f"the updated {constant.name} is stored in {target}: {constant.name} itself never changes"
        elif gradient:
            message = f"{constant.name} is never updated, though its gradient {gradient} is computed"
        else:
            message = f"{constant.name} takes part in the forward pass and is never trained"
        yield Sighting(
            node=node,
            message=message,
            label="never updated",
            why=f"the output depends on {constant.name}, so it has a gradient and wants a step like the others",
            evidence=(
                Evidence(f"change of {constant.name} in one step", "0", "not 0"),
                Evidence(f"largest change of {output.name} per unit of {constant.name}", f"{moves:.3g}", "not 0"),
            ),
            # Without a gradient in sight the author may have meant it to stay: features fixed on purpose.
            severity=None if gradient or lost is not None else "warning",
            objects=(constant.object,),
        )


def _gradient(case: Case, constant: Quantity) -> str:
    """Name of a backward value that is the gradient of the constant, or ''."""
    for value in case.judgement.backward:
        if value.object not in case.binding or aligned(case.value(value), constant.shape) is None:
            continue
        if case.judgement.claim(value, constant).right:
            return value.name
    return ""
