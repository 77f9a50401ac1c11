"""Arrays of the forward pass that training leaves as they are, and what the program makes to train them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import numpy as np

from backprop_doctor.case import Case, always
from backprop_doctor.program import Event
from backprop_doctor.roles import Parameter, Quantity

__all__ = ["Untrained", "untrained"]

ROWS = 5


@dataclass(frozen=True)
class Untrained:
    """An array that moves the output and is never updated.

    ``moves`` is by how much the output moves with it; ``lost`` its new value, where that is stored in another place;
    ``unread`` are values of the backward pass that nothing reads, any of which may be meant as its gradient.
    """

    constant: Quantity
    moves: float
    lost: Event | None
    operands: tuple[Quantity, ...]
    unread: tuple[Quantity, ...]

    @property
    def parameter(self) -> Parameter:
        """The parameter that the array was meant to be."""
        q = self.constant
        updates = () if self.lost is None else (self.lost.key,)
        successor = -1 if self.lost is None else self.lost.object
        return Parameter(q.object, q.birth, q.index, q.name, q.line, q.shape, updates, successor)


def untrained(case: Case) -> list[Untrained]:
    """All that moves the output and stays as it is while others change."""
    output = case.roles.output
    found: list[Untrained] = []
    for constant in case.roles.constants if output is not None else ():
        assert output is not None
        tangents = case.measurement.tangents(constant.birth)
        moves = max(float(np.abs(t.derivatives.get(output.birth, np.zeros(1))).max()) for t in tangents)
        if not moves > 1e-9 or _is_updated(case, constant) or _is_of_samples(case, constant, output):
            continue
        lost = next((e for e in case.step_events if _is_lost_update(case, e, constant)), None)
        unread = tuple(case.once(_unread)) if lost is None else ()
        found.append(Untrained(constant, moves, lost, () if lost is None else _read_by(case, lost, constant), unread))
    return found


def _is_of_samples(case: Case, constant: Quantity, output: Quantity) -> bool:
    """Whether an array is data: each of its rows (or columns) moves one sample of the output and no other."""
    axis = case.axes.output_samples
    sample_axes = [i for i, n in enumerate(constant.shape) if n == case.samples > 1]
    if axis is None or not sample_axes or len(constant.shape) < 2:
        return False
    before, others = case.value(output), tuple(i for i in range(len(output.shape)) if i != axis)
    seen = set[int]()
    for row in range(min(ROWS, case.samples)):
        array = np.array(case.value(constant), np.float64)
        np.moveaxis(array, sample_axes[0], 0)[row] += 0.1
        after = case.changed({constant.birth: always(array)}, output.birth)
        moved = np.flatnonzero(np.any(after != before, axis=others)) if np.shape(after) == np.shape(before) else [-1]
        if any(place != row for place in moved):
            return False
        seen.update(int(place) for place in moved)
    return bool(seen)


def _is_updated(case: Case, constant: Quantity) -> bool:
    """Whether the next turn reads another value from the point at which all units are alive.

    From the program's own weights a step may leave an array as it is because its units are off for that sample.
    """
    before = case.live.value(constant.birth)
    for event in case.step_events:
        if event.object == constant.object:
            after = case.live.value((event.site, event.occurrence + case.per_turn(event.key)))
            if after is not None and np.shape(after) == np.shape(before) and not np.array_equal(after, before):
                return True
    return False


def _is_lost_update(case: Case, event: Event, constant: Quantity) -> bool:
    """Whether a sum of the array and something of the backward pass is stored, and is no more than that.

    What grows by it was meant as an update only if nothing reads it: a step of a wrong shape.
    """
    site = case.program.sites[event.site]
    if not case.roles.backward(event) or not site.target or not isinstance(site.node, ast.BinOp):
        return False
    if not any(child.object == constant.object for child in case.children(event)):
        return False
    if np.shape(event.value) == constant.shape:
        return True
    has_room = np.size(event.value) > int(np.prod(constant.shape)) and isinstance(site.node.op, (ast.Add, ast.Sub))
    return has_room and not _is_read(case, event)


def _is_read(case: Case, event: Event) -> bool:
    """Whether a value is read again in this turn or the next, after it was stored."""
    later = case.trace.events[event.index + 1 : case.roles.step.end]
    return any(e.object == event.object for e in later)


def _read_by(case: Case, lost: Event, constant: Quantity) -> tuple[Quantity, ...]:
    """What of the backward pass a lost update reads, the plain names first."""
    events = [e for e in case.events_in(case.program.sites[lost.site].statement) if e.index < lost.index]
    read = {e.object: e for e in events if case.roles.backward(e) and e.object != constant.object}
    ranked = sorted(read.values(), key=lambda e: (case.program.sites[e.site].kind != "load", e.index))
    return tuple(case.quantity(case.first(e)) for e in ranked)


def _unread(case: Case) -> list[Quantity]:
    """Values of the backward pass that are given a name, and that nothing reads."""
    named = (e for e in case.step_events if case.roles.backward(e) and case.program.sites[e.site].target)
    return [case.quantity(e) for e in named if _is_number(e.value) and not _is_read(case, e)]


def _is_number(value: object) -> bool:
    return np.asarray(value).dtype.kind == "f"
