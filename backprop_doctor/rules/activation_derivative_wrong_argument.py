"""BD305 activation-derivative-wrong-argument: the activation's derivative is taken at the wrong value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import fit
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.rules._activation import Activation, activations_after, upstream_derivatives

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Divide the delta by the slope it used, put the true slope in its place, and see whether it fits."""
    for wrong in case.wrong_adjoints:
        for activation in activations_after(case, wrong):
            b, z, a = wrong.value, activation.input, activation.output
            if activation.adjoint_of_output(b).right:
                break
            used = _slope_used(case, activation, b)
            if used is None:
                continue
            text, swap_from, swap_to = used
            yield Sighting(
                node=case.home(b),
                message=f"{b.name} uses the derivative of {activation.name} at the wrong value: {text}",
                label=text,
                why=f"d{z.name} = d{a.name} * {activation.name}'({z.name}); a derivative written for "
                f"{swap_to} takes {swap_to}, not {swap_from}",
                evidence=(
                    Evidence(f"{b.name} as gradient of {z.name}", f"error {wrong.fit.residual:.2g}", "below 1e-5"),
                    Evidence(f"the same with the derivative at {swap_to}", "error below 1e-5", "below 1e-5"),
                ),
                fix=f"{swap_to} in place of {swap_from}",
                edits=_swap(case, b, swap_from, swap_to),
                objects=(b.object,),
            )
            break


def _slope_used(case: Case, activation: Activation, value: object) -> tuple[str, str, str] | None:
    """Which wrong slope explains the delta: its description, the operand used and the one that belongs."""
    z = np.asarray(case.value(activation.input), np.float64)
    a = np.asarray(case.value(activation.output), np.float64)
    zn, an = activation.input.name, activation.output.name
    candidates = [
        (1 - z**2, f"1 - x**2 is the derivative in terms of the output, and gets {zn}", zn, an),
        (z * (1 - z), f"x * (1 - x) is the derivative in terms of the output, and gets {zn}", zn, an),
    ]
    again = activation.slope_at(a)
    if again is not None:
        candidates.insert(0, (again, f"the derivative is a function of {zn}, and gets {an}", an, zn))
    array = np.asarray(case.value(value), np.float64)  # type: ignore[arg-type]
    tangents = case.measurement.tangents(activation.input.birth)
    for slope, text, swap_from, swap_to in candidates:
        if np.any(np.abs(slope) < 1e-12):
            safe = np.where(np.abs(slope) < 1e-12, np.nan, slope)
        else:
            safe = slope
        mended = np.nan_to_num(array / safe * activation.slope)
        analytic = np.array([float(np.sum(mended * t.direction)) for t in tangents])
        for numeric in upstream_derivatives(case, value, activation.input):  # type: ignore[arg-type]
            if fit(analytic, numeric).right:
                return text, swap_from, swap_to
    return None


def _swap(case: Case, value: object, swap_from: str, swap_to: str) -> tuple[Edit, ...]:
    """Replace the one read of the wrong operand in the statement; nothing when there are several."""
    statement = case.statement(value)  # type: ignore[arg-type]
    reads = [
        n
        for n in ast.walk(statement)
        if isinstance(n, ast.expr)
        and not isinstance(n, ast.Constant)
        and isinstance(getattr(n, "ctx", ast.Load()), ast.Load)
        and case.text(n) == swap_from
    ]
    return tuple(case.edit(n, swap_to) for n in reads) if reads else ()
