"""BD703 log-of-zero: the loss becomes infinite or NaN when a probability saturates."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "warning"


def examine(case: Case) -> Iterator[Sighting]:
    """Put exact zeros and ones in place of the output, as float64 does for logits 750 apart."""
    output, target = case.roles.output, case.judgement.target
    if output is None or target is None or not case.judgement.losses:
        return
    saturated = np.roll(np.asarray(target, np.float64), 1, axis=-1)
    if np.array_equal(saturated, target):
        saturated = 1.0 - target
    if set(np.unique(saturated)) - {0.0, 1.0}:
        return
    trace = case.measurement.run({output.birth: lambda v: saturated})
    for event in case.step_events:
        if event.index < output.index:
            continue
        site = case.program.sites[event.site]
        value = trace.value(event.key)
        if value is None or not isinstance(site.node, ast.Call) or np.all(np.isfinite(np.asarray(value, float))):
            continue
        if not any(
            np.any(np.asarray(trace.value(c.key)) == 0) for c in case.children(event) if trace.value(c.key) is not None
        ):
            continue
        loss = case.judgement.declared
        shown = trace.value(loss.birth) if loss else None
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} is -infinity when a probability is exactly 0, and the loss "
            f"becomes {'NaN' if shown is not None and np.any(np.isnan(shown)) else 'infinite'}",
            label="log of 0",
            why="a softmax or sigmoid gives exactly 0 in float64 for logits some 750 apart; 0 * log(0) is NaN",
            evidence=(
                Evidence(
                    "loss with saturated probabilities",
                    "NaN" if shown is not None and np.any(np.isnan(shown)) else "infinite",
                    "finite",
                ),
            ),
            fix="add a small constant inside the log, np.log(p + 1e-12), or clip p",
            objects=(),
        )
        return
