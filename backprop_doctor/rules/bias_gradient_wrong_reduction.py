"""BD303 bias-gradient-wrong-reduction: a bias gradient is not summed over the samples at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence
from backprop_doctor.rules._bias import bias_gradients, growth

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A gradient that still has its sample axis, and whose sum over that axis is the right gradient."""
    samples = case.axes.output_samples
    if samples is None:
        return
    for bias in bias_gradients(case):
        p, g = bias.parameter, bias.gradient
        value = case.value(g)
        if bias.reduction is not None or np.size(value) == int(np.prod(p.shape)) or np.ndim(value) != 2:
            continue
        if np.shape(value)[samples] != case.samples:
            continue
        found = case.biased(p, (samples,), g)
        if found is None or found[1] > 1e-5:
            continue
        yield Sighting(
            node=case.home(g),
            message=f"the gradient of {p.name} keeps its sample axis: {g.name} is {case.describe(g.shape)}, "
            f"{p.name} is {case.describe(p.shape)}",
            label="not summed over the samples",
            why=f"{p.name} is added to every sample, so its gradient is the sum of the rows of {g.name} over "
            "the samples",
            evidence=(
                Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),
                Evidence(
                    f"{g.name} summed over axis {samples} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=f"np.sum(..., axis={samples}, keepdims=True)",
            symptoms=growth(case, p),
            objects=(g.object,),
        )
