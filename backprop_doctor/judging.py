"""The verdict on one gradient: what was claimed against what was measured, never by an absolute number.

A gradient is right when its relative error is below the limit, wrong when it is far above, or proportional
to the derivative with another factor than 1; between the two, and where noise or a kink hides the answer,
the verdict is that it cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_report import Entry, GradientVerdict
from backprop_doctor.slopes import Numeric, Slope
from backprop_doctor.structures import as_array

__all__ = ["LIMIT_RELATIVE", "RESHAPED", "Judge"]

Array = NDArray[np.float64]

RESHAPED = "; reshaped it is right"
LIMIT_RELATIVE = 1e-5  # right gradients have errors of 1e-8 and smaller; an epsilon in a logarithm adds up to 1e-5
LIMIT_FLOAT32 = 2e-4  # the same for gradients that were computed in float32
LIMIT_FLOAT16 = 2e-2
WRONG_ABOVE = 50.0  # times the limit; between the two it cannot be told
SAFETY = 4.0  # estimated errors of slopes are several times the true ones
SMALL = 64  # entries up to which every one is differentiated
DIRECTIONS = 4
SAMPLED = 8
BLAMED = 3
TARGET = 1e-3  # of the limit: how exact slopes have to be


@dataclass(frozen=True)
class _Comparison:
    """Projections of the claimed gradient beside the numeric slopes; ``counted`` leaves out what is at a kink."""

    analytic: Array
    numeric: Array
    errors: Array
    counted: NDArray[np.bool_]
    kinks: int

    @property
    def scale(self) -> float:
        return max(_norm(self.analytic[self.counted]), _norm(self.numeric[self.counted]))

    @property
    def error(self) -> float:
        difference = _norm((self.analytic - self.numeric)[self.counted])
        return difference / self.scale if self.scale else 0.0

    @property
    def noise(self) -> float:
        """Relative error that the noise of the function can explain."""
        return SAFETY * _norm(self.errors[self.counted]) / self.scale if self.scale else 0.0

    def factor(self) -> tuple[float, float]:
        """Least-squares factor, analytic over numeric, and the relative size of what it does not explain."""
        a, n = self.analytic[self.counted], self.numeric[self.counted]
        if not _norm(a) or not _norm(n):
            return 0.0, float("inf")
        factor = float(a @ n) / float(n @ n)
        return factor, _norm(a - factor * n) / _norm(a)


class Judge:
    """Says of claimed gradients whether they are derivatives of a function.

    Parameters
    ----------
    numeric : Numeric
        The function at the point where the gradients were taken.
    limit : float
        Relative error up to which a gradient is right.
    sizes : mapping of str to int
        What factors may be made of: ``{"len(X)": 97}``.
    """

    def __init__(
        self, numeric: Numeric, *, limit: float = LIMIT_RELATIVE, sizes: Mapping[str, int] | None = None
    ) -> None:
        self.numeric = numeric
        self.limit = limit
        self.sizes = dict(sizes or {})
        self._measured: dict[int, tuple[list[Array], list[Slope]]] = {}

    def distance(self, index: int, claimed: Array) -> tuple[float, float]:
        """How far a value is from a gradient, and from any multiple of it; infinite for another shape.

        Cheap, for finding by trying which value is which gradient.  Both are relative; 0 is within the limit.
        """
        shape = self.numeric.point[index].shape
        if claimed.size != self.numeric.point[index].size or not _broadcasts(shape, claimed.shape):
            return float("inf"), float("inf")
        comparison = self._compare(index, claimed.reshape(shape))
        allowed = self.limit + comparison.noise
        rest = comparison.factor()[1] if comparison.scale else 0.0
        return 0.0 if comparison.error <= allowed else comparison.error, 0.0 if rest <= allowed else rest

    def verdict(self, index: int, claimed: Any, name: str) -> GradientVerdict:
        """Judge one claimed gradient.

        Parameters
        ----------
        index : int
            Which argument of the function it belongs to.
        claimed : array-like
            The gradient.
        name : str
            What the argument is called.

        Raises
        ------
        UsageError
            If the gradient is complex or holds no numbers.
        """
        shape = self.numeric.point[index].shape
        array = _real(claimed, name)
        if array is None:
            raise UsageError(f"the gradient of {name} is a {type(claimed).__name__}, not an array of numbers")
        blank = GradientVerdict(
            name=name,
            verdict="unknown",
            kind="",
            reason="",
            shape=shape,
            gradient_shape=array.shape,
            dtype=str(as_array(claimed).dtype),
            entries=self.numeric.point[index].size,
        )
        remark = ""
        if array.shape != shape:
            if array.size != self.numeric.point[index].size or not _broadcasts(shape, array.shape):
                return replace(blank, verdict="wrong", kind="shape", reason=self._shape_reason(index, array))
            remark = f"; its shape {array.shape} only differs by axes of length 1"
            array = array.reshape(shape)
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            where = np.argwhere(~np.isfinite(array))[0]
            reason = f"{bad} of {array.size} entries are not finite, the first at {list(map(int, where))}"
            return replace(blank, verdict="wrong", kind="not finite", reason=reason)
        if not array.size:
            return replace(blank, verdict="right", reason="there are no entries", relative_error=0.0)
        verdict = _Examination(self, index, array, self._limit(claimed)).run(blank)
        return replace(verdict, reason=verdict.reason + remark)

    def _limit(self, claimed: Any) -> float:
        itemsize = as_array(claimed).dtype.itemsize if as_array(claimed).dtype.kind == "f" else 8
        return max(self.limit, {4: LIMIT_FLOAT32, 2: LIMIT_FLOAT16}.get(itemsize, 0.0))

    # -- measuring -------------------------------------------------------------------------------------------

    def measured(self, index: int) -> tuple[list[Array], list[Slope]]:
        """Directions and slopes along them: every entry of a small argument, random ones of a large one."""
        if index not in self._measured:
            numeric, point = self.numeric, self.numeric.point[index]
            random = numeric.random_directions(index, 2 if point.size <= SMALL else DIRECTIONS)
            slopes = [numeric.along(index, direction) for direction in random]
            if point.size > SMALL:
                self._measured[index] = random, slopes
            else:
                values = [abs(slope.value) for slope in slopes if slope.finite]
                # Of the size of the largest entries; an entry need not be more exact than matters to the whole.
                target = TARGET * self.limit * max(values, default=0.0) / np.sqrt(point.size)
                eye = [unit.reshape(point.shape) for unit in np.eye(point.size)]
                self._measured[index] = eye, [numeric.along(index, unit, target=target) for unit in eye]
        return self._measured[index]

    def _compare(self, index: int, array: Array) -> _Comparison:
        directions, slopes = self.measured(index)
        return compare(array, directions, slopes, self.limit)

    def _shape_reason(self, index: int, array: Array) -> str:
        shape = self.numeric.point[index].shape
        reason = f"its shape is {array.shape}, that of the parameter {shape}"
        if array.ndim == len(shape):
            for order in permutations(range(array.ndim)):
                if array.transpose(order).shape == shape and self._fits(index, array.transpose(order)):
                    return f"{reason}; transposed it is right"
        if array.size == self.numeric.point[index].size:
            return f"{reason}{RESHAPED}" if self._fits(index, array.reshape(shape)) else reason
        for axes in _subsets(array.ndim):
            reduced = array.sum(axis=axes)
            if reduced.size == self.numeric.point[index].size and self._fits(index, reduced.reshape(shape)):
                return f"{reason}; summed over {_axes(axes)} it is right"
        directions, slopes = self.measured(index)
        if len(directions) == self.numeric.point[index].size:
            derivative = np.array([slope.value for slope in slopes]).reshape(shape)
            for axes in _subsets(derivative.ndim):
                sums: NDArray[Any] = np.asarray(derivative.sum(axis=axes))
                if sums.size == array.size and np.allclose(array.ravel(), sums.ravel(), rtol=1e-4, atol=0.0):
                    return f"{reason}; it is the derivative summed over {_axes(axes)}"
        return reason

    def _fits(self, index: int, array: Array) -> bool:
        comparison = self._compare(index, array)
        return comparison.scale > 0 and comparison.error <= self.limit + comparison.noise

    def name(self, factor: float, uncertainty: float) -> str:
        """The factor as a formula of the known sizes, as short as possible; else five digits."""
        from backprop_doctor.gradients import name_factor

        tolerance = min(1e-4, max(1e-7, 10 * uncertainty))
        plain = f"{factor:.3g}"
        first = {size: name for name, size in reversed(self.sizes.items()) if size > 1}
        named = {name: size for size, name in first.items()}
        for number in range(3):
            found = [
                text
                for names in combinations(named, number)
                if (text := name_factor(factor, {n: named[n] for n in names}, tolerance=tolerance)) != plain
                or _is_exact(text, factor, tolerance)
            ]
            if found:
                return min(found, key=len)
        return f"{factor:.5g}"


@dataclass
class _Examination:
    """Takes one gradient apart, as far as its verdict needs it."""

    judge: Judge
    index: int
    array: Array
    limit: float

    @property
    def numeric(self) -> Numeric:
        return self.judge.numeric

    def run(self, blank: GradientVerdict) -> GradientVerdict:
        directions, slopes = self.judge.measured(self.index)
        small = len(directions) == self.array.size and self.array.size <= SMALL
        if not small and np.any(self.array):
            even = self._even_direction()
            directions, slopes = [*directions, even], [*slopes, self.numeric.along(self.index, even)]
        if not all(slope.finite for slope in slopes):
            return replace(blank, reason="the loss is not finite around this point", kind="not finite")
        comparison = compare(self.array, directions, slopes, self.limit)
        if small:
            slopes = self._looked_at_again(comparison, slopes)
            comparison = compare(self.array, directions, slopes, self.limit)
        steps = [slope.step for slope in slopes]
        verdict = replace(
            blank,
            relative_error=comparison.error,
            limit=self.limit,
            noise=comparison.noise,
            directions=len(slopes),
            steps=(min(steps), max(steps)),
            kinks=comparison.kinks,
        )
        if not np.any(comparison.counted):
            return replace(verdict, kind="kink", relative_error=None, reason=self._kink_reason(slopes))
        entries = list(range(self.array.size)) if small else []
        wrong = [i for i in entries if comparison.counted[i] and self._is_wrong(i, slopes[i])]
        close = comparison.error <= self.limit + comparison.noise
        if close and not wrong and comparison.noise <= WRONG_ABOVE * self.limit:
            kind = "" if comparison.scale else "negligible"
            return replace(verdict, verdict="right", kind=kind, reason=self._right_reason(comparison))
        if close and not wrong and self._is_negligible(comparison):
            reason = "zero beside the other gradients, whose noise hides it"
            return replace(verdict, verdict="right", kind="negligible", reason=reason)
        if close and not wrong:
            return replace(verdict, kind="noise", reason=self._noise_reason(comparison))
        if not small:
            entries, slopes, wrong = self._localised(comparison)
        worst = self._worst(entries, slopes)
        return self._taken_apart(replace(verdict, worst=worst), comparison, entries, slopes, wrong, small=small)

    def _taken_apart(
        self,
        verdict: GradientVerdict,
        comparison: _Comparison,
        entries: list[int],
        slopes: list[Slope],
        wrong: list[int],
        *,
        small: bool,
    ) -> GradientVerdict:
        """What exactly is wrong, or why that cannot be told."""
        factor, rest = comparison.factor()
        error, noise = comparison.error, comparison.noise
        if not np.any(self.array):
            return replace(
                verdict, verdict="wrong", kind="zero", reason="it is zero, the derivative is not", factor="0"
            )
        if _norm(comparison.numeric) <= SAFETY * _norm(comparison.errors):
            return replace(
                verdict,
                verdict="wrong",
                kind="no effect",
                reason="the loss does not depend on it, the gradient is not zero",
            )
        coherent = rest <= max(self.limit / WRONG_ABOVE, 2 * noise, 1e-9) or (rest <= self.limit and error > 20 * rest)
        if coherent and abs(factor - 1) > max(10 * rest, 2 * noise, 1e-7):
            named = self.judge.name(factor, max(rest, noise))
            reason = f"it is {named} times the derivative; the rest agrees to {max(rest, noise):.0e}"
            kind = "sign" if named == "-1" else "factor"
            return replace(verdict, verdict="wrong", kind=kind, reason=reason, factor=named, factor_value=factor)
        transposed = self._transposed()
        if transposed:
            return replace(verdict, verdict="wrong", kind="transposed", reason=transposed)
        if wrong and small and len(wrong) < self.array.size:
            places = ", ".join(str(self._place(i)) for i in wrong[:BLAMED])
            more = ", ..." if len(wrong) > BLAMED else ""
            reason = f"wrong at {len(wrong)} of {self.array.size} entries: {places}{more}"
            return replace(verdict, verdict="wrong", kind="entries", reason=reason)
        if wrong and not small:
            alone = self._blamed_alone(wrong)
            if alone:
                return replace(verdict, verdict="wrong", kind="entries", reason=alone)
        if error > WRONG_ABOVE * self.limit + noise or wrong:
            reason = f"it is not the derivative, nor any multiple of it: {rest:.2g} of it is left by the best factor"
            return replace(verdict, verdict="wrong", kind="different", reason=reason)
        reason = (
            f"the relative error is {error:.1e}: more than the limit of {self.limit:.0e}, and less than a mistake "
            f"usually makes; an epsilon in a logarithm does this, or a gradient computed with few digits"
        )
        return replace(verdict, kind="between", reason=reason)

    # -- entries ---------------------------------------------------------------------------------------------

    def _looked_at_again(self, comparison: _Comparison, slopes: list[Slope]) -> list[Slope]:
        """Slopes of the entries that do not agree, taken at ever smaller steps: a kink may be close."""
        again = list(slopes)
        for i, slope in enumerate(slopes):
            if slope.kink or self._is_wrong(i, slope):
                again[i] = self.numeric.coordinate(self.index, i, thorough=True)
        return again if any(a is not b for a, b in zip(again, slopes, strict=True)) else slopes

    def _is_wrong(self, entry: int, slope: Slope) -> bool:
        """Whether an entry is off by more than its own size, that of the largest entries, and noise allow."""
        claimed = float(self.array.flat[entry])
        largest = max(float(np.max(np.abs(self.array))), abs(slope.value))
        allowed = WRONG_ABOVE * self.limit * max(abs(claimed), abs(slope.value)) + self.limit * largest
        return abs(claimed - slope.value) > allowed + SAFETY * slope.error

    def _localised(self, comparison: _Comparison) -> tuple[list[int], list[Slope], list[int]]:
        """Entries of a large gradient: those with the largest error, found by halving, and some others."""
        generator = np.random.default_rng([self.numeric.seed, self.index, 13])
        found: list[int] = []
        for _ in range(BLAMED):
            entry = self._most_wrong(generator, found)
            if entry in found:
                break
            found.append(entry)
        largest = np.argsort(np.abs(self.array), axis=None)[-SAMPLED:]
        drawn = generator.integers(self.array.size, size=SAMPLED)
        entries = list(dict.fromkeys([*found, *map(int, largest), *map(int, drawn)]))
        slopes = [self.numeric.coordinate(self.index, entry) for entry in entries]
        wrong = [entry for entry, slope in zip(entries, slopes, strict=True) if self._is_wrong(entry, slope)]
        return entries, slopes, wrong

    def _most_wrong(self, generator: np.random.Generator, without: list[int]) -> int:
        """An entry with a large error: the half that is further off is halved again."""
        signs = generator.choice([-1.0, 1.0], size=self.array.size)
        inside = np.setdiff1d(np.arange(self.array.size), without)
        off = self._discrepancy(signs, inside)
        while inside.size > 1:
            half = generator.permutation(inside)[: inside.size // 2]
            off_half = self._discrepancy(signs, half)
            if abs(off_half) >= abs(off - off_half):
                inside, off = half, off_half
            else:
                inside, off = np.setdiff1d(inside, half), off - off_half
        return int(inside[0]) if inside.size else 0

    def _discrepancy(self, signs: Array, entries: NDArray[Any]) -> float:
        direction = np.zeros(self.array.shape)
        direction.flat[entries] = signs[entries]
        return _inner(self.array, direction) - self.numeric.along(self.index, direction).value

    def _blamed_alone(self, wrong: list[int]) -> str:
        """A sentence if all is right but for a few entries."""
        directions = []
        for direction in self.numeric.random_directions(self.index, DIRECTIONS):
            rest = direction.copy()
            rest.flat[wrong] = 0.0
            directions.append(rest)
        others = compare(self.array, directions, [self.numeric.along(self.index, d) for d in directions], self.limit)
        if others.error > self.limit + others.noise:
            return ""
        places = ", ".join(str(self._place(entry)) for entry in wrong)
        return f"wrong at {len(wrong)} of {self.array.size} entries: {places}; the others agree"

    def _worst(self, entries: list[int], slopes: list[Slope]) -> Entry | None:
        pairs = [
            (entry, slope) for entry, slope in zip(entries, slopes, strict=True) if slope.finite and not slope.kink
        ]
        if not pairs:
            return None
        entry, slope = max(pairs, key=lambda pair: abs(float(self.array.flat[pair[0]]) - pair[1].value))
        return Entry(self._place(entry), float(self.array.flat[entry]), slope.value, slope.error, slope.step)

    def _place(self, entry: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(entry, self.array.shape))

    # -- the whole -------------------------------------------------------------------------------------------

    def _even_direction(self) -> Array:
        """A direction in which small entries weigh as much as large ones."""
        (direction,) = self.numeric.random_directions(self.index, 1)
        floor = 1e-3 * float(np.sqrt(np.mean(np.square(self.array))))
        return direction * floor / (np.abs(self.array) + floor)

    def _transposed(self) -> str:
        if self.array.ndim < 2:
            return ""
        for order in permutations(range(self.array.ndim)):
            turned = self.array.transpose(order)
            if order != tuple(range(self.array.ndim)) and turned.shape == self.array.shape:
                comparison = self.judge._compare(self.index, turned)
                factor, rest = comparison.factor()
                if rest <= self.limit + comparison.noise:
                    named = self.judge.name(factor, max(rest, comparison.noise))
                    return "it is the transpose of the derivative" + ("" if named == "1" else f", times {named}")
        return ""

    def _is_negligible(self, comparison: _Comparison) -> bool:
        """Whether what is claimed and what noise could hide both change the function by nothing beside the rest."""
        bounds = []
        for index in range(len(self.numeric.point)):
            slopes = self.judge.measured(index)[1]
            values = [abs(slope.value) for slope in slopes if slope.finite]
            bounds.append(max(values, default=0.0) * self.numeric.size(index))
        largest = max(bounds[: self.index] + bounds[self.index + 1 :], default=0.0)
        hidden = max(comparison.scale, SAFETY * _norm(comparison.errors)) * self.numeric.size(self.index)
        return hidden < 0.1 * self.limit * largest

    def _right_reason(self, comparison: _Comparison) -> str:
        if not comparison.scale:
            return "both are zero: the loss does not depend on it here"
        kinks = f"; {comparison.kinks} of {len(comparison.counted)} slopes are at a kink" if comparison.kinks else ""
        return f"agrees to {comparison.error:.1g}{kinks}"

    def _noise_reason(self, comparison: _Comparison) -> str:
        return (
            f"noise hides it: the loss is {self.numeric.value:.6g} and its last digits change by "
            f"{self.numeric.noise:.0e}, so that slopes are known to {comparison.noise:.0e} of their size only"
        )

    def _kink_reason(self, slopes: list[Slope]) -> str:
        slope = max(slopes, key=lambda s: abs(s.right - s.left))
        return (
            f"the loss has a kink here: its slope is {slope.left:.3g} to one side and {slope.right:.3g} to the other, "
            "and the gradient lies between; move the parameters a little and check again"
        )


def compare(array: Array, directions: list[Array], slopes: list[Slope], limit: float) -> _Comparison:
    """Projections of a claimed gradient beside slopes.

    A direction at a kink does not count where the claim lies between the one-sided slopes: any value there
    is a derivative of one side or of a mixture.
    """
    analytic = np.array([_inner(array, direction) for direction in directions])
    numeric = np.array([slope.value for slope in slopes])
    errors = np.array([slope.error for slope in slopes])
    scale = max(_norm(analytic), _norm(numeric))
    counted = np.ones(len(slopes), dtype=bool)
    kinks = 0
    for i, slope in enumerate(slopes):
        low, high = sorted((slope.left, slope.right))
        slack = limit * max(scale, abs(low), abs(high)) + SAFETY * slope.error
        if slope.kink and high - low > 2 * limit * scale:
            kinks += 1
            counted[i] = not low - slack <= analytic[i] <= high + slack
    return _Comparison(analytic, numeric, errors, counted, kinks)


def _real(value: Any, name: str) -> Array | None:
    array = as_array(value)
    if array.dtype.kind == "c":
        raise UsageError(f"the gradient of {name} is {array.dtype}: only real gradients are checked")
    if array.dtype.kind not in "fiub":
        return None
    return array.astype(np.float64)


def _inner(a: Array, b: Array) -> float:
    return float(np.vdot(a, b))


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values))


def _broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, other) == shape
    except ValueError:
        return False


def _subsets(number: int) -> list[tuple[int, ...]]:
    return [axes for k in range(1, number + 1) for axes in combinations(range(number), k)]


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def _is_exact(text: str, factor: float, tolerance: float) -> bool:
    """Whether a text of digits is a small whole number, and the factor is that."""
    return text.lstrip("-") in "1234" and abs(float(text) / factor - 1) <= tolerance
