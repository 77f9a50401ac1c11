"""Is the derivative right?  Numeric derivatives, and the matching of the program's values to them.

A value ``u`` of the forward pass is pushed along random directions; central differences tell how every
later value moves.  From these tangents any hypothesis "B is the adjoint of u, given that C is the
adjoint of v" is tested without further runs: the projections of B on the directions must be
proportional to <C, dv>.  The constant of proportion is the factor; it gets a name (1/N, 2, -1 ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.program import Key, Once, Probe, Program, Trace
from backprop_doctor.roles import Parameter, Roles

__all__ = ["Fit", "Measurement", "Tangent", "aligned", "fit", "fits", "lively", "name_factor"]

Array = NDArray[np.float64]

MOSTLY = 0.9
KEPT_BYTES = 400_000_000
DIRECTIONS = 3
STEP_RELATIVE = 1e-5
VARIANTS = 3
RIGHT_BELOW = 1e-5  # residuals of right gradients are 1e-7 and smaller
WRONG_ABOVE = 1e-3


@dataclass(frozen=True)
class Fit:
    """How well projections agree: ``analytic = factor * numeric`` with a relative ``residual``."""

    factor: float
    residual: float

    @property
    def right(self) -> bool:
        """Whether the two are proportional."""
        return self.residual < RIGHT_BELOW and self.factor != 0.0 and bool(np.isfinite(self.factor))


@dataclass(frozen=True)
class Tangent:
    """Derivative of every watched event along one direction at one event."""

    direction: Array
    derivatives: dict[Key, Any]


def fit(analytic: Array, numeric: Array, noise: float = 0.0) -> Fit:
    """Least-squares factor between two vectors of projections, and what remains.

    Parameters
    ----------
    analytic, numeric : ndarray of float64, shape (K,)
        Projections of the program's value and of the numeric derivative on K directions.
    noise : float
        Absolute error of ``numeric`` to be expected; below it both count as zero.

    Returns
    -------
    Fit
        ``residual`` is ||analytic - factor * numeric|| / ||analytic||; infinite when one side is zero.
    """
    size, norm = float(np.linalg.norm(analytic)), float(np.linalg.norm(numeric))
    if not np.isfinite(size + norm) or size == 0.0 or norm <= noise:
        return Fit(0.0, float("inf"))
    factor = float(analytic @ numeric) / norm**2
    return Fit(factor, float(np.linalg.norm(analytic - factor * numeric)) / size)


def fits(analytic: Array, numeric: Array) -> tuple[Array, Array]:
    """`fit` of one vector of projections against many.

    Parameters
    ----------
    analytic : ndarray of float64, shape (K,)
        Projections of the program's value on K directions.
    numeric : ndarray of float64, shape (P, K)
        The same of P numeric derivatives.

    Returns
    -------
    factors, residuals : ndarray of float64, shape (P,)
        As the fields of `Fit`.
    """
    size, norms = float(np.linalg.norm(analytic)), np.linalg.norm(numeric, axis=1)
    usable = np.isfinite(norms) & (norms > 0)
    if not np.isfinite(size) or size == 0.0:
        usable[:] = False
    safe = np.where(usable, norms, 1.0)
    rows = np.where(usable[:, None], numeric, 0.0)
    factors = rows @ np.nan_to_num(analytic) / safe**2
    residuals = np.linalg.norm(analytic - factors[:, None] * rows, axis=1) / (size or 1.0)
    return factors, np.where(usable, residuals, np.inf)


def aligned(value: Any, shape: tuple[int, ...]) -> Array | None:
    """``value`` brought to ``shape`` when it differs by unit axes only, else None."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape == shape:
        return array
    if tuple(n for n in array.shape if n != 1) == tuple(n for n in shape if n != 1):
        return array.reshape(shape)
    return None


