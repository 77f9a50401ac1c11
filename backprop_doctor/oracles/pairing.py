"""Do an input and its label, together in the data, still meet in the first step?

Some rows of the source of the inputs and the same rows of the source of the labels are changed, and the
batch tells which of its rows have changed.  Nothing has to be known of what lies in between: scaling,
slicing, transposing, one-hot labels.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import as_target
from backprop_doctor.case import Case
from backprop_doctor.program import Event, Key, Trace
from backprop_doctor.values import is_same

__all__ = ["Pairing", "arrivals", "follow", "labels_of_step", "reaches", "shuffles"]

Mask = NDArray[np.bool_]
Action = Callable[[Any], Any]

TRIES = 4
CANDIDATES = 6
PARTS = (2, 12)  # one sample in so many is changed at a time
CLEAR = 4.0  # how much more a changed sample has to move than one that a statistic moves


@dataclass(frozen=True)
class Pairing:
    """Samples of the first step that could be followed, and how many of them have another sample's label."""

    followed: int
    apart: int


@dataclass(frozen=True)
class _Origin:
    """An array that data comes from, and the axis along which its samples lie."""

    event: Event
    axis: int

    @property
    def samples(self) -> int:
        return int(np.shape(self.event.value)[self.axis])

    def changing(self, rows: NDArray[np.int_]) -> dict[Key, Action]:
        return {self.event.key: _Change(rows, self.axis)}


def follow(case: Case, more: Mapping[Key, Action] | None = None) -> Pairing | None:
    """Change samples in both sources and see where they arrive; None where that is not to be seen.

    Parameters
    ----------
    case : Case
        The program.
    more : mapping, optional
        What else is done to values on their way, in all these runs.
    """
    found = _sources(case)
    if found is None:
        return None
    inputs, labels = found
    followings = (_follow(case, inputs, labels, more or {}, part) for part in PARTS)
    return next((pairing for pairing in followings if pairing is not None), None)


