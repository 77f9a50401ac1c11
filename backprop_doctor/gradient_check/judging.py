"""Is a gradient the one that was measured?  A verdict, and what is wrong with it in a word.

Everything is relative: an error is the difference between a given and a numeric value over the larger of
the two, or over a tenth of the largest entry, so that a loss in other units changes no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.gradient_check.measuring import SMALL, Measurement, Point
from backprop_doctor.gradient_check.numeric import EPSILON
from backprop_doctor.gradient_check.results import Entry, Fault, GradientVerdict
from backprop_doctor.gradient_check.structure import Array

__all__ = ["Comparison", "Given", "compare", "judge"]

LIMIT_SINGLE = 1e-4  # for gradients in float32
DOUBTFUL = 5.0  # up to so many limits an error may be an approximation; beyond, it is a fault
WIDEST_LIMIT = 2e-4  # with a wider one, a factor of 1.001 could pass
CERTAIN = 3.0  # estimated errors that a limit has to leave room for
ROUNDING = 1e-12  # a derivative this small beside those of other parameters is rounding of zero
REPAIRS = 3  # wrong entries of a large gradient that are looked for one by one


@dataclass(frozen=True)
class Given:
    """A gradient to be judged: its values, the spacing of the numbers it came in, what could make up a factor."""

    value: Array | None
    spacing: float = EPSILON
    sizes: Mapping[str, int] | None = None
    missing: str = "no gradient is given"


@dataclass(frozen=True)
class Comparison:
    """Given and numeric derivatives at the points that can be judged.

    Attributes
    ----------
    points : sequence of Point
        Those that can be.
    analytic, numeric, errors, limits : ndarray of float64, shape (K,)
        Values, relative errors and what they may be.
    kinks, noisy : int
        Points left out because of kinks and of rounding.
    """

    points: Sequence[Point]
    analytic: Array
    numeric: Array
    errors: Array
    limits: Array
    kinks: int
    noisy: int

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Where the difference is beyond doubt."""
        return self.errors > DOUBTFUL * self.limits

    def is_right(self) -> bool:
        """Whether no difference is seen, at half of the points at least."""
        return bool(np.all(self.errors <= self.limits)) and self.is_enough()

    def is_enough(self) -> bool:
        """Whether half of the points can be judged, with a random direction or every entry among them."""
        return len(self.points) > 0 and len(self.points) >= self.kinks + self.noisy

    def worst(self) -> int:
        """The point with the largest error; an entry rather than a direction."""
        excess = self.errors / self.limits
        entries = np.array([point.index is not None for point in self.points])
        if np.any(entries & self.wrong) or (np.any(entries) and not np.any(self.wrong)):
            excess = np.where(entries, excess, -1.0)
        return int(np.argmax(excess))


def judge(measured: Measurement, given: Given, reference: float) -> GradientVerdict:
    """The verdict on one gradient.

    Parameters
    ----------
    measured : Measurement
        The numeric derivatives.
    given : Given
        The gradient to be judged.
    reference : float
        How much the loss changes, to first order, when the most influential parameter moves by its own size.
    """
    slot = measured.slot
    shape = slot.base.shape
    blank = GradientVerdict(slot.name, shape, None, "unknown", "", limit=measured.plan.limit)
    if given.value is None:
        return replace(blank, verdict="wrong", fault="missing", reason=given.missing)
    blank = replace(blank, gradient_shape=given.value.shape)
    if not slot.base.size:
        return replace(blank, reason="it has no entries")
    if not np.all(np.isfinite(given.value)):
        count = int(np.sum(~np.isfinite(given.value)))
        reason = f"not finite at {count} of {given.value.size} entries"
        return replace(blank, verdict="wrong", fault="not finite", reason=reason)
    gradient = _aligned(given.value, shape)
    if gradient is None:
        reason = f"shape {given.value.shape} where {slot.name} has {shape}{_explained(measured, given)}"
        return replace(blank, verdict="wrong", fault="shape", reason=reason)
    comparison = compare(measured, gradient, given.spacing)
    blank = replace(blank, kinks=comparison.kinks, **_counts(comparison))
    if measured.is_zero() or not np.any(gradient):
        return _judge_zero(blank, measured, gradient, comparison, reference)
    if not len(comparison.points):
        return replace(blank, reason=_unresolved(measured, comparison))
    if np.any(comparison.wrong):
        return _judge_wrong(blank, measured, gradient, comparison, given)
    at = comparison.worst()
    blank = replace(blank, **_at(comparison, at, shape))
    doubtful = comparison.errors > comparison.limits
    if np.any(doubtful):
        reason = (
            f"off by {comparison.errors[at]:.1e}: more than rounding, less than most faults; an epsilon in a "
            "logarithm or a root, or a small penalty, that only one side has would do this"
        )
        return replace(blank, reason=reason)
    if not comparison.is_enough():
        return replace(blank, reason=_unresolved(measured, comparison))
    return replace(blank, verdict="right", factor="1", reason=_harmless(given.value.shape, shape))


