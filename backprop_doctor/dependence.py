"""Who depends on whom in a recorded run: a source is disturbed, and what changes hangs on it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.program import Action, Event, Key, Once, Probe, Program, Trace

__all__ = ["Dependence", "Mask", "disturbed"]

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]

# Up to so many whole numbers each gets another value: rows exchanged as a whole may leave sums as they are.
FEW = 1_000
BASES = 3


class Dependence:
    """Tells, for one recorded run, which of its events change when a source is disturbed.

    Parameters
    ----------
    program : Program
        What to run.
    trace : Trace
        The run that was recorded.
    probe : Probe
        The set-up it ran in.
    """

    def __init__(self, program: Program, trace: Trace, probe: Probe) -> None:
        self.program = program
        self.trace = trace
        self.probe = probe
        self.known: dict[object, Any] = {}
        self._bases: dict[tuple[object, ...], Trace] = {}

    @cached_property
    def names(self) -> dict[int, str]:
        """What each object is called."""
        return object_names(self.program, self.trace)

    def base(self, start: tuple[Any, ...], moved: dict[Key, Action]) -> Trace:
        """The run up to the event that ``start`` begins with, with some values moved; the latest of them are kept."""
        known = self._bases.pop(start, None) or self.program.run(replace(self.probe, actions=moved, last=start[0]))
        self._bases[start] = known
        # Each may be as large as a record can be.
        while len(self._bases) > BASES:
            del self._bases[next(iter(self._bases))]
        return known

    def at(self, last: int, zeros: Sequence[Event], alive: Sequence[Event], *, far: bool = False) -> Point:
        """Where to ask: ``zeros`` are moved off zero, ``alive`` are made positive, events after ``last`` do not count.

        Weights that start at zero hide what passes through them, and so do dead units.  Sources are disturbed a
        little, or ``far``: what passes thresholds or is rounded is only seen then.
        """
        off_zero: dict[Key, Action] = {e.key: _Then(None, disturbed) for e in zeros}
        return Point(self, off_zero | {e.key: _Then(None, _positive) for e in alive}, last, far=far)


class Point:
    """A point at which one asks who depends on whom; ``base`` is the run there with no source disturbed."""

    def __init__(self, of: Dependence, moved: dict[Key, Action], last: int, *, far: bool) -> None:
        self._of = of
        self._moved = moved
        self._last = last
        self._far = far
        self.base: Trace = of.base((last, *moved), moved) if moved else of.trace

    def reach(
        self,
        sources: Sequence[list[Event]],
        held: Event | None = None,
        *,
        readings: Sequence[Event] = (),
        once: bool = False,
    ) -> dict[int, Mask]:
        """For each source, which events change when it is disturbed.

        A source is one object, at the event given, or several that play one part (the samples of a batch, taken
        one by one); it goes by its first.  An event that is ``held`` keeps its value, and so do ``readings``, whatever
        else is read of the same object.  With ``once`` the events alone are disturbed, and not the objects.
        """
        known, masks = self._of.known, {}
        for source in sources:
            how = self._last, *self._moved, self._far, held and held.key, *(e.key for e in readings), once
            question = (*how, *(e.key for e in source))
            if question not in known:
                known[question] = self._mask(source, held, readings, once=once)
            masks[source[0].object] = known[question]
        return masks

    def _mask(self, source: list[Event], held: Event | None, readings: Sequence[Event], *, once: bool) -> Mask:
        actions: dict[Key, Action] = {e.key: Once(self._change(e)) if once else self._change(e) for e in source}
        actions |= {e.key: Once(_Kept(self.base.value(e.key))) for e in readings}
        if held is not None:
            actions[held.key] = _Then(None, _Kept(self.base.value(held.key)))
        same, broke = self._compared(actions)
        left = {e.key: rest for e in source if (rest := _left_alone(e.value, actions[e.key])) is not None}
        if left and not broke:
            again, _ = self._compared({**actions, **{key: _Kept(rest) for key, rest in left.items()}})
            same &= again
        mask = np.zeros(len(self._of.trace.events), bool)
        # A length or an axis that breaks the program when it is changed is no data.
        for event in () if broke else self._of.trace.events[: self._last + 1]:
            mask[event.index] = event.object != -1 and event.key not in same
        return mask

    def _compared(self, actions: dict[Key, Action]) -> tuple[set[Key], bool]:
        probe = replace(self._of.probe, actions={**self._moved, **actions}, last=self._last)
        return self._of.program.compared(probe, self.base)

    def _change(self, source: Event) -> Action:
        """What is done to a source at one of its events."""
        if type(source.value) in (int, bool):
            # A number has no identity: where it is bound and read again, one change must not undo the other.
            return _Kept(disturbed(source.value))
        return _Then(self._moved.get(source.key), _far if self._far else disturbed)


def disturbed(value: Any) -> Any:
    """A slightly different value: noise for real numbers, exchanged samples for integers, a neighbouring class."""
    if isinstance(value, (int, np.integer, np.bool_)):
        return value - 1 if value > 0 else value + 1
    if not isinstance(value, np.ndarray):
        return value + 1e-3 * (abs(value) or 0.1)
    if value.dtype.kind == "f":
        return _with_noise(value, 1e-3, 0.1)
    long = _long(value)
    if len(long) > 1 and (value.size > FEW or _is_one_hot(value)):
        # One-hot rows stay one-hot, and every one of them changes.
        axis = min(long, key=lambda axis: value.shape[axis])
        rolled = _exchanged(np.roll(value, 1, axis=axis), value, axis)
        return rolled if not np.array_equal(rolled, value) else value[::-1].copy()
    classes, places = np.unique(value, return_inverse=True)
    if len(classes) == 1 and value.dtype.kind in "biu":
        # A sample of its own: with nothing to exchange it for, the neighbouring class.
        return np.where(value > 0, value.astype(int) - 1, value.astype(int) + 1).astype(value.dtype)
    others = np.random.default_rng(7).integers(1, max(2, len(classes)), places.shape)
    changed = (places + others) % len(classes)
    counts = np.bincount(places.ravel())
    if np.array_equal(np.bincount(changed.ravel(), minlength=len(counts)), counts) and value.size > 1:
        changed.flat[-1] = places.flat[-1]
    return classes[changed].reshape(value.shape)


def _left_alone(value: Any, change: Action) -> Array | None:
    """Classes exchanged where a change leaves them, in whole numbers and in one-hot rows; None if it does not."""
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind == "f":
        # Who looks for the largest of a row is told nothing by a little noise.
        return disturbed(value.astype(int)).astype(float) if len(_long(value)) > 1 and _is_one_hot(value) else None
    if value.dtype.kind not in "iub" or not 1 < value.size <= FEW:
        return None
    same = change(value) == value
    if not np.any(same) or np.all(same):
        return None
    classes, places = np.unique(value, return_inverse=True)
    exchanged: Array = classes[(places.reshape(value.shape) + same) % len(classes)]
    return exchanged


def _long(value: Array) -> list[int]:
    return [axis for axis, n in enumerate(value.shape) if n > 1]


def _is_one_hot(value: Array) -> bool:
    """Whether there is a single 1 among zeros along an axis, all over an array of whole numbers."""
    return any(np.all((value != 0).sum(axis=axis) == 1) for axis in range(value.ndim)) and bool(np.max(value) == 1)


def _with_noise(value: Array, share: float, size_of_zeros: float) -> Any:
    """An array with noise that is a share of its own size; zeros have the size that is given."""
    noise = np.random.default_rng(7).standard_normal(value.shape)
    size = float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) or size_of_zeros
    return value + share * size * noise


def _far(value: Any) -> Any:
    """A value of the same size, but quite another one."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return disturbed(value)
    moved = _with_noise(array, 1.0, 1.0)
    return moved if isinstance(value, np.ndarray) else float(moved)