class Measurement:
    """Numeric derivatives of one program at one point.

    Parameters
    ----------
    program : Program
        What to run.
    roles : Roles
        Who is who in it.
    probe : Probe
        The set-up it runs in.
    scale : float or None
        Parameters are replaced by random ones, weights of that size over the square root of their
        longer side and biases away from zero; None leaves the program's own initial values.
    frozen : bool
        Whether updates hand back the old value, so that all of the run is evaluated at one point.
    hold : sequence of Parameter
        When not ``frozen``, the parameters whose updates alone are held back.
    variant : int
        Which of the points of that scale: 0 has the program's own inputs, others have inputs off zero, and
        the last has no negative numbers, so that no unit is dead.
    """

    def __init__(
        self,
        program: Program,
        roles: Roles,
        probe: Probe,
        *,
        scale: float | None = 1.0,
        frozen: bool = True,
        hold: Sequence[Parameter] = (),
        variant: int = 0,
    ) -> None:
        self.program = program
        self.roles = roles
        self.scale = scale
        self.variant = variant
        self.probe = probe
        self._actions = self._point(scale)
        self._actions |= self._freeze(roles.parameters if frozen else hold)
        self._end = min(roles.step.end, len(roles.trace.events)) - 1
        # Those made from one another are kept together.
        self._moved: dict[tuple[object, ...], Measurement] = {}
        self._tangents: dict[tuple[Key, float, bool, bool, int], list[Tangent]] = {}
        self.trace: Trace = program.run(replace(probe, actions=self._actions, last=self._end))
        # With other weights a branch may not be taken that counted a hit, say.
        self.watch: frozenset[Key] = frozenset(key for key in self._watched() if key in self.trace.by_key)
        self._indices = {event.key: event.index for event in self.trace.events}

    def moved(
        self,
        *,
        scale: float | None = None,
        frozen: bool = True,
        hold: Sequence[Parameter] = (),
        variant: int | None = None,
    ) -> Measurement:
        """The same with weights of another scale, at another variant of it, or with updates in force; cached."""
        scale = self.scale if scale is None else scale
        variant = self.variant if variant is None else variant
        asked = scale, frozen, tuple(parameter.birth for parameter in hold), variant
        known = self._moved.pop(asked, None)
        if known is None:
            known = Measurement(
                self.program, self.roles, self.probe, scale=scale, frozen=frozen, hold=hold, variant=variant
            )
            known._moved = self._moved
        self._moved[asked] = known
        # Each may be as large as a record can be: the ones that were not asked for longest are made again.
        while len(self._moved) > 1 and sum(m.trace.kept_bytes for m in self._moved.values()) > KEPT_BYTES:
            del self._moved[next(iter(self._moved))]
        return known

    def value(self, key: Key) -> Any:
        """The value at an event, at this point."""
        return self.trace.value(key)

    def tangents(
        self, key: Key, step: float = STEP_RELATIVE, *, once: bool = False, off_zero: bool = False, place: int = -1
    ) -> list[Tangent]:
        """Derivatives of all watched events along a few directions at ``key``; cached.

        With ``once`` the value is moved for this one reading, else wherever it is read from there on; ``off_zero``
        leaves elements alone that are exactly 0 or like another one: they may stand on a kink, as those that tie in
        a maximum do.  With ``place`` that element alone is moved.
        """
        known = self._tangents.get((key, step, once, off_zero, place))
        if known is None:
            directions = self._directions(key) if place < 0 else [self._unit(key, place)]
            if off_zero:
                corner = _may_tie(np.asarray(self.value(key)))
                directions = [np.where(corner, 0.0, d) for d in directions]
            known = [self.along(key, d, step, once=once) for d in directions]
            self._tangents[key, step, once, off_zero, place] = known
        return known

    def along(self, key: Key, direction: Array, step: float = STEP_RELATIVE, *, once: bool = False) -> Tangent:
        """Central difference along one direction (two runs, truncation of order ``step`` squared)."""
        value = np.asarray(self.value(key), dtype=np.float64)
        size = float(np.sqrt(np.mean(np.square(value)))) or 1.0
        h = step * size
        # What passes before is as it was.
        start = self.trace.by_key[key].index
        later = frozenset(k for k in self.watch if self.trace.by_key[k].index >= start)
        ahead = self._shifted(key, h * direction, later, once=once)
        behind = self._shifted(key, -h * direction, later, once=once)
        derivatives: dict[Key, Any] = {k: _nothing(self.value(k)) for k in self.watch - later}
        for watched in later:
            a, b = ahead.value(watched), behind.value(watched)
            if a is not None and b is not None and np.shape(a) == np.shape(b):
                slope = (np.asarray(a, np.float64) - b) / (2 * h)
                derivatives[watched] = slope if slope.any() else _nothing(slope)
        return Tangent(direction, derivatives)

    def run(
        self, actions: dict[Key, Callable[[Any], Any]], *, keep: frozenset[Key] | None = None, last: int | None = None
    ) -> Trace:
        """Another run at this point, with more actions: to an event, to the last that is kept, or to the end."""
        if last is None:
            last = self._end if keep is None else max((self._indices.get(k, 0) for k in keep), default=0)
        return self.program.run(replace(self.probe, actions={**self._actions, **actions}, keep=keep, last=last))

    def _shifted(self, key: Key, shift: Array, keep: frozenset[Key], *, once: bool) -> Trace:
        before = self._actions.get(key)

        def move(value: Any) -> Any:
            value = before(value) if before else value
            return np.asarray(value, np.float64) + shift

        return self.run({key: Once(move) if once else move}, keep=keep)

    def _unit(self, key: Key, place: int) -> Array:
        direction = np.zeros(np.shape(self.value(key)))
        direction.flat[place] = 1.0
        return direction

    def _directions(self, key: Key) -> list[Array]:
        value = np.asarray(self.value(key))
        generator = np.random.default_rng([key[0], key[1], 11])
        if value.size <= DIRECTIONS:
            return [self._unit(key, place) for place in range(value.size)]
        return [generator.standard_normal(value.shape) for _ in range(DIRECTIONS)]

    def _watched(self) -> Iterable[Key]:
        roles = self.roles
        seen: set[int] = {-1, *roles.unfinished}
        turn = roles.trace.events[roles.step.start : roles.step.middle]
        # What the forward pass has made after the last backward array, for the metric, has no adjoint.
        last = max((e.index for e in turn if roles.backward(e) and roles.is_value(e.value)), default=-1)
        for event in turn:
            if event.object in seen or not roles.on_parameters[event.index]:
                continue
            seen.add(event.object)
            array = roles.forward(event) and roles.is_value(event.value) and event.index < last
            scalar = np.size(event.value) == 1 and not isinstance(event.value, (bool, int))
            if array or (roles.backward(event) and scalar):
                yield event.key

    def _point(self, scale: float | None) -> dict[Key, Callable[[Any], Any]]:
        if scale is None:
            return {}
        actions: dict[Key, Callable[[Any], Any]] = {}
        positive = self.variant == VARIANTS - 1
        for i, parameter in enumerate([*self.roles.parameters, *self.roles.constants]):
            # The ratio of two weights, which single numbers may differ by, is another one at each point.
            number = i + 100 * self.variant + (round(1000 * scale) if self.roles.scalars else 0)
            value = _generic(parameter.shape, scale, number)
            actions[parameter.birth] = _Constant(np.abs(value) if positive else value)
        for data in self.roles.inputs if self.variant else ():
            # Bytes become fractions later, in what the step makes of them.
            whole = np.asarray(self.roles.trace.value(data.birth)).dtype.kind != "f"
            actions[(self.roles.batch if whole else data).birth] = _moved_off_zero
        return actions

    @property
    def alive(self) -> int:
        """How many parameters move an output here: a dead unit or a sample of zeros would hide a gradient."""
        outputs = [m.output.birth for m in self.roles.meetings]
        tangents = [self.tangents(p.birth)[0] for p in self.roles.parameters]
        return sum(any(np.any(t.derivatives.get(key, 0.0)) for key in outputs) for t in tangents)

    def _freeze(self, parameters: Iterable[Parameter]) -> dict[Key, Callable[[Any], Any]]:
        actions: dict[Key, Callable[[Any], Any]] = {}
        for parameter in parameters:
            remember = _Remember(self._actions.get(parameter.birth))
            self._actions[parameter.birth] = remember
            actions |= dict.fromkeys(parameter.updates, remember.recall)
        return actions


