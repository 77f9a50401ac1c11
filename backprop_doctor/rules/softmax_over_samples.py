"""BD102 softmax-over-samples: the softmax normalises over the samples instead of the classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Reduction, Sighting, axis_edits
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.records import Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Sum the output over both axes; blame every reduction over the samples on the way to it."""
    output = case.roles.output
    if output is None or normalised_over(case) != "samples":
        return
    samples = case.axes.output_samples or 0
    classes = 1 - samples
    p = np.asarray(case.value(output))
    totals = p.sum(axis=classes)
    worst = int(np.argmax(np.abs(totals - 1)))
    evidence = (
        Evidence(f"{output.name} summed over the classes of sample {worst}", f"{totals[worst]:.3g}", "1 within 1e-6"),
        Evidence(f"{output.name} summed over all samples of a class", f"{p.sum(axis=samples)[0]:.3g}", "any number"),
    )
    statements: dict[int, list[Reduction]] = {}
    for reduction in case.reductions():
        forward = case.roles.forward(reduction.event) and reduction.event.index <= output.index
        if forward and reduction.axes == (samples,) and np.shape(reduction.operand.value) == p.shape:
            statements.setdefault(case.program.sites[reduction.event.site].line, []).append(reduction)
    for found in statements.values():
        edits = [e for r in found for e in axis_edits(case, r.node, classes, keepdims=classes == 1)]
        yield Sighting(
            node=found[0].node,
            message=f"the softmax runs over the samples: {output.name} is {case.describe(p.shape)} "
            f"and each column of one class sums to 1, not each sample",
            label=f"runs over the {p.shape[samples]} samples",
            why="softmax of sample i is exp(z_ic) / sum over c: the sum belongs over the classes of that "
            "sample; over the samples, every image changes the probabilities of all others",
            evidence=evidence,
            fix=f"axis = {classes}" + (", keepdims = True" if classes == 1 else ""),
            edits=tuple(edits),
            objects=(output.object, found[0].event.object),
        )
