"""The numeric gradient of one parameter: along random directions and entry by entry.

All entries of a small parameter are measured.  Of a large one a few are, and random directions, in which
every entry takes part, stand for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from backprop_doctor.gradient_check.numeric import FIRST, Differentiator, Objective, Slope, Slot, rounding, size_of
from backprop_doctor.gradient_check.structure import Array

__all__ = ["LIMIT", "SMALL", "Measurement", "Plan", "Point"]

LIMIT = 1e-5  # right gradients are off by 1e-8 and less; an epsilon in a logarithm makes 1e-6
SMALL = 0.1  # entries below this share of the largest are judged against that share of it
SAMPLE = 24  # entries of a large parameter that are measured one by one
SHARP = 1e-3  # errors aimed at, as a share of the limit


@dataclass(frozen=True)
class Plan:
    """How much is measured: random directions, entries of small parameters, the limit, the seed."""

    directions: int = 3
    coordinates: int = 64
    limit: float = LIMIT
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """One measured derivative: along entry ``index`` of the flat parameter, or along a direction."""

    slope: Slope
    index: int | None
    direction: Array | None = None

    def project(self, gradient: Array) -> float:
        """The derivative that a gradient claims."""
        if self.direction is None:
            return float(gradient.reshape(-1)[self.index or 0])
        return float(np.vdot(gradient, self.direction))


@dataclass
class Measurement:
    """Derivatives of a loss with respect to one parameter.

    Parameters
    ----------
    objective : Objective
        The loss.
    slot : Slot
        The parameter.
    plan : Plan
        How much is measured.
    number : int
        Which of the parameters it is; its random directions follow from it and from the seed.
    """

    objective: Objective
    slot: Slot
    plan: Plan
    number: int
    points: list[Point] = field(default_factory=list)
    noise: float = 0.0
    _first: int = FIRST

    def __post_init__(self) -> None:
        self.size = size_of(self.slot)

    def run(self, guesses: Iterable[Array] = ()) -> None:
        """Measure; the places where the guesses are largest, or zero, are among the entries that are taken."""
        size = self.slot.base.size
        if not size:
            return
        generator = np.random.default_rng([self.plan.seed, self.number, size])
        first = generator.standard_normal(self.slot.base.shape)
        curve = self.objective.along(self.slot, first)
        try:
            self.noise = rounding(curve, self.objective.base, self.size)
            steps = Differentiator(curve, self.objective.base, self.noise, self.size)
            slope, self._first = steps.best(FIRST, 0.0, relative=SHARP * self.plan.limit)
        finally:
            self.slot.write(self.slot.base)
        self.points.append(Point(slope, None, first))
        # What rounding makes of a derivative with these steps cannot be had better with others.
        floor = 8 * self.noise / slope.steps[-1]
        for _ in range(self.plan.directions - 1):
            direction = generator.standard_normal(self.slot.base.shape)
            self.points.append(
                Point(self.along(direction, max(floor, self.plan.limit / 100 * self.norm())), None, direction)
            )
        goal = math.inf if self.is_zero() else max(floor, SMALL * self.plan.limit / 10 * self.norm() / math.sqrt(size))
        for index in self._indices(generator, guesses):
            self.points.append(Point(self.along(index, goal), index))

    def along(self, direction: Array | int, goal: float = 0.0) -> Slope:
        """The derivative along a direction or an entry, to within a goal where that can be had."""
        curve = self.objective.along(self.slot, direction)
        try:
            steps = Differentiator(curve, self.objective.base, self.noise, self.size)
            return steps.best(self._first, goal, relative=SHARP * self.plan.limit)[0]
        finally:
            self.slot.write(self.slot.base)

    def is_zero(self) -> bool:
        """Whether nothing but rounding was measured."""
        return all(abs(point.slope.value) <= 3 * point.slope.error for point in self.points)

    def norm(self) -> float:
        """The norm of the gradient, from the random directions."""
        slopes = [point.slope.value for point in self.points if point.direction is not None]
        return math.sqrt(sum(slope**2 for slope in slopes) / max(1, len(slopes)))

    def is_complete(self) -> bool:
        """Whether every entry was measured."""
        return self.slot.base.size <= self.plan.coordinates

    def _indices(self, generator: np.random.Generator, guesses: Iterable[Array]) -> list[int]:
        size = self.slot.base.size
        if self.is_complete():
            return list(range(size))
        wanted = [int(i) for i in generator.choice(size, min(size, SAMPLE // 2), replace=False)]
        for guess in guesses:
            order = np.argsort(np.abs(guess.reshape(-1)), kind="stable")
            wanted += [int(i) for i in (*order[-SAMPLE // 4 :], *order[: SAMPLE // 4])]
        return list(dict.fromkeys(wanted))