def _follow(case: Case, inputs: _Origin, labels: _Origin, more: Mapping[Key, Action], part: int) -> Pairing | None:
    generator = np.random.default_rng(5)
    followed = apart = 0
    for _ in range(TRIES):
        chosen = generator.permutation(inputs.samples)[: max(inputs.samples // part, 2)]
        moved = arrivals(case, inputs.changing(chosen) | labels.changing(chosen), more)
        if moved is None:
            return None
        by_inputs, by_labels = moved
        followed += int(np.sum(by_inputs | by_labels))
        apart += int(np.sum(by_labels & ~by_inputs))
    return Pairing(followed, apart)


def _sources(case: Case) -> tuple[_Origin, _Origin] | None:
    """The earliest arrays of one length that the inputs and the labels of the first step come from.

    They are the same where one array decides both.  Later arrays may lie in another order, so that none of
    them will do where an earlier one leaves open what hangs on it.
    """
    seen: set[int] = set()
    arrays: list[Event] = []
    for event in case.trace.events[: case.roles.step.start]:
        if event.object != -1 and event.object not in seen and np.ndim(event.value) >= 1 and np.size(event.value) > 3:
            seen.add(event.object)
            arrays.append(event)
    inputs: _Origin | None = None
    for event in [e for e in arrays if np.ndim(e.value) >= 2][:CANDIDATES]:
        found = [(origin, _moves(case, origin)) for origin in _origins(case, event)]
        if any(moved is None for _, moved in found):
            return None
        inputs = next((origin for origin, moved in found if moved and moved[0]), None)
        if inputs is not None:
            break
    if inputs is None:
        return None
    for event in [e for e in arrays if inputs.samples in np.shape(e.value)][:CANDIDATES]:
        labels = _Origin(event, np.shape(event.value).index(inputs.samples))
        moved = _moves(case, labels)
        if moved is None:
            return None
        if moved[1]:
            return (labels, labels) if moved[0] else (inputs, labels)
    return None


def _origins(case: Case, event: Event) -> Iterator[_Origin]:
    """The axes that are long enough for the samples, the first and the last."""
    for axis in (0, np.ndim(event.value) - 1):
        if np.shape(event.value)[axis] >= max(case.samples, 4):
            yield _Origin(event, axis)


def _moves(case: Case, origin: _Origin) -> tuple[bool, bool] | None:
    """Whether a change of half of a source's samples changes some of the inputs, and of the labels, of the step.

    None where every sample changes: then it cannot be told which belongs to which.
    """
    moved = arrivals(case, origin.changing(np.arange(0, origin.samples, 2)), {})
    if moved is None:
        return None
    partly = case.samples == 1 or not moved[0].all()
    return bool(moved[0].any()) and partly, bool(moved[1].any())


def labels_of_step(case: Case) -> Event | None:
    """The labels of the first step as they meet the output."""
    roles = case.roles
    shape = roles.output.shape if roles.output else ()
    found: Event | None = None
    for event in case.trace.events[roles.step.start : roles.step.middle]:
        labels_only = event.object != -1 and roles.on_labels[event.index] and not roles.on_parameters[event.index]
        if labels_only and isinstance(event.value, np.ndarray) and as_target(event.value, shape) is not None:
            found = event
    return found


def reaches(case: Case, actions: Mapping[Key, Action]) -> bool:
    """Whether some actions change the inputs or the labels of the first step at all."""
    labels, batch = labels_of_step(case), case.roles.batch.birth
    keys = [batch] if labels is None else [batch, labels.key]
    last = max(case.trace.by_key[key].index for key in keys)
    trace = case.run(dict(actions), last=last, keep=frozenset(keys))
    return any(not is_same(case.trace.value(key), trace.value(key)) for key in keys)


def arrivals(
    case: Case, actions: Mapping[Key, Action], more: Mapping[Key, Action] | None = None
) -> tuple[Mask, Mask] | None:
    """Samples of the first step whose inputs, and whose labels, change under some actions.

    None where that cannot be told, as when a statistic of all samples carries every change to all of them.
    ``more`` is done in the run compared with as well.
    """
    batch, labels = case.roles.batch, labels_of_step(case)
    if labels is None:
        return None
    last = max(case.trace.by_key[batch.birth].index, labels.index)
    keep = frozenset({batch.birth, labels.key})
    base = case.run(dict(more), last=last, keep=keep) if more else case.trace
    trace = case.run({**(more or {}), **actions}, last=last, keep=keep)
    one = _rows(base, trace, batch.birth, case.axes.input_samples)
    other = _rows(base, trace, labels.key, _axis_of(case, labels))
    return None if one is None or other is None or one.shape != other.shape else (one, other)


def _axis_of(case: Case, labels: Event) -> int | None:
    """The axis of the labels along which the samples lie."""
    axis, shape = case.axes.output_samples, np.shape(labels.value)
    if axis is None:
        return None
    if len(shape) > axis and shape[axis] == case.samples:
        return axis
    return shape.index(case.samples) if case.samples in shape else None


def _rows(base: Trace, trace: Trace, key: Key, axis: int | None) -> Mask | None:
    """Which slices along an axis differ between two runs."""
    before, after = base.value(key), trace.value(key)
    if before is None or after is None or np.shape(before) != np.shape(after):
        return None
    change = np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64))
    if axis is None:
        return np.array([bool(change.any())])
    sums = np.moveaxis(change, axis, 0).reshape(change.shape[axis], -1).sum(axis=1)
    if not sums.all() or sums.size < 4:
        mask: Mask = sums > 0
        return mask
    # A statistic of all samples moves each a little, and the changed ones much more.
    ordered = np.sort(sums)
    gaps = ordered[1:] / ordered[:-1]
    widest = int(np.argmax(gaps))
    return sums > ordered[widest] if gaps[widest] > CLEAR else None


class _Change:
    """An action that changes some samples beyond recognition."""

    def __init__(self, rows: NDArray[np.int_], axis: int) -> None:
        self._rows = rows
        self._axis = axis

    def __call__(self, value: Any) -> Any:
        changed = np.array(value)
        new = np.moveaxis(changed, self._axis, 0)
        part = new[self._rows]
        if new.dtype.kind == "b":
            new[self._rows] = ~part
        elif set(np.unique(new).tolist()) <= {0, 1}:
            new[self._rows] = 1 - part
        elif new.dtype.kind in "iu":
            new[self._rows] = (part.astype(np.int64) + 1) % (int(new.max()) + 1)
        else:
            new[self._rows] = -part - 1.7 * float(np.std(new))
        return changed


@dataclass(frozen=True)
class Shuffle:
    """A call that brings samples into another order; ``event`` is the order it gives, if it gives one."""

    node: ast.Call
    event: Event | None
    in_training: bool


def shuffles(case: Case) -> list[Shuffle]:
    """Calls by the usual names that ran before the first step was made, in order."""
    found: dict[int, Shuffle] = {}
    calls: dict[ast.stmt, list[ast.Call]] = {}
    for event in case.trace.events[: case.roles.step.middle]:
        if event.object == -1:
            continue
        site = case.program.sites[event.site]
        if site.statement not in calls:
            walked = ast.walk(site.statement)
            calls[site.statement] = [n for n in walked if isinstance(n, ast.Call) and _called(n) in ORDERING]
        for node in calls[site.statement]:
            known = found.pop(id(node), None)
            own = event if site.node is node and np.ndim(event.value) == 1 else known.event if known else None
            found[id(node)] = Shuffle(node, own, event.index >= case.roles.training.start)
    return list(found.values())


ORDERING = frozenset({"shuffle", "permutation", "permuted", "sample", "choice", "argsort", "sort", "sorted"})


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
