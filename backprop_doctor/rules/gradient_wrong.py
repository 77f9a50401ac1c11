"""BD300 gradient-wrong: a value used as a gradient is not the derivative it stands for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import is_wrong
from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "error"
LAST_RESORT = True


def examine(case: Case) -> Iterator[Sighting]:
    """Report wrong adjoints and gradients that no more precise rule explains."""
    links = [*case.wrong_adjoints, *(g for _, g in case.wrong_gradients)]
    # Where most of the backward pass is not understood, the doctor is lost, not the program wrong.
    known = [*case.judgement.adjoints.values(), *(g for g in case.judgement.gradients.values() if g)]
    right = sum(link.right for link in known)
    for link in links:
        if not is_wrong(link) or not np.isfinite(link.fit.residual) or right <= len(known) - right:
            continue
        b, of = link.value, link.of
        basis = f"given {link.upstream.name}" if link.upstream else "given the loss"
        yield Sighting(
            node=case.home(b),
            message=f"{b.name} is not the gradient of {of.name} ({basis})",
            label=f"not the gradient of {of.name}",
            why=f"along random directions the loss changes by <gradient, direction>; {b.name} gives other numbers",
            evidence=(
                Evidence(
                    f"{b.name} against finite differences of {of.name}",
                    f"error {link.fit.residual:.2g}",
                    "below 1e-5",
                ),
            ),
            objects=(b.object,),
        )
