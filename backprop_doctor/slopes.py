"""Slopes of a function of several arrays along directions, each with its own estimate of its error.

Central differences at shrinking steps are extrapolated (Ridders), so that no step size has to be guessed;
the noise of the function is measured, not assumed; one-sided differences tell a kink from a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Function", "Numeric", "Slope"]

Array = NDArray[np.float64]

STEP_RELATIVE = 1e-3  # first step, relative to the size of what is moved
NOISY_STEP = 20.0  # times the cube root of the relative noise, where that is larger
STEP_RATIO = 8.0
STEP_RATIO_NOISY = 2.0  # few steps are useful then, all of them large
STEPS = 8
STEPS_UP = 3
TARGET_RELATIVE = 1e-8
NOISE_POINTS = 13  # a kink between two of them spoils 4 of the 9 differences, and not their median
NOISE_SPACING = 2e-6
NOISE_ORDER = 4
KINK_DECAY = 0.5  # the two one-sided slopes of a curve approach each other 8 times a step; at a kink they stay


@dataclass(frozen=True, slots=True)
class Slope:
    """Derivative along one direction.

    ``error`` is its estimated absolute error, ``step`` the smallest step it rests on (in units of the
    direction), ``left`` and ``right`` are the one-sided slopes at that step.
    """

    value: float
    error: float
    step: float
    left: float
    right: float
    kink: bool = False

    @property
    def finite(self) -> bool:
        """Whether the function could be evaluated around the point at all."""
        return bool(np.isfinite(self.value))


NOWHERE = Slope(float("nan"), float("inf"), 0.0, float("nan"), float("nan"))


@dataclass(frozen=True)
class Function:
    """A function of several arrays, and how finely they can be moved.

    Parameters
    ----------
    value : function of list of ndarray of float64
        What is differentiated; gives a float.
    epsilon : float
        Relative spacing of the numbers the function works with: 2.2e-16 where it takes float64.
    """

    value: Callable[[list[Array]], float]
    epsilon: float = float(np.finfo(np.float64).eps)


class Numeric:
    """Numeric derivatives of a function at one point.

    Parameters
    ----------
    function : Function
        What is differentiated.
    point : sequence of ndarray of float64
        Its arguments.
    seed : int
        Chooses the random directions.
    """

    def __init__(self, function: Function, point: Sequence[Array], *, seed: int = 0) -> None:
        self.point = [np.array(values, dtype=np.float64) for values in point]
        self.seed = seed
        self.evaluations = 0
        self._function = function
        self._known: dict[tuple[int, bytes, bool], Slope] = {}
        self.value = self._evaluate(self.point)
        self.noise = self._measure_noise()

    def size(self, index: int) -> float:
        """Typical size of the entries of one argument; 1 where all are zero."""
        values = self.point[index]
        return float(np.sqrt(np.mean(np.square(values)))) or 1.0 if values.size else 1.0

    def along(self, index: int, direction: Array, *, target: float = 0.0, thorough: bool = False) -> Slope:
        """Slope along a direction in one argument.

        Parameters
        ----------
        index : int
            Which argument.
        direction : ndarray of float64
            Of the shape of that argument.
        target : float
            Absolute error with which to be content; by default relative to the slope itself.
        thorough : bool
            Whether to go on to the smallest useful step, so that kinks nearby are told from kinks here.

        Returns
        -------
        Slope

        Notes
        -----
        At least 4 evaluations.  Truncation falls with the fourth power of the step and faster; rounding
        grows with its inverse; the step with the smallest sum is taken.
        """
        key = (index, direction.tobytes(), thorough)
        if key not in self._known:
            self._known[key] = self._slope(index, direction, target, thorough=thorough)
        return self._known[key]

    def coordinate(self, index: int, entry: int, *, target: float = 0.0, thorough: bool = False) -> Slope:
        """Partial derivative with respect to one entry, counted in the flattened argument."""
        direction = np.zeros(self.point[index].size)
        direction[entry] = 1.0
        return self.along(index, direction.reshape(self.point[index].shape), target=target, thorough=thorough)

    def random_directions(self, index: int, number: int) -> list[Array]:
        """Directions with normally distributed entries; the same ones for the same seed."""
        generator = np.random.default_rng([self.seed, index, 5])
        return [generator.standard_normal(self.point[index].shape) for _ in range(number)]

    # -- one direction ---------------------------------------------------------------------------------------

    def _slope(self, index: int, direction: Array, target: float, *, thorough: bool) -> Slope:
        relative = NOISY_STEP * self._relative_noise ** (1 / 3)
        ratio = STEP_RATIO if relative <= STEP_RELATIVE else STEP_RATIO_NOISY
        first = max(STEP_RELATIVE, relative) * self._length(index, direction)
        rungs: list[_Rung] = []
        best = NOWHERE
        for k in range(2 * STEPS):
            if len(rungs) == STEPS:
                break
            rung = self._rung(index, direction, first / ratio**k)
            if rung is None:
                continue
            rungs.append(rung)
            best = _extrapolated(rungs, self.noise)
            if len(rungs) < 2:
                continue
            content = best.error <= (target or TARGET_RELATIVE * abs(best.value)) and not thorough
            drowned = 4.0 * self.noise / rung.step > max(best.error, target) and k >= 2
            if drowned or (content and not _has_kink(rungs, self.noise)):
                break
        kink = _has_kink(rungs, self.noise)
        if not kink and rungs and target < best.error <= 8.0 * self.noise / rungs[0].step:
            # All that is left is noise: larger steps than usual drown less.
            for k in range(1, STEPS_UP + 1):
                rung = self._rung(index, direction, first * ratio**k)
                if rung is None:
                    break
                rungs.insert(0, rung)
            best = _extrapolated(rungs, self.noise)
        apart = 0.0 if kink or len(rungs) < 2 else _apart(rungs)
        return replace(best, kink=kink, error=best.error + apart)

    def _length(self, index: int, direction: Array) -> float:
        """Length of a step of relative size 1: it moves entries by about their own size."""
        moved = np.flatnonzero(direction)
        if moved.size == 1:
            entry = moved[0]
            size = max(self.size(index), abs(float(self.point[index].flat[entry])))
            return size / abs(float(direction.flat[entry]))
        return self.size(index) / (float(np.sqrt(np.mean(np.square(direction)))) or 1.0)

    def _rung(self, index: int, direction: Array, step: float) -> _Rung | None:
        ahead = self._moved(index, step * direction)
        behind = self._moved(index, -step * direction)
        if not (np.isfinite(ahead) and np.isfinite(behind)):
            return None
        right, left = (ahead - self.value) / step, (self.value - behind) / step
        return _Rung(step, (ahead - behind) / (2 * step), left, right)

    # -- the function ----------------------------------------------------------------------------------------

    def _moved(self, index: int, shift: Array) -> float:
        arguments = list(self.point)
        arguments[index] = arguments[index] + shift
        return self._evaluate(arguments)

    def _evaluate(self, arguments: list[Array]) -> float:
        self.evaluations += 1
        with np.errstate(all="ignore"):  # what happens at disturbed points is no concern of the user
            return self._function.value(arguments)

    @property
    def _relative_noise(self) -> float:
        return self.noise / abs(self.value) if self.value else 0.0

    def _measure_noise(self) -> float:
        """Standard deviation of what rounding adds to the function (Moré and Wild 2011).

        Differences of fourth order of values at close, equal distances: what is smooth cancels.
        """
        epsilon = self._function.epsilon
        floor = 0.5 * epsilon * abs(self.value)
        if not np.isfinite(self.value) or not self.point:
            return floor
        # Far enough apart that a function which rounds to float32 inside cannot pass for a constant.
        spacings = (epsilon**0.6, max(NOISE_SPACING, epsilon**0.6))
        return max(floor, *(self._scatter(spacing) for spacing in dict.fromkeys(spacings)))

    def _scatter(self, spacing: float) -> float:
        generator = np.random.default_rng([self.seed, 7])
        steps = [spacing * self.size(i) * generator.standard_normal(p.shape) for i, p in enumerate(self.point)]
        values = [
            self._evaluate([p + k * step for p, step in zip(self.point, steps, strict=True)])
            for k in range(1, NOISE_POINTS + 1)
        ]
        if not np.all(np.isfinite(values)):
            return 0.0
        differences = np.diff(np.asarray(values), NOISE_ORDER)
        # The median of normal noise is 0.674 standard deviations; differences have 70 = 8! / (4!)^2 times its variance.
        return float(np.median(np.abs(differences))) / (0.674 * float(np.sqrt(70.0)))


@dataclass(frozen=True, slots=True)
class _Rung:
    step: float
    central: float
    left: float
    right: float


def _extrapolated(rungs: list[_Rung], noise: float) -> Slope:
    """The entry with the smallest error in the table of extrapolations (Ridders 1982)."""
    best = NOWHERE
    above: list[float] = []
    for n, rung in enumerate(rungs):
        row = [rung.central]
        for j in range(n):
            ratio = (rungs[n - j - 1].step / rung.step) ** 2
            row.append(row[j] + (row[j] - above[j]) / (ratio - 1))
        for j, value in enumerate(row if n else []):
            change = max(abs(value - row[j - 1]), abs(value - above[j - 1])) if j else abs(value - above[0])
            error = change + 2.0 * noise / rung.step
            if error < best.error:
                best = Slope(value, error, rung.step, rung.left, rung.right)
        above = row
    return best


def _apart(rungs: list[_Rung]) -> float:
    """How far the one-sided slopes are apart in the end, where they have not come closer."""
    before, last = rungs[-2:]
    jump = abs(last.right - last.left)
    return jump if jump > _decay(before, last) * abs(before.right - before.left) else 0.0


def _decay(before: _Rung, last: _Rung) -> float:
    """Between the decay of one-sided slopes on a curve, the ratio of the steps, and that at a kink, none."""
    return max(KINK_DECAY, float(np.sqrt(last.step / before.step)))


def _has_kink(rungs: list[_Rung], noise: float) -> bool:
    """Whether the one-sided slopes stay apart as the step shrinks, as long as noise lets that be seen."""
    for before, last in reversed(list(pairwise(rungs))):
        jump, jump_before = abs(last.right - last.left), abs(before.right - before.left)
        decayed = _decay(before, last) * jump_before
        if decayed > 20.0 * noise / last.step:
            return jump > decayed
    return False
