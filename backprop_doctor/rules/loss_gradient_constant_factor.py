"""BD201 loss-gradient-constant-factor: all gradients are one constant times those of the loss shown."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.records import Evidence

SEVERITY = "note"


def examine(case: Case) -> Iterator[Sighting]:
    """Every gradient against the derivative of the declared loss: one constant, and it is not 1."""
    declared = case.judgement.declared
    if declared is None:
        return
    factors = []
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        value = aligned(case.value(gradient.value), parameter.shape) if gradient else None
        tangents = case.measurement.tangents(parameter.birth)
        if value is None or any(declared.birth not in t.derivatives for t in tangents):
            return
        numeric = np.array([float(np.sum(t.derivatives[declared.birth])) for t in tangents])
        found = fit(np.array([float(np.sum(value * t.direction)) for t in tangents]), numeric)
        if not found.right:
            return
        factors.append(found.factor)
    if not factors or max(factors) - min(factors) > 1e-4 * abs(factors[0]) or abs(factors[0] - 1) < 1e-4:
        return
    yield Sighting(
        node=case.home(declared),
        message=f"the gradients are {case.factor(factors[0])} times those of {declared.name}, all of them alike: "
        "a convention, absorbed by the learning rate",
        label=f"gradients are {case.factor(factors[0])} times this",
        evidence=(Evidence("gradient over derivative of the loss", case.factor(factors[0]), "1"),),
    )
