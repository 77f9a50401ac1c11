"""What becomes of values and losses when a unit saturates?

A forward value is replaced by large numbers; what comes out of the program's own functions has to
stay finite, and a shift of all logits of a sample must not change its probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backprop_doctor.case import Case
from backprop_doctor.program import Event
from backprop_doctor.roles import Quantity

__all__ = ["Blowup", "blowups"]

LARGE = 1000.0


@dataclass(frozen=True)
class Blowup:
    """The first event that is not finite when ``pushed`` takes values of size ``LARGE``."""

    pushed: Quantity
    event: Event
    value: Any
    operand: Event | None


def blowups(case: Case) -> Iterator[Blowup]:
    """Push each affine value of the forward pass to +-1000 and look where infinity or NaN first appears."""
    for quantity in _affine(case):
        yield from _blowup(case, quantity)


def _blowup(case: Case, quantity: Quantity) -> Iterator[Blowup]:
    size = int(np.prod(quantity.shape))
    pattern = np.resize([LARGE, -LARGE, 0.5 * LARGE], size).reshape(quantity.shape)
    events = [e for e in case.step_events if e.index >= quantity.index]
    trace = case.measurement.run({quantity.birth: lambda v: pattern}, keep=frozenset(e.key for e in events))
    for event in events:
        value = trace.value(event.key)
        if value is None or np.all(np.isfinite(np.asarray(value, np.float64))):
            continue
        operand = next(
            (c for c in case.children(event) if trace.value(c.key) is not None and np.ndim(c.value) > 0), None
        )
        yield Blowup(quantity, event, value, operand)
        return


def _affine(case: Case) -> Iterator[Quantity]:
    """Named forward values that respond to a parameter added or multiplied in: the pre-activations.

    A value that changes by exactly the same amount for equal changes of a parameter is affine in it.
    """
    seen: set[int] = set()
    for parameter in case.roles.parameters:
        tangents = case.measurement.tangents(parameter.birth)
        for quantity in case.judgement.forward:
            if quantity.object in seen or quantity.object not in case.roles.names:
                continue
            if all(quantity.birth in t.derivatives and np.any(t.derivatives[quantity.birth]) for t in tangents):
                seen.add(quantity.object)
                yield quantity
                break
