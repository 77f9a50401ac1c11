"""BD701 exp-overflow: an activation overflows to infinity or NaN for large arguments."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.saturation import LARGE, blowups
from backprop_doctor.records import Evidence

SEVERITY = "warning"


def examine(case: Case) -> Iterator[Sighting]:
    """Make the weights very large; a NaN in the output is reported where it first appears."""
    seen: set[int] = set()
    for blowup in blowups(case):
        site = case.program.sites[blowup.event.site]
        if id(site.statement) in seen:
            continue
        seen.add(id(site.statement))
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} overflows when its argument is large: the output becomes {blowup.output}",
            label="overflows",
            why="exp(710) is infinite in float64, and infinity / infinity is NaN",
            evidence=(Evidence(f"output with {blowup.pushed.name} {LARGE:g} times as large", blowup.output, "finite"),),
            fix="np.tanh, or subtract the largest argument first",
        )