def _exchanged(rolled: Array, value: Array, axis: int) -> Array:
    """Rolled one-hot rows, but as many of each class as before would leave the gradient of a bias the same."""
    others = tuple(other for other in range(value.ndim) if other != axis)
    if np.array_equal(rolled.sum(axis=others), value.sum(axis=others)):
        last = tuple(slice(None) if other == axis else slice(-1, None) for other in range(value.ndim))
        rolled[last] = value[last]
    return rolled


@dataclass(frozen=True)
class _Then:
    """One change after another."""

    first: Callable[[Any], Any] | None
    second: Callable[[Any], Any]
    spares_whole_numbers: ClassVar[bool] = True

    def __call__(self, value: Any) -> Any:
        return self.second(self.first(value) if self.first else value)


@dataclass(frozen=True)
class _Kept:
    """The value of another run."""

    value: Any

    def __call__(self, _: Any) -> Any:
        return np.array(self.value) if isinstance(self.value, np.ndarray) else self.value


def _positive(value: Any) -> Any:
    """Positive numbers, small enough to saturate nothing."""
    noise = np.random.default_rng(13).random(np.shape(value))
    return (0.5 + noise) / max(np.shape(value), default=1)


def object_names(program: Program, trace: Trace) -> dict[int, str]:
    """For each object the name it is bound to, the outermost binding winning, else the first name it is read by.

    What a loop over parameters calls each of them in turn is no name where there is another.
    """
    bound: dict[int, str] = {}
    read: dict[int, str] = {}
    stored: dict[int, str] = {}
    for event in trace.events:
        site = program.sites[event.site]
        if event.object == -1:
            continue
        if site.target and "(" not in site.target:
            passing = site.kind in ("load", "store") and isinstance(site.statement, (ast.For, ast.AugAssign))
            bound[event.object] = stored.get(event.storage, site.target) if passing else site.target
            if event.storage != -1:
                stored[event.storage] = bound[event.object]
        elif site.kind == "load" and event.object not in read:
            read[event.object] = program.source.segment(site.node)
    return {**read, **bound}