def compare(measured: Measurement, gradient: Array, spacing: float = EPSILON) -> Comparison:
    """Given against numeric derivatives, at all points where the numeric ones are good enough."""
    every = measured.points
    numeric = np.array([point.slope.value for point in every])
    bars = np.array([point.slope.error for point in every])
    analytic = np.array([point.project(gradient) for point in every])
    entries = np.array([point.index is not None for point in every], dtype=bool)
    largest = max(float(np.max(np.abs(gradient), initial=0.0)), float(np.max(np.abs(numeric[entries]), initial=0.0)))
    norm = max(float(np.linalg.norm(gradient)), measured.norm())
    floor = np.where(entries, SMALL * largest, norm)
    size = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), floor)
    with np.errstate(all="ignore"):
        errors = np.where(size > 0, np.abs(analytic - numeric) / size, 0.0)
        limit = max(measured.plan.limit, LIMIT_SINGLE * (spacing > EPSILON))
        limits = np.maximum(limit, CERTAIN * np.where(size > 0, bars / size, 0.0))
    usable = limits <= max(WIDEST_LIMIT, limit)
    kinks = int(sum(point.slope.kink for point, good in zip(every, usable) if not good))
    return Comparison(
        points=[point for point, good in zip(every, usable) if good],
        analytic=analytic[usable],
        numeric=numeric[usable],
        errors=errors[usable],
        limits=limits[usable],
        kinks=kinks,
        noisy=int(np.sum(~usable)) - kinks,
    )


def _aligned(value: Array, shape: tuple[int, ...]) -> Array | None:
    """The value in the parameter's shape, if an update with it leaves that shape as it is."""
    if value.shape == shape:
        return value
    squeezed = [tuple(n for n in s if n != 1) for s in (value.shape, shape)]
    try:
        is_harmless = np.broadcast_shapes(value.shape, shape) == shape
    except ValueError:
        return None
    is_number = value.size == 1 and len(shape) == 0
    return value.reshape(shape) if squeezed[0] == squeezed[1] and (is_harmless or is_number) else None


def _harmless(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    return "" if given == shape else f"its shape {given} stands for {shape}"


def _counts(comparison: Comparison) -> dict[str, int]:
    entries = sum(point.index is not None for point in comparison.points)
    return {"entries": entries, "directions": len(comparison.points) - entries}


def _at(comparison: Comparison, at: int, shape: tuple[int, ...]) -> dict[str, Any]:
    point = comparison.points[at]
    return {
        "relative_error": float(comparison.errors[at]),
        "limit": float(comparison.limits[at]),
        "worst": Entry(
            None if point.index is None else _place(point.index, shape),
            float(comparison.analytic[at]),
            float(comparison.numeric[at]),
        ),
        "steps": point.slope.steps,
    }


def _place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(index, shape))


def _unresolved(measured: Measurement, comparison: Comparison) -> str:
    total = len(measured.points)
    if comparison.kinks >= comparison.noisy:
        return (
            f"the loss has a kink here at {comparison.kinks} of {total} places, where no gradient is right or "
            "wrong: move the parameters away from it, for instance from 0"
        )
    if not any(math.isfinite(point.slope.error) for point in measured.points):
        return "the loss is not finite at points nearby"
    noise = measured.noise
    return (
        f"the loss is too noisy: values of {measured.objective.base:.3g} that scatter by {noise:.1e} leave no "
        f"digits at {comparison.noisy} of {total} places"
    )