def lively(program: Program, roles: Roles, probe: Probe, scale: float = 1.0) -> Measurement:
    """A measurement at the first point of a scale at which every parameter matters, or else at the best there is."""
    best: Measurement | None = None
    for variant in range(VARIANTS):
        candidate = Measurement(program, roles, probe, scale=scale, variant=variant)
        if best is None or candidate.alive > best.alive:
            best = candidate
        if not roles.meetings or best.alive == len(roles.parameters):
            break
    assert best is not None
    return best


class _Constant:
    def __init__(self, value: Array) -> None:
        self._value = value

    def __call__(self, value: Any) -> Any:
        return self._value.copy()


class _Remember:
    """Remembers the value of a parameter at its birth and hands it back at its updates."""

    def __init__(self, before: Callable[[Any], Any] | None) -> None:
        self._before = before
        self._value: Any = None

    def __call__(self, value: Any) -> Any:
        value = self._before(value) if self._before else value
        self._value = np.array(value)
        return value

    def recall(self, value: Any) -> Any:
        return self._value.copy()


def _nothing(value: Any) -> Array:
    """Zeros in the shape of a value, which take no room."""
    return np.broadcast_to(np.float64(0.0), np.shape(value))


def _may_tie(value: Array) -> Any:
    """Elements that are 0, or like another one; those that are 0 alone where hardly any would be left."""
    _, places, counts = np.unique(value, return_inverse=True, return_counts=True)
    zero = np.equal(value, 0)
    alike = np.logical_or(counts[places.reshape(value.shape)] > 1, zero)
    return zero if alike.mean() > MOSTLY else alike


