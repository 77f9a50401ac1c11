"""BD311 batch-averaging-missing-or-twice: the gradients of one network carry different factors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Each gradient over the derivative of the same summed loss: the ratio has to be the same for all."""
    totals: list[tuple[Parameter, Adjoint, float]] = []
    found = [(p, case.gradient(p)) for p in case.roles.parameters]
    # A gradient written into the update has no value of its own: its factors may stand anywhere in the step.
    inline = any(g is not None and g.value.object not in case.binding for _, g in found)
    for parameter, gradient in found:
        total = case.total_factor(gradient) if gradient and gradient.right else None
        if gradient is not None and total is not None and inline:
            total = _step_factor(case, parameter, gradient, total)
        if gradient is not None and total is not None:
            totals.append((parameter, gradient, total))
    if len(totals) < 2:
        return
    usual = _usual([t for _, _, t in totals])
    odd = [(p, g, t) for p, g, t in totals if abs(t / usual - 1) > 1e-4]
    blamed: set[int] = set()
    for parameter, gradient, total in odd:
        link = _culprit(case, gradient, [g for _, g, t in totals if abs(t / usual - 1) <= 1e-4])
        if link.value.object in blamed:
            continue
        blamed.add(link.value.object)
        ratio = total / usual
        yield Sighting(
            node=case.home(link.value),
            message=f"{link.value.name} carries a factor of {case.factor(ratio)} that the other gradients do not have",
            label=f"extra factor {case.factor(ratio)}",
            why="one loss has one gradient: its parts may share a constant factor, not have one each",
            evidence=tuple(
                Evidence(
                    f"gradient of {p.name} over the derivative of the summed loss", case.factor(t), case.factor(usual)
                )
                for p, _, t in [(parameter, gradient, total)]
            ),
            objects=(link.value.object,),
        )


def _step_factor(case: Case, parameter: Parameter, gradient: Adjoint, total: float) -> float | None:
    """Step over derivative of the summed loss; None where the step is not proportional to the gradient."""
    before, after = case.live.value(parameter.birth), case.live.value(parameter.updates[-1])
    value = aligned(case.live.value(gradient.value.birth), parameter.shape)
    if after is None or value is None or np.shape(before) != np.shape(after):
        return None
    ratio = fit((np.asarray(after) - before).ravel(), value.ravel())
    return total * ratio.factor if ratio.residual < 1e-6 else None


def _usual(totals: list[float]) -> float:
    """The commonest factor, the one nearest the output winning a tie."""
    rounded = [float(f"{t:.6g}") for t in totals]
    counts = Counter(rounded)
    most = max(counts.values())
    return next(t for t, r in zip(reversed(totals), reversed(rounded), strict=True) if counts[r] == most)


def _culprit(case: Case, gradient: Adjoint, healthy: list[Adjoint]) -> Adjoint:
    """The first link from the loss whose own factor is not 1, unless healthy gradients rest on it too."""
    trusted = {link.value.object for g in healthy for link in case.chain(g)}
    links = case.chain(gradient)
    for link in reversed(links[1:]):
        if link.value.object not in trusted and abs(link.fit.factor - 1) > 1e-4:
            return link
    return gradient
