"""BD701 exp-overflow: an activation overflows to infinity or NaN for large arguments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.saturation import LARGE, blowups
from backprop_doctor.records import Evidence

SEVERITY = "warning"


def examine(case: Case) -> Iterator[Sighting]:
    """Push each pre-activation to +-1000; a NaN in the forward pass is reported where the exp stands."""
    seen: set[int] = set()
    for blowup in blowups(case):
        if not case.roles.forward(blowup.event):
            continue
        output = _poisoned(case, blowup.pushed)
        site = case.program.sites[blowup.event.site]
        if output is None or id(site.statement) in seen:
            continue
        seen.add(id(site.statement))
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} overflows when {blowup.pushed.name} is large: the output becomes "
            f"{output}",
            label="overflows",
            why="exp(710) is infinite in float64, and infinity / infinity is NaN",
            evidence=(
                Evidence(f"output with {blowup.pushed.name} at +-{LARGE:g}", output, "finite"),
            ),
            fix="np.tanh, or subtract the largest argument first",
        )


def _poisoned(case: Case, pushed: object) -> str | None:
    """What the output holds when the value is pushed; None when it stays finite."""
    output = case.roles.output
    size = int(np.prod(pushed.shape))  # type: ignore[attr-defined]
    pattern = np.resize([LARGE, -LARGE, 0.5 * LARGE], size).reshape(pushed.shape)  # type: ignore[attr-defined]
    if output is None:
        return None
    value = case.measurement.run(
        {pushed.birth: lambda v: pattern}, keep=frozenset({output.birth})  # type: ignore[attr-defined]
    ).value(output.birth)
    if value is None or np.all(np.isfinite(value)):
        return None
    return "NaN" if np.any(np.isnan(value)) else "infinite"