def _judge_zero(
    blank: GradientVerdict, measured: Measurement, gradient: Array, comparison: Comparison, reference: float
) -> GradientVerdict:
    """One of the two is zero: is the other?"""
    if any(point.slope.kink for point in measured.points):
        return replace(blank, reason=_unresolved(measured, comparison))
    if not measured.is_zero():
        if not len(comparison.points):
            return replace(blank, reason=_unresolved(measured, comparison))
        at = int(np.argmax(np.abs(comparison.numeric)))
        reason = "zero, but the loss changes with it"
        changes = replace(blank, **_at(comparison, at, measured.slot.base.shape))
        return replace(changes, verdict="wrong", fault="zero", factor="0", reason=reason)
    error = max(point.slope.error for point in measured.points)
    counted = replace(
        blank,
        entries=sum(point.index is not None for point in measured.points),
        directions=sum(point.index is None for point in measured.points),
    )
    if not math.isfinite(error):
        return replace(counted, reason=_unresolved(measured, comparison))
    if not np.any(gradient):
        if error * measured.size <= ROUNDING * max(reference, abs(measured.objective.base)):
            return replace(counted, verdict="right", reason="both are zero: the loss does not change with it")
        return replace(counted, reason=f"zero, and the loss changes by less than its rounding, {measured.noise:.1e}")
    claimed = np.array([abs(point.project(gradient)) for point in measured.points])
    bounds = np.array([4 * point.slope.error for point in measured.points])
    if float(np.max(claimed)) * measured.size <= ROUNDING * reference:
        return replace(counted, verdict="right", reason="both are zero within rounding")
    if np.any(claimed > 2 * bounds):
        at = int(np.argmax(np.where([point.index is not None for point in measured.points], claimed / bounds, 0.0)))
        point = measured.points[at]
        index = None if point.index is None else _place(point.index, measured.slot.base.shape)
        return replace(
            counted,
            verdict="wrong",
            fault="not zero",
            reason="not zero, but the loss does not change with it",
            relative_error=1.0,
            worst=Entry(index, point.project(gradient), point.slope.value),
            steps=point.slope.steps,
        )
    return replace(counted, reason=f"too small to be seen beside the rounding of the loss, {measured.noise:.1e}")


def _judge_wrong(
    blank: GradientVerdict, measured: Measurement, gradient: Array, comparison: Comparison, given: Given
) -> GradientVerdict:
    """What the gradient is instead."""
    shape = measured.slot.base.shape
    fault, factor, reason = _named(measured, gradient, comparison, given)
    worst = _at(comparison, comparison.worst(), shape)
    if fault == "direction" and not measured.is_complete():
        found = list(_repaired(measured, gradient, given.spacing))
        if found:
            places = ", ".join(str(list(entry.index or ())) for entry in found)
            count = f"{len(found)} of {gradient.size} entries {'is' if len(found) == 1 else 'are'} wrong: {places}"
            fault, reason = "entries", count
            largest = max(found, key=lambda entry: abs(entry.analytic - entry.numeric))
            size = max(abs(largest.analytic), abs(largest.numeric))
            worst |= {"worst": largest, "relative_error": abs(largest.analytic - largest.numeric) / size}
    return replace(blank, verdict="wrong", fault=fault, factor=factor, reason=reason, **worst)


def _named(
    measured: Measurement, gradient: Array, comparison: Comparison, given: Given
) -> tuple[Fault, str | None, str]:
    analytic, numeric = comparison.analytic, comparison.numeric
    factor = _factor(comparison)
    if factor is not None:
        text = formula(factor, given.sizes or {})
        if text == "-1":
            return "sign", text, "the gradient times -1: its sign is wrong"
        return "factor", text, f"the gradient times {text}"
    entries = np.array([point.index is not None for point in comparison.points])
    wrong = comparison.wrong & entries
    if gradient.ndim > 1 and gradient.T.shape == gradient.shape:
        flipped = compare(measured, np.ascontiguousarray(gradient.T), given.spacing)
        if flipped.is_right():
            return "transposed", None, "transposed: its transpose is right"
    if measured.is_complete() and 2 * int(np.sum(wrong)) <= int(np.sum(entries)):
        count = f"{int(np.sum(wrong))} of {gradient.size} entries"
        if np.all(analytic[wrong] == 0):
            return "entries", None, f"zero at {count} where it must not be"
        if np.all(np.abs(numeric[wrong]) <= 1e-9 * np.max(np.abs(numeric))):
            return "entries", None, f"not zero at {count} where it must be"
        return "entries", None, f"wrong at {count}; the others are right"
    if gradient.ndim > 1 and gradient.T.shape == gradient.shape:
        factor = _factor(compare(measured, np.ascontiguousarray(gradient.T), given.spacing))
        if factor is not None:
            return "transposed", None, f"transposed, and times {formula(factor, given.sizes or {})}"
    cosine = float(analytic @ numeric / (np.linalg.norm(analytic) * np.linalg.norm(numeric)))
    return "direction", None, f"no multiple of the gradient: the cosine between them is {cosine:.3f}"


