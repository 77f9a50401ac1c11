"""BD209 printed-loss-not-descended: the loss shown is not the one the gradients descend."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "note"


def examine(case: Case) -> Iterator[Sighting]:
    """A declared loss that fits no gradient, while one of the usual losses fits all of them."""
    judgement = case.judgement
    declared, implied = judgement.declared, judgement.implied
    if declared is None or judgement.declared_fits or not implied:
        return
    gradients = [case.gradient(p) for p in case.roles.parameters]
    if not all(g is not None and g.right and case.total_factor(g) is not None for g in gradients):
        return
    if any(case.chain(g)[-1].given == "canonical" for g in gradients if g):
        return
    yield Sighting(
        node=case.home(declared),
        message=f"{declared.name} is computed, and the gradients descend {implied}: both are smallest in the same "
        "place, the number shown is not the one minimised",
        label=f"the gradients descend {implied}",
        evidence=(Evidence("loss whose derivative fits every gradient", implied, declared.name),),
    )
