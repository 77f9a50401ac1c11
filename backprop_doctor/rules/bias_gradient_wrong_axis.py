"""BD301 bias-gradient-wrong-axis: a bias gradient is summed over the units instead of the samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.records import Evidence
from backprop_doctor.rules._bias import bias_gradients, growth

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Find the reduction that made a bias gradient; see whether the sum over another axis is the gradient."""
    for bias in bias_gradients(case):
        reduction = bias.reduction
        if reduction is None or len(reduction.axes) != 1 or np.ndim(reduction.operand.value) != 2:
            continue
        right_axis = 1 - reduction.axes[0]
        found = case.biased(bias.parameter, (right_axis,), bias.upstream)
        if found is None or found[1] > 1e-5:
            continue
        p, g = bias.parameter, bias.gradient
        operand = np.shape(reduction.operand.value)
        over, right = case.axes.of(operand)[reduction.axes[0]], case.axes.of(operand)[right_axis]
        yield Sighting(
            node=reduction.node,
            message=f"the gradient of {p.name} is summed over the {over}, not over the {right}: "
            f"{g.name} is {case.describe(g.shape)}, {p.name} is {case.describe(p.shape)}",
            label=f"sums over the {operand[reduction.axes[0]]} {over}",
            why=f"{p.name} is added to every sample, so every sample contributes its row of "
            f"{bias.upstream.name}: sum over samples",
            evidence=(
                Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),
                Evidence(
                    f"{bias.upstream.name} summed over axis {right_axis} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=f"axis = {right_axis}",
            edits=axis_edits(case, reduction.node, right_axis, keepdims=right_axis == 1 or len(p.shape) == 2),
            symptoms=growth(case, p),
            objects=(g.object,),
        )
