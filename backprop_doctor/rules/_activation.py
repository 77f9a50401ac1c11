"""What the rules about activation derivatives share: elementwise maps z -> a, found by running."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case
from backprop_doctor.gradients import Fit, aligned, fit
from backprop_doctor.roles import Quantity

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """An elementwise step ``output = act(input)`` of the forward pass, with its slope measured there."""

    case: Case
    input: Quantity
    output: Quantity
    slope: Array
    name: str

    def adjoint_of_output(self, value: Quantity) -> Fit:
        """Whether a backward value times the slope is what its use demands (the adjoint of the input)."""
        return _fits_with(self.case, value, self.input, self.slope)

    def slope_at(self, argument: Array) -> Array | None:
        """The derivative of this activation at other arguments, measured by running the program there."""
        key = self.input.birth
        h = 1e-6
        ahead = self.case.measurement.run({key: lambda v: argument + h}, keep=frozenset({self.output.birth}))
        behind = self.case.measurement.run({key: lambda v: argument - h}, keep=frozenset({self.output.birth}))
        a, b = ahead.value(self.output.birth), behind.value(self.output.birth)
        return None if a is None or b is None else (a - b) / (2 * h)


def activations_after(case: Case, wrong: Adjoint) -> Iterator[Activation]:
    """Elementwise steps that start at the value a wrong adjoint belongs to."""
    return activations_of(case, wrong.of)


def activations_of(case: Case, of: Quantity) -> Iterator[Activation]:
    """Elementwise steps that start at a value of the forward pass."""
    z = np.asarray(case.value(of), np.float64)
    if z.size < 2 or z.shape != of.shape:
        return  # one number tells no function from another
    key = of.birth
    ones = case.measurement.along(key, np.ones(z.shape))
    some = case.measurement.tangents(key)[0]
    for candidate in case.judgement.forward:
        if candidate.object not in case.roles.names or candidate.index <= of.index or candidate.shape != z.shape:
            continue
        slope = ones.derivatives.get(candidate.birth)
        other = some.derivatives.get(candidate.birth)
        if slope is None or other is None:
            continue
        # Elementwise: the response to any direction is the slope times that direction.
        # One slope for all elements bends nothing: a scaling, a running mean.
        straight = slope.size > 1 and np.ptp(slope) <= 1e-6 * np.abs(slope).max()
        if straight or not np.allclose(other, slope * some.direction, rtol=1e-4, atol=1e-7) or np.allclose(slope, 1):
            continue
        a = np.asarray(case.value(candidate), np.float64)
        yield Activation(case, of, candidate, slope, _name(z, a, slope))


def derivative_text(activation: Activation) -> str:
    """The derivative in terms of the user's own names, where the function is a usual one."""
    a, z = activation.output.name, activation.input.name
    if not a.replace(".", "").replace("_", "").isalnum():
        return ""
    return {
        "tanh": f"(1 - {a}**2)",
        "sigmoid": f"({a} * (1 - {a}))",
        "relu": f"({z} > 0)" if z.replace(".", "").replace("_", "").isalnum() else f"({a} > 0)",
    }.get(activation.name, "")


def _name(z: Array, a: Array, slope: Array) -> str:
    known = {
        "tanh": (np.tanh(z), 1 - a**2),
        "sigmoid": (1 / (1 + np.exp(-z)), a * (1 - a)),
        "relu": (np.maximum(z, 0), (z > 0).astype(float)),
    }
    for name, (value, derivative) in known.items():
        if np.allclose(a, value, atol=1e-8) and np.allclose(slope, derivative, atol=1e-4):
            return name
    return "act"


def _fits_with(case: Case, value: Quantity, of: Quantity, slope: Array) -> Fit:
    """Fit of ``value * slope`` as the adjoint of ``of``, given every known adjoint or loss."""
    array = aligned(case.value(value), np.shape(slope))
    if array is None:
        return Fit(0.0, float("inf"))
    tangents = case.measurement.tangents(of.birth)
    analytic = np.array([float(np.sum(array * slope * t.direction)) for t in tangents])
    best = Fit(0.0, float("inf"))
    for numeric in upstream_derivatives(case, value, of):
        found = fit(analytic, numeric)
        if found.residual < best.residual:
            best = found
    return best


def upstream_derivatives(
    case: Case, value: Quantity, of: Quantity, apart: frozenset[int] = frozenset()
) -> Iterator[Array]:
    """Numeric derivatives along the directions at ``of`` that an adjoint may be judged by.

    The objects ``apart`` are not trusted as adjoints of later values.
    """
    tangents = case.measurement.tangents(of.birth)
    births = {q.birth: q for q in case.judgement.forward}
    best = case.judgement.best()
    for adjoint in case.judgement.backward:
        if adjoint.index >= value.index or adjoint.object == value.object or adjoint.object in apart:
            continue
        array = np.asarray(case.value(adjoint), np.float64)
        known = best.get(adjoint.object)
        # Of what is known to be one value's adjoint nobody has to ask whether it is another's.
        pairs = {known.of.birth: known.of} if known is not None and known.right else births
        for key, through in pairs.items():
            if (
                through.index > of.index
                and through.shape == array.shape
                and all(key in t.derivatives for t in tangents)
            ):
                yield np.array([float(np.sum(array * t.derivatives[key])) for t in tangents])
    declared = case.judgement.declared
    if declared and all(declared.birth in t.derivatives for t in tangents):
        yield np.array([float(np.sum(t.derivatives[declared.birth])) for t in tangents])
    output, target = case.roles.output, case.judgement.target
    if output is not None and target is not None and all(output.birth in t.derivatives for t in tangents):
        slope = np.asarray(case.value(output), np.float64) - target
        yield np.array([float(np.sum(slope * t.derivatives[output.birth])) for t in tangents])