def _factor(comparison: Comparison) -> float | None:
    """The number by which the gradient was multiplied, if it is one number for all entries."""
    analytic, numeric = comparison.analytic, comparison.numeric
    norm = float(numeric @ numeric)
    if norm == 0:
        return None
    factor = float(analytic @ numeric) / norm
    size = np.maximum(np.abs(analytic), SMALL * np.max(np.abs(analytic)))
    is_constant = np.all(np.abs(analytic - factor * numeric) <= DOUBTFUL * comparison.limits * size)
    return factor if factor and is_constant else None


def formula(factor: float, sizes: Mapping[str, int]) -> str:
    """A factor as a formula of sizes, a whole number or one over a whole number; else six digits."""
    from backprop_doctor.gradients import name_factor

    tolerance = 1e-5
    text = name_factor(factor, dict(list(sizes.items())[:4]), tolerance=tolerance)
    try:
        is_exact = abs(float(text) / factor - 1) <= tolerance
    except ValueError:
        return text
    if is_exact:
        return text
    for number, form in ((factor, "{:.0f}"), (1 / factor, "1/{:.0f}")):
        if abs(number) >= 1 and abs(round(number) / number - 1) <= tolerance / 10 and abs(number) < 1e7:
            return form.format(number).replace("1/-", "-1/")
    return f"{factor:.6g}"


def _explained(measured: Measurement, given: Given) -> str:
    """What makes a gradient of another shape right, if something simple does."""
    assert given.value is not None
    for words, value in _reshaped(given.value, measured.slot.base.shape):
        comparison = compare(measured, value, given.spacing)
        if comparison.is_right():
            return f"; {words} it is right"
        factor = _factor(comparison) if len(comparison.points) > 1 else None
        if factor is not None:
            return f"; {words} it is right but for a factor of {formula(factor, given.sizes or {})}"
    return ""


def _reshaped(value: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    if value.T.shape == shape and value.ndim > 1:
        yield "transposed", np.ascontiguousarray(value.T)
    if value.size == math.prod(shape):
        yield "reshaped", value.reshape(shape)
    for axis in range(value.ndim):
        summed = value.sum(axis=axis)
        if summed.size == math.prod(shape):
            yield f"summed over axis {axis}", summed.reshape(shape)


def _repaired(measured: Measurement, gradient: Array, spacing: float) -> Iterator[Entry]:
    """The few entries that make a large gradient wrong; none if there are many."""
    mended = gradient.copy()
    found = []
    for _ in range(REPAIRS):
        index = _furthest(measured, mended)
        slope = measured.along(index)
        found.append(Entry(_place(index, gradient.shape), float(mended.reshape(-1)[index]), slope.value))
        mended.reshape(-1)[index] = slope.value
        if compare(measured, mended, spacing).is_right():
            yield from found
            return


def _furthest(measured: Measurement, gradient: Array) -> int:
    """An entry that is off, found by halving: the half whose random direction is off by more goes on."""
    generator = np.random.default_rng([measured.plan.seed, gradient.size])
    places = np.arange(gradient.size)
    while len(places) > 1:
        halves = np.array_split(places, 2)
        places = max(halves, key=lambda half: _deviation(measured, gradient, half, generator))
    return int(places[0])


def _deviation(measured: Measurement, gradient: Array, places: Array, generator: np.random.Generator) -> float:
    direction = np.zeros(gradient.size)
    direction[places] = generator.choice((-1.0, 1.0), len(places))
    slope = measured.along(direction.reshape(gradient.shape), measured.norm() * measured.plan.limit / 100)
    return abs(float(np.vdot(gradient, direction)) - slope.value)
