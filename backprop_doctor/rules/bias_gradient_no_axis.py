"""BD302 bias-gradient-no-axis: one number serves as gradient of all biases of a layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.records import Evidence
from backprop_doctor.rules._bias import bias_gradients

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A gradient of one element for a bias of several, made by summing over both axes."""
    samples = case.axes.output_samples
    for bias in bias_gradients(case):
        p, g = bias.parameter, bias.gradient
        reduction = bias.reduction
        if reduction is None or len(reduction.axes) != 2 or int(np.prod(g.shape)) != 1 or int(np.prod(p.shape)) < 2:
            continue
        if samples is None:
            continue
        found = case.biased(p, (samples,), bias.upstream)
        if found is None or found[1] > 1e-5:
            continue
        keepdims = len(p.shape) == 2
        yield Sighting(
            node=reduction.node,
            message=f"the gradient of {p.name} is one number for all its {int(np.prod(p.shape))} biases: "
            f"{bias.upstream.name} {case.describe(bias.upstream.shape)} is summed over both axes",
            label="sums over both axes",
            why=f"each bias has a derivative of its own, the sum over the samples of its own column of "
            f"{bias.upstream.name}; with one number all biases stay equal for ever",
            evidence=(
                Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),
                Evidence(
                    f"{bias.upstream.name} summed over axis {samples} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=f"axis = {samples}",
            edits=axis_edits(case, reduction.node, samples, keepdims=keepdims),
            objects=(g.object,),
        )
