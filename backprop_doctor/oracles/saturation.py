"""What becomes of values and losses when a unit saturates?

Weights are made very large, which drives the units they feed far into saturation; what comes out of
the program's own functions has to stay finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backprop_doctor.case import Case
from backprop_doctor.program import Event
from backprop_doctor.roles import Quantity

__all__ = ["Blowup", "blowups"]

LARGE = 1e5


@dataclass(frozen=True)
class Blowup:
    """The first event that is not finite when the weights ``pushed`` are very large.

    ``underflow`` says that it came of 0 / 0: nothing was infinite before.
    """

    pushed: Quantity
    event: Event
    output: str
    underflow: bool


def blowups(case: Case) -> Iterator[Blowup]:
    """Scale one weight matrix after the other until what it feeds is in the thousands."""
    output = case.roles.output
    for parameter in case.roles.parameters:
        if output is None or sum(n > 1 for n in parameter.shape) < 2:
            continue
        weights = LARGE * np.asarray(case.value(parameter), np.float64)
        events = [e for e in case.step_events if case.roles.forward(e) and e.index <= output.index]
        keep = frozenset(e.key for e in events)
        trace = case.measurement.run({parameter.birth: lambda v, w=weights: w}, keep=keep)  # type: ignore[misc]
        result = trace.value(output.birth)
        if result is None or np.all(np.isfinite(result)):
            continue
        for event in events:
            value = trace.value(event.key)
            if value is not None and not np.all(np.isfinite(np.asarray(value, np.float64))):
                underflow = not np.any(np.isinf(np.asarray(value, np.float64)))
                yield Blowup(parameter, event, "NaN" if np.any(np.isnan(result)) else "infinite", underflow)
                break
