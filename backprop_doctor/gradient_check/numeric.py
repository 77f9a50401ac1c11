"""Derivatives from differences of the loss, each with an estimate of its own error.

A derivative is taken from central differences with steps h, h/2 and h/4.  Their error falls with h squared
where the loss is smooth, so that Richardson's extrapolation takes it out; two extrapolations tell how far
they can be trusted.  Where they disagree, the steps go up (rounding) or down (kinks nearby) until they do
not.  Rounding noise is measured: by how far values of the loss at neighbouring points lie off a smooth curve.

References
----------
W. H. Press and others, Numerical Recipes, 3rd edition, 2007, section 5.7; J. J. More and S. M. Wild,
Estimating Computational Noise, SIAM Journal on Scientific Computing 33, 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backprop_doctor.gradient_check.structure import Array

__all__ = ["EPSILON", "FIRST", "Curve", "Differentiator", "Objective", "Slope", "Slot", "rounding", "size_of"]

Curve = Callable[[float], float]

FIRST = 10  # the first steps tried are 2**-10 (1e-3) times the size of the parameter
FINEST, COARSEST = 34, -3  # halvings of the size that are tried one after the other
BEYOND = -34  # how far steps may grow while rounding is all there is to see
NEIGHBOURS = 5  # on each side, to see rounding noise
EPSILON, EPSILON_SINGLE = 2.0**-52, 2.0**-23


class Slot(Protocol):
    """A parameter that can be set; ``base`` is its value at the point of the check."""

    name: str
    base: Array

    def write(self, value: Array) -> None:
        """Set the parameter."""


@dataclass(frozen=True)
class Slope:
    """A derivative along one direction, its estimated absolute error, and the steps it was taken with.

    ``kink`` says that the derivatives from both sides differ.
    """

    value: float
    error: float
    steps: tuple[float, ...] = ()
    kink: bool = False


class Objective:
    """A loss as a function of its parameters, one changed at a time.

    Parameters
    ----------
    evaluate : callable
        The loss with the parameters as they are set.
    slots : list of Slot
        The parameters.
    """

    def __init__(self, evaluate: Callable[[], float], slots: list[Slot]) -> None:
        self._evaluate = evaluate
        self.slots = slots
        self.evaluations = 0
        self.base = self.value()

    def value(self) -> float:
        """The loss as the parameters are set now."""
        self.evaluations += 1
        with np.errstate(all="ignore"):
            return self._evaluate()

    def along(self, slot: Slot, direction: Array | int) -> Curve:
        """The loss along a direction, or along one entry of a parameter, as a function of the distance."""

        def curve(distance: float) -> float:
            moved = slot.base.copy()
            if isinstance(direction, int):
                moved.reshape(-1)[direction] += distance
            else:
                moved += distance * direction
            slot.write(moved)
            return self.value()

        return curve


def size_of(slot: Slot) -> float:
    """The size of a parameter's entries, which is the unit of steps; 1 for zeros."""
    size = float(np.sqrt(np.mean(np.square(slot.base)))) if slot.base.size else 1.0
    return size if size > 0 and math.isfinite(size) else 1.0


def rounding(curve: Curve, base: float, size: float) -> float:
    """Standard deviation of the loss's rounding noise near a point.

    Parameters
    ----------
    curve : callable
        The loss along a direction.
    base : float
        The loss at the point.
    size : float
        The size of the parameter.

    Notes
    -----
    A parabola is laid through eleven values close together; what they lie off it is noise.  A loss computed
    in float32 stands still on that scale or takes float32 numbers only, and is looked at from further away.
    """
    noise = EPSILON * abs(base)
    near = [curve(size * 2.0**-27 * i) for i in range(-NEIGHBOURS, NEIGHBOURS + 1)]
    if not all(map(math.isfinite, near)):
        return noise
    if len(set(near)) > NEIGHBOURS and not all(value == float(np.float32(value)) for value in near):
        return max(noise, _scatter(near, 2))
    far = [curve(size * 2.0**-16 * i) for i in range(-NEIGHBOURS, NEIGHBOURS + 1)]
    if not all(map(math.isfinite, far)):
        return noise
    if len(set(far)) > 1 and all(value == float(np.float32(value)) for value in far):
        noise = EPSILON_SINGLE * abs(base)
    return max(noise, _scatter(far, 4))


def _scatter(values: list[float], degree: int) -> float:
    points = np.linspace(-1, 1, len(values))
    basis = np.linalg.qr(np.vander(points, degree + 1))[0]
    offsets = np.asarray(values) - values[len(values) // 2]
    rest = offsets - basis @ (basis.T @ offsets)
    return float(np.sqrt(rest @ rest / (len(values) - degree - 1)))


class Differentiator:
    """Derivatives of one curve at 0, from differences with ever other steps.

    Parameters
    ----------
    curve : callable
        The loss along a direction.
    base : float
        The loss at the point.
    noise : float
        Its rounding noise.
    size : float
        The size of the parameter.
    """

    def __init__(self, curve: Curve, base: float, noise: float, size: float) -> None:
        self._curve = curve
        self._base = base
        self._noise = noise
        self._size = size
        self._known: dict[int, tuple[float, float]] = {}

    def _difference(self, halvings: int) -> tuple[float, float]:
        """Central difference, and the derivative from the right less that from the left."""
        if halvings not in self._known:
            step = math.ldexp(self._size, -halvings)
            ahead, behind = self._curve(step), self._curve(-step)
            self._known[halvings] = (ahead - behind) / (2 * step), (ahead - 2 * self._base + behind) / step
        return self._known[halvings]

    def at(self, halvings: int) -> Slope:
        """The derivative from three steps, the first of them so many halvings of the parameter's size."""
        coarse, middle, fine = (self._difference(halvings + i) for i in range(3))
        steps = tuple(math.ldexp(self._size, -halvings - i) for i in range(3))
        first, second = ((4 * b[0] - a[0]) / 3 for a, b in ((coarse, middle), (middle, fine)))
        noise = 2 * self._noise / steps[2]
        error = abs(second - first) + noise
        if not math.isfinite(error):
            return Slope(0.0, math.inf, steps)
        # In a smooth loss the two sides come together as fast as the steps; at a kink they never do.
        gap = abs(fine[1])
        kink = gap > 0.7 * abs(coarse[1]) and gap > 4 * noise and gap > 1e-9 * abs(second)
        return Slope(second, error + gap / 2 if kink else error, steps, kink)

    def best(self, first: int, goal: float, *, relative: float = 0.0) -> tuple[Slope, int]:
        """The first derivative whose error is within a goal, else the one with the least error.

        Parameters
        ----------
        first : int
            Halvings of the size with which to begin.
        goal, relative : float
            The error that is good enough, absolute and relative to the derivative.

        Returns
        -------
        slope : Slope
        halvings : int
            Of the first of its steps.
        """
        best, where = self.at(first), first
        for halvings in _order(first):
            if best.error <= max(goal, relative * abs(best.value)):
                return best, where
            slope = self.at(halvings)
            if slope.error < best.error:
                best, where = slope, halvings
        while where == min(self._known) and where > BEYOND:
            slope = self.at(where - 2)
            if not slope.error < best.error:
                break
            best, where = slope, where - 2
        return best, where


def _order(first: int) -> list[int]:
    """Two halvings apart, the nearest to the first ones first."""
    steps = range(2, FINEST - COARSEST, 2)
    near = [first + sign * step for step in steps for sign in (-1, 1)]
    return [halvings for halvings in near if COARSEST <= halvings <= FINEST]