def _moved_off_zero(value: Any) -> Any:
    """Inputs with positive noise of their own size; whole numbers, which may be indices, as they are."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return value
    size = float(np.sqrt(np.mean(np.square(array)))) or 1.0
    return array + size * (0.3 + np.random.default_rng(5).random(array.shape))


def _generic(shape: tuple[int, ...], scale: float, number: int) -> Array:
    generator = np.random.default_rng([number, 3])
    vector = sum(n > 1 for n in shape) <= 1
    size = 0.3 if vector else 1.0 / np.sqrt(max(shape))
    return scale * size * generator.standard_normal(shape)


# -- names for factors -----------------------------------------------------------------------------------


def name_factor(factor: float, sizes: dict[str, int], *, tolerance: float = 1e-4) -> str:
    """Say a factor as a formula of sizes: ``1``, ``1/N``, ``-2``, ``N/D``; else three digits.

    Parameters
    ----------
    factor : float
        Program's value over numeric value, dimensionless.
    sizes : dict of str to int
        Letters for the axes, for instance ``{"N": 97, "D": 784}``; sizes below 2 are ignored.
    tolerance : float
        Relative distance within which a factor and a formula are taken as equal.
    """
    formulas = _formulas(tuple((name, n) for name, n in sizes.items() if n > 1))
    near = [(weight, text) for value, weight, text in formulas if abs(abs(factor) / value - 1) <= tolerance]
    best = min(near, key=lambda found: found[0], default=None)
    short = f"{factor:.3g}"
    # 0.3 is more likely to be 0.3 than 4·D/(N·C), whatever the sizes happen to be.
    if best is None or (best[0] > 4 and abs(float(short) / factor - 1) < 1e-9):
        return short
    return ("-" if factor < 0 else "") + best[1]


@lru_cache
def _formulas(letters: tuple[tuple[str, int], ...]) -> list[tuple[float, int, str]]:
    """Formulas of some sizes: the value of each, how much there is to read, and its text."""
    found = []
    for number in (Fraction(1), Fraction(2), Fraction(1, 2), Fraction(4), Fraction(1, 4), Fraction(3)):
        for powers in product((0, 1, -1), repeat=min(len(letters), 4)):
            value = float(number) * math.prod(float(n) ** p for (_, n), p in zip(letters, powers, strict=False))
            above = [name for (name, _), p in zip(letters, powers, strict=False) if p == 1]
            below = [name for (name, _), p in zip(letters, powers, strict=False) if p == -1]
            over = [str(number.numerator)] * (number.numerator != 1) + above
            under = [str(number.denominator)] * (number.denominator != 1) + below
            text = "·".join(over) or "1"
            if under:
                text += "/" + (under[0] if len(under) == 1 else "(" + "·".join(under) + ")")
            found.append((value, 2 * len(above) + 2 * len(below) + (number != 1), text))
    return found
