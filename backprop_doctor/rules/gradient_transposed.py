"""BD310 gradient-transposed: a factor of a gradient is transposed, or a transpose is missing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import fit
from backprop_doctor.records import Evidence
from backprop_doctor.rules._activation import upstream_derivatives

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The transpose of a wrong square gradient fits; or the delta fits with one square operand transposed."""
    for link in [*case.wrong_adjoints, *(g for _, g in case.wrong_gradients)]:
        value = np.asarray(case.value(link.value), np.float64)
        b, of = link.value, link.of
        if value.ndim == 2 and value.shape[0] == value.shape[1] and _fits(case, value.T, link):
            yield Sighting(
                node=case.home(b),
                message=f"{b.name} is the transpose of the gradient of {of.name}",
                label="transposed",
                why=f"{of.name} is {case.describe(of.shape)}; its gradient has the same axes in the same order",
                evidence=(
                    Evidence(f"{b.name} as gradient of {of.name}", f"error {link.fit.residual:.2g}", "below 1e-5"),
                    Evidence(f"{b.name}.T as gradient of {of.name}", "error below 1e-5", "below 1e-5"),
                ),
                fix=".T",
                edits=(case.edit(case.home(b), f"({case.text(case.home(b))}).T"),),
                objects=(b.object,),
            )
            continue
        yield from _operand(case, link)


def _operand(case: Case, link: object) -> Iterator[Sighting]:
    """Replace each square operand at its place in the statement by its transpose."""
    b, of = link.value, link.of  # type: ignore[attr-defined]
    for event in case.events_in(case.statement(b)):
        site = case.program.sites[event.site]
        shape = np.shape(event.value)
        if site.kind != "load" or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2 or event.index > b.index:
            continue
        if isinstance(site.node, ast.Attribute) and site.node.attr == "T":
            continue
        if site.parent is not None and isinstance(case.program.sites[site.parent].node, ast.Attribute):
            continue
        changed = case.measurement.run({event.key: lambda v: v.T.copy()}, keep=frozenset({b.birth})).value(b.birth)
        if changed is not None and _fits(case, np.asarray(changed, np.float64), link):
            yield Sighting(
                node=site.node,
                message=f"{case.text(site.node)} needs to be transposed here: {b.name} is not the gradient of "
                f"{of.name}",
                label="transpose missing",
                why="what a layer multiplies by W going forward it multiplies by the transpose of W going "
                "back; with a square W the shapes cannot tell",
                evidence=(
                    Evidence(f"{b.name} as gradient of {of.name}", f"error {link.fit.residual:.2g}", "below 1e-5"),  # type: ignore[attr-defined]
                    Evidence(f"the same with {case.text(site.node)}.T", "error below 1e-5", "below 1e-5"),
                ),
                fix=f"{case.text(site.node)}.T",
                edits=(case.edit(site.node, f"{case.text(site.node)}.T"),),
                objects=(b.object,),
            )
            return


def _fits(case: Case, value: np.ndarray, link: object) -> bool:
    of = link.of  # type: ignore[attr-defined]
    if value.shape != of.shape and value.size != int(np.prod(of.shape)):
        return False
    tangents = case.measurement.tangents(of.birth)
    analytic = np.array([float(np.sum(value.reshape(of.shape) * t.direction)) for t in tangents])
    return any(
        fit(analytic, numeric).right
        for numeric in upstream_derivatives(case, link.value, of)  # type: ignore[attr-defined]
    )
