"""Loops of a recorded run: their turns, and what one turn hands on to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backprop_doctor.errors import ProgramError
from backprop_doctor.program import Event, Key, Program, Trace
from backprop_doctor.values import is_array, is_same

__all__ = ["Iteration", "Turns", "carried_by", "changed_in", "existed", "is_inside_another", "loads", "loops_of"]


@dataclass(frozen=True)
class Iteration:
    """Two consecutive turns of a loop as event indices: the first is [start, middle), the second [middle, end).

    The loop as a whole ends before ``finish``.
    """

    loop: int
    start: int
    middle: int
    end: int
    finish: int


@dataclass(frozen=True)
class Turns:
    """A loop: the event indices at which its turns begin (two at least), and where it ends."""

    loop: int
    starts: list[int]
    end: int

    @property
    def iterations(self) -> list[Iteration]:
        """The first two turns, and the second and third if there are so many."""
        edges = [*self.starts[:4], self.end]
        return [
            Iteration(self.loop, edges[k], edges[k + 1], edges[k + 2], self.end)
            for k in range(min(2, len(self.starts) - 1))
        ]


def loops_of(trace: Trace, *, patient: bool = True) -> list[Turns]:
    """Loops with at least two turns, in order of first tick (outer ones before inner ones).

    Unless ``patient``, a record that was cut before the end of the outermost loop's second turn is refused.
    """
    stack: list[tuple[int, list[int]]] = []
    found: list[Turns] = []
    complete = trace.ended != "stopped"

    def close(ticks: tuple[int, list[int]], end: int) -> None:
        if len(ticks[1]) >= 2:
            found.append(Turns(ticks[0], ticks[1], end))

    for event in trace.events:
        if event.object != -1:
            continue
        is_end = event.occurrence < 0
        open_loops = [site for site, _ in stack]
        if event.site in open_loops:
            while stack[-1][0] != event.site:
                close(stack.pop(), event.index)
            if is_end:
                close(stack.pop(), event.index)
            else:
                stack[-1][1].append(event.index)
        elif not is_end:
            stack.append((event.site, [event.index]))
    if stack and not complete and not patient:
        starts = stack[0][1]
        # What is read late in the second turn would be taken for what never changes.
        if len(starts) < 2 or (len(starts) == 2 and len(trace.events) - starts[1] < starts[1] - starts[0]):
            raise ProgramError("the outermost loop did not come to the end of its second turn")
    while stack:
        close(stack.pop(), len(trace.events))
    return sorted(found, key=lambda turns: (turns.starts[0], -turns.end))


def loads(
    program: Program, trace: Trace, start: int, end: int, *, numbers: bool = False
) -> Iterator[tuple[Key, Event]]:
    """Events that read an array or number (a whole one if asked), with their place: (site, how many times so far)."""
    counts: dict[int, int] = {}
    for event in trace.events[start:end]:
        if event.object == -1 or program.sites[event.site].kind != "load":
            continue
        nth = counts[event.site] = counts.get(event.site, -1) + 1
        if is_array(event.value) or type(event.value) is float or (numbers and type(event.value) in (int, bool)):
            yield (event.site, nth), event


def existed(program: Program, trace: Trace, birth: Event, loop: Iteration) -> bool:
    """Whether an object was there before a loop: seen by then, or first seen when it is read whole."""
    birth = trace.storages.get(birth.storage, birth)
    site = program.sites[birth.site]
    if birth.index < loop.start or site.kind != "load":
        return birth.index < loop.start
    if type(birth.value) is float:
        # The elements of an array that a loop goes through are no older than it is.
        for event in trace.operands(birth, site.over):
            if is_array(event.value) and not existed(program, trace, trace.first_seen[event.object], loop):
                return False
    if birth.within != -1:
        return existed(program, trace, trace.storages[birth.within], loop)
    return not any(is_array(e.value) for e in trace.operands(birth, site.children))


def carried_by(program: Program, trace: Trace, loop: Iteration) -> dict[int, Event]:
    """Objects read in the first turn whose place another value has taken in the second.

    Of a list of lists and its rows only one counts: the whole where it is seen when it is changed, else the rows; and
    no element of a list that counts.
    Returns, for each such object, the event of the second turn that reads the new value.
    """
    carried = _carried(program, trace, loop)
    arrays = {trace.first_seen[o].storage for o, later in carried.items() if is_array(later.value)}
    parts = {storage: trace.wholes(storage) & arrays for storage in arrays}
    owners = set[int]().union(*parts.values())
    stores = (e for e in trace.events[loop.start : loop.middle] if owners and program.sites[e.site].kind == "store")
    seen = {event.storage for event in stores}

    def counts(storage: int) -> bool:
        if storage not in arrays:
            return arrays.isdisjoint(trace.wholes(storage))
        return storage in seen if storage in owners else parts[storage].isdisjoint(seen)

    return {number: later for number, later in carried.items() if counts(trace.first_seen[number].storage)}


def _carried(program: Program, trace: Trace, loop: Iteration) -> dict[int, Event]:
    second = dict(loads(program, trace, loop.middle, loop.end))
    carried: dict[int, Event] = {}
    seen = trace.first_seen
    versions: dict[int, int] = {}
    for place, event in loads(program, trace, loop.start, loop.middle):
        later = second.get(place)
        # Of an array that is changed in place the first version counts, the one that was there before.
        version = versions.setdefault(event.storage, event.object) if event.storage != -1 else event.object
        if (
            later is None
            or event.object in carried
            or version != event.object
            or not existed(program, trace, seen[event.object], loop)
        ):
            continue
        # What is changed through a view of it (a row of a matrix, say) shows at the next reading.
        new = seen[later.object]
        # Samples in another order were there before, and are only seen first when they are read.
        made = loop.start <= new.index < loop.middle and not existed(program, trace, new, loop)
        if event.storage != -1 and later.storage == event.storage:
            made = not is_same(later.value, event.value)
        if later.object != event.object and made:
            carried[event.object] = later
    return carried


def changed_in(trace: Trace, start: int, end: int) -> dict[int, Event]:
    """What a stretch of a run changes in place of all that was there, each with the event that stores the new value."""
    latest = {e.storage: e.object for e in trace.events[:start] if e.storage != -1}
    changed: dict[int, Event] = {}
    for event in trace.events[start:end]:
        before = latest.get(event.storage, event.object)
        if event.object != before:
            changed.setdefault(before, event)
    return changed


def is_inside_another(trace: Trace, loop: Iteration) -> bool:
    """Whether another loop has begun and not ended when a loop begins."""
    inside: set[int] = set()
    for event in trace.events[: loop.start]:
        if event.object == -1 and event.site != loop.loop:
            (inside.discard if event.occurrence < 0 else inside.add)(event.site)
    return bool(inside)
