"""What the rules about bias gradients share: which gradient has another shape than its parameter, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backprop_doctor.case import Case, Reduction
from backprop_doctor.roles import Parameter, Quantity


@dataclass(frozen=True)
class BiasGradient:
    """A gradient whose shape or values do not fit its bias, the delta it came from and the reduction used."""

    parameter: Parameter
    gradient: Quantity
    upstream: Quantity
    reduction: Reduction | None


def bias_gradients(case: Case) -> Iterator[BiasGradient]:
    """Gradients of parameters that are not right and come from one backward array by reducing it."""
    backward = {q.object: q for q in case.judgement.backward}
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is not None and gradient.right:
            continue
        operands = case.judgement.operands[parameter.object]
        value = gradient.value if gradient is not None else (operands[0] if operands else None)
        if value is None:
            continue
        events = case.events_in(case.statement(value))
        reduction = next(
            (r for r in case.reductions(events) if r.operand.object in backward and r.event.index <= value.index + 50),
            None,
        )
        if reduction is not None:
            yield BiasGradient(parameter, value, backward[reduction.operand.object], reduction)
            continue
        sources = [
            backward[e.object]
            for e in events
            if e.object in backward and e.object != value.object and e.index <= value.index
        ]
        if sources:
            yield BiasGradient(parameter, value, sources[0], None)
        elif value.object in backward:
            yield BiasGradient(parameter, value, value, None)


def growth(case: Case, parameter: Parameter) -> tuple[str, ...]:
    """A sentence on how one step changes the parameter's shape, if it does."""
    after = case.live.value(parameter.updates[-1])
    before = case.value(parameter)
    if after is None or np.shape(after) == np.shape(before):
        return ()
    return (
        f"{parameter.name} grows from {case.describe(np.shape(before))} to {case.describe(np.shape(after))} "
        "with the first update",
    )
