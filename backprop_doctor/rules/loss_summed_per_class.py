"""BD207 loss-summed-per-class: an intermediate loss has one number a class instead of one a sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "note"


def examine(case: Case) -> Iterator[Sighting]:
    """A reduction over the samples between output and loss that leaves the classes standing."""
    samples, declared, output = case.axes.output_samples, case.judgement.declared, case.roles.output
    if samples is None or declared is None or output is None or len(output.shape) != 2 or output.shape[1 - samples] < 2:
        return
    for reduction in case.reductions():
        event = reduction.event
        if not case.roles.backward(event) or event.index > declared.index or reduction.axes != (samples,):
            continue
        if np.shape(reduction.operand.value) != np.shape(case.value(output)):
            continue
        yield Sighting(
            node=reduction.node,
            message=f"summed over the samples first: the result {case.describe(np.shape(event.value))} is one number "
            "a class; the total is right all the same",
            label="one number a class, not a sample",
            evidence=(Evidence("shape", case.describe(np.shape(event.value)), case.describe((case.samples,))),),
        )
        return
