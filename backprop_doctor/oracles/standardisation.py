"""Where does a program subtract a mean and divide by a spread, and along which axes were both taken?

Found by values alone: what is subtracted from an array is the mean of it over some axes, and what the difference is
divided by is a spread of it, a small number added or not.  Names and ways of writing do not matter.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case
from backprop_doctor.program import Event, Trace
from backprop_doctor.values import is_real

__all__ = ["Centring", "Scaling", "Statistic", "centrings", "operands_of", "standardisations"]

Array = NDArray[np.float64]
Axes = tuple[int, ...]
Of = Literal["values", "difference", "squares"]

TOLERANCE = 1e-8  # of the largest entry: what counts as equal
ADDED = 0.2  # the most that is added against division by 0, as a share of a usual variance
FEWEST = 3  # with two numbers any other two are a multiple of them with something added
OCCURRENCES = 6
LARGEST_RANK = 4


@dataclass(frozen=True)
class Statistic:
    """A mean or a spread as it is used.

    Parameters
    ----------
    event : Event
        What is subtracted or divided by.
    axes : tuple of int
        The axes of the array that it was taken over.
    aligned : bool
        Whether each number meets the entries it was made of, and not those of another row.
    of : str
        What the spread is of: the ``values``, the ``difference`` from their mean, or the mean of its ``squares``.
    """

    event: Event
    axes: Axes
    aligned: bool
    of: Of = "values"


@dataclass(frozen=True)
class Centring:
    """A difference of an array and its mean over some of its axes."""

    event: Event
    whole: Event
    mean: Statistic


@dataclass(frozen=True)
class Scaling:
    """A centred array divided by a spread over some of its axes; ``event`` is the quotient."""

    event: Event
    centring: Centring
    spread: Statistic


def standardisations(case: Case) -> tuple[list[Centring], list[Scaling]]:
    """What is centred and scaled in the first step and before it, the backward pass left out."""
    events = [e for e in case.trace.events[: case.roles.step.middle] if e.object == -1 or not case.roles.backward(e)]
    found = list(centrings(case, case.trace, events))
    return found, list(_scalings(case, events, found)) if found else []


def centrings(case: Case, trace: Trace, events: list[Event]) -> Iterator[Centring]:
    """Differences among some events of a run that take an array from its own mean."""
    for event, left, right in operands_of(case, trace, events, ast.Sub):
        if right is not None and left.object != right.object and is_real(left.value) and is_real(right.value):
            mean = _mean(left.value, right)
            if mean is not None and np.shape(event.value) == np.shape(left.value):
                yield Centring(event, left, mean)


def operands_of(
    case: Case, trace: Trace, events: list[Event], kind: type[ast.operator]
) -> Iterator[tuple[Event, Event, Event | None]]:
    """Results of one operator upon arrays of two axes or more, with what stands at its left and at its right."""
    seen: Counter[int] = Counter()
    for event in events:
        if event.object == -1 or np.ndim(event.value) < 2:
            continue
        site = case.program.sites[event.site]
        node, statement = site.node, site.statement
        in_place = site.kind == "store" and isinstance(statement, ast.AugAssign) and isinstance(statement.op, kind)
        if not in_place and not (isinstance(node, ast.BinOp) and isinstance(node.op, kind)):
            continue
        seen[event.site] += 1
        if seen[event.site] > OCCURRENCES:
            continue
        if in_place:
            assert isinstance(statement, ast.AugAssign)
            before = _earlier(trace, event)
            right = next((e for e in _backwards(trace, event) if _node(case, e) is statement.value), None)
            if before is not None:
                yield event, before, right
            continue
        assert isinstance(node, ast.BinOp)
        sides = {id(_node(case, e)): e for e in trace.operands(event, site.children)}
        if id(node.left) in sides:
            yield event, sides[id(node.left)], sides.get(id(node.right))


def _node(case: Case, event: Event) -> ast.AST | None:
    return None if event.object == -1 else case.program.sites[event.site].node


def _backwards(trace: Trace, event: Event) -> Iterator[Event]:
    return reversed(trace.events[max(0, event.index - 200) : event.index])


def _earlier(trace: Trace, event: Event) -> Event | None:
    """An array as it was before it was changed in place."""
    return next(
        (e for e in reversed(trace.events[: event.index]) if e.storage == event.storage and e.object != event.object),
        None,
    )


def _scalings(case: Case, events: list[Event], found: list[Centring]) -> Iterator[Scaling]:
    by_object = {centring.event.object: centring for centring in found}
    for kind in (ast.Div, ast.Mult):
        for event, left, right in operands_of(case, case.trace, events, kind):
            for centred, other in ((left, right), (right, left))[: 2 if kind is ast.Mult else 1]:
                if centred is None or other is None or centred.object not in by_object or not is_real(other.value):
                    continue
                if np.shape(event.value) != np.shape(centred.value):
                    continue
                divisor = np.asarray(other.value) if kind is ast.Div else _reciprocal(other.value)
                spread = None if divisor is None else _spread(by_object[centred.object], centred, other, divisor)
                if spread is not None:
                    yield Scaling(event, by_object[centred.object], spread)


def _reciprocal(value: Any) -> Array | None:
    return 1 / np.asarray(value) if np.all(value) else None


def _partitions(shape: tuple[int, ...]) -> list[Axes]:
    """Choices of axes to reduce over that leave more than one number and less than all."""
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if not 2 <= len(wide) <= LARGEST_RANK:
        return []
    return [axes for count in range(1, len(wide)) for axes in combinations(wide, count)]


def _mean(whole: Any, subtracted: Event) -> Statistic | None:
    """The axes over which something is the mean of an array; None if it is none, or several would do."""
    array, mean = np.asarray(whole, np.float64), np.asarray(subtracted.value, np.float64)
    if not 1 < mean.size < array.size or not np.all(np.isfinite(array)) or not np.all(np.isfinite(mean)):
        return None
    slack = TOLERANCE * float(np.abs(array).max())
    means = {axes: array.mean(axis=axes, keepdims=True) for axes in _partitions(array.shape)}
    laid = _laid(mean, array.shape)
    if laid is None:
        return None
    aligned = [axes for axes, m in means.items() if np.abs(laid - m).max() <= slack]
    if aligned:
        return Statistic(subtracted, aligned[0], aligned=True) if len(aligned) == 1 else None
    other = [a for a, m in means.items() if m.size == mean.size and np.abs(m.ravel() - mean.ravel()).max() <= slack]
    return Statistic(subtracted, other[0], aligned=False) if len(other) == 1 and np.ptp(mean) > 100 * slack else None


def _laid(value: Array, shape: tuple[int, ...]) -> Array | None:
    """A smaller array as broadcasting lays it along a larger one."""
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        return None


def _spread(centring: Centring, centred: Event, divisor: Event, value: Array) -> Statistic | None:
    """The axes over which a divisor is a spread, and of what; None if it is none, or several would do."""
    difference, whole = np.asarray(centred.value, np.float64), np.asarray(centring.whole.value, np.float64)
    laid = _laid(value, difference.shape)
    if not 1 < value.size < difference.size or laid is None or not np.all(np.isfinite(value)):
        return None
    kinds: list[tuple[Of, Any]] = [
        ("values", lambda axes: whole.var(axis=axes, keepdims=True)),
        ("squares", lambda axes: (difference**2).mean(axis=axes, keepdims=True)),
        ("difference", lambda axes: difference.var(axis=axes, keepdims=True)),
    ]
    partitions = _partitions(difference.shape)
    for aligned in (True, False):
        for of, variance in kinds:
            found = []
            for axes in partitions:
                count = int(np.prod([difference.shape[axis] for axis in axes]))
                numbers = _along(laid, axes) if aligned else value
                if numbers is not None and _is_spread(numbers.ravel(), variance(axes).ravel(), count):
                    found.append(axes)
            if found:
                return Statistic(divisor, found[0], aligned, of) if len(found) == 1 else None
    return None


def _along(laid: Array, axes: Axes) -> Array | None:
    """One number a slice, where an array is the same all along some axes."""
    first = laid[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(laid.ndim))]
    return np.array(first) if np.array_equal(np.broadcast_to(first, laid.shape), laid) else None


def _is_spread(value: Array, variance: Array, count: int) -> bool:
    """Whether numbers are roots of variances, divided by N or N - 1, with a small number added inside or outside."""
    if value.shape != variance.shape or np.any(value <= 0):
        return False
    # Where nothing varies another divisor is put in the place of 0.
    wide = variance > 1e-12 * float(variance.max())
    if wide.sum() < FEWEST:
        return False
    value, variance = value[wide], variance[wide]
    if np.ptp(variance) <= 1e-6 * float(variance.max()):
        return False
    usual = float(np.median(variance))
    for scale in (1.0, count / max(1, count - 1)):
        inside = value**2 - scale * variance
        outside = value - np.sqrt(scale * variance)
        for added, unit in ((inside, float(variance.max())), (outside, float(np.sqrt(variance.max())))):
            slack = 1e-7 * unit
            limit = ADDED * (usual if added is inside else np.sqrt(usual))
            if np.ptp(added) <= slack and -slack <= added.min() <= limit:
                return True
    return False
