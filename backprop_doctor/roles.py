"""Who is who: parameters, inputs, labels and output, found by running and never by name.

The base trace tells which arrays a loop carries from one iteration to the next.  Differential runs
(change one source a little, see which events change) tell what every event depends on.  A parameter is
a carried array, independent of the data, that meets the inputs before any label does, and whose next
value depends on the labels.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import ProgramError
from backprop_doctor.program import Event, Key, Once, Probe, Program, Trace, is_same

__all__ = [
    "Iteration",
    "Meeting",
    "Parameter",
    "Quantity",
    "Roles",
    "assign_roles",
    "is_array",
    "is_real",
    "is_same",
    "object_names",
]

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]
SOURCES_LIMIT = 60
FRESH_LIMIT = 40
ZEROS_SOUGHT = 10_000


@dataclass(frozen=True)
class Quantity:
    """An object of the run: the event at which it is first seen, and the name the user gave it."""

    object: int
    birth: Key
    index: int
    name: str
    line: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Parameter(Quantity):
    """A quantity that training changes.

    ``updates`` are the events at which its next value appears, ``successor`` the object holding that
    value (the same one when the update is in place).
    """

    updates: tuple[Key, ...] = ()
    successor: int = -1


@dataclass(frozen=True)
class Use(Quantity):
    """One reading of a parameter that is read several times: ``birth`` is the event that reads it."""


@dataclass(frozen=True)
class Meeting:
    """An output of the network, and the labels it is compared with."""

    output: Quantity
    label: Event | None


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


@dataclass
class Roles:
    """What was found in one program.

    ``batch`` is the part of the inputs that the first step uses.  ``on_parameters``, ``on_inputs`` and
    ``on_labels`` say for each event of ``trace`` (by index) whether it depends on any of these; ``reach``
    has one such mask per source; ``apart`` is the same run with all that starts at zero moved off it.
    ``scalars`` says that the network computes with plain numbers; ``unfinished`` are the objects of the step
    that are but stages of others.
    """

    trace: Trace
    step: Iteration
    training: Iteration
    parameters: list[Parameter]
    constants: list[Quantity]
    inputs: list[Quantity]
    labels: list[Quantity]
    batch: Quantity
    on_parameters: Mask
    on_inputs: Mask
    on_labels: Mask
    names: dict[int, str]
    reach: dict[int, Mask]
    apart: Trace
    scalars: bool = False
    meetings: list[Meeting] = field(default_factory=list)
    unfinished: frozenset[int] = frozenset()

    @property
    def output(self) -> Quantity | None:
        """What the network answers for the first samples."""
        return self.meetings[0].output if self.meetings else None

    def is_value(self, value: object) -> bool:
        """Whether a value is one the network computes with: an array, or a number where all is plain numbers."""
        return is_array(value) or (self.scalars and type(value) is float)

    def forward(self, event: Event) -> bool:
        """Whether an event belongs to the forward pass."""
        i = event.index
        return bool(self.on_parameters[i] and not self.on_labels[i])

    def backward(self, event: Event) -> bool:
        """Whether an event depends on labels and parameters jointly: loss, gradients, metrics."""
        i = event.index
        return bool(self.on_parameters[i] and self.on_labels[i])


def is_array(value: object) -> bool:
    """Whether a value is an array of at least one element."""
    return isinstance(value, np.ndarray) and value.size >= 1


def is_real(value: object) -> bool:
    """Whether a value is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.size >= 1 and value.dtype.kind == "f"


def assign_roles(
    program: Program,
    trace: Trace,
    probe: Probe,
    *,
    final: bool = True,
    barren: set[tuple[Iteration, Iteration]] | None = None,
) -> Roles:
    """Find the roles in a recorded run; ``final`` says that no longer record will be tried.

    ``barren`` are the loops that were found to train nothing in a shorter record, and those found here are added.

    Raises
    ------
    ProgramError
        If no loop trains anything.
    """
    search = _Search(program, trace, probe, set() if barren is None else barren, _loops(trace, patient=final))
    settled = -1
    for turns in search.loops:
        # Where parameters come into being in the first turn, or zeros hold the gradient back, the second trains more.
        several = [(outer, set(_carried(program, trace, outer, search.first_seen))) for outer in turns.iterations]
        for outer, carried in sorted(several, key=lambda found: -len(found[1])):
            found = search.within(outer, carried) if outer.start >= settled and carried else None
            if found is None:
                continue
            first, early = several[0]
            # An optimiser that makes its arrays at the first step is best seen before they hold anything.
            if outer != first and len(early) >= len(found.parameters):
                again = search.within(first, early)
                if again is not None and len(again.parameters) >= len(found.parameters):
                    return again
            return found
        if any(carried for _, carried in several):
            # What a loop inside carries (an activation from layer to layer) is no training either.
            settled = max(settled, turns.end)
    # Half a picture of one loop is no reason not to look at those that come later; and where the program crashed,
    # what there is of a picture may be of anything but the training.
    if final and search.partly is not None and not trace.failed:
        return search.partly
    raise ProgramError(
        "no training was found: no array is changed from one pass of a loop to the next "
        "by values that depend on both data and labels"
    )


class _Search:
    """Looks for the roles in one turn of a loop after another; ``partly`` is the best that was not whole."""

    def __init__(
        self,
        program: Program,
        trace: Trace,
        probe: Probe,
        barren: set[tuple[Iteration, Iteration]],
        loops: list[_Turns],
    ) -> None:
        self.first_seen = _first_seen(trace)
        self.loops = loops
        self.partly: Roles | None = None
        self._program, self._trace, self._probe = program, trace, probe
        self._barren = barren
        self._known: dict[object, Any] = {}

    def within(self, outer: Iteration, carried: set[int]) -> Roles | None:
        """The roles in one turn of a loop that carries these objects, or in a shorter turn inside it."""
        program, trace, first_seen = self._program, self._trace, self.first_seen
        # The shorter the turn, the cheaper the runs: the innermost loop that carries the same comes first.
        inside = [n.iterations[0] for n in self.loops if outer.start < n.starts[0] and n.end <= outer.middle]
        for loop in [*reversed(inside), outer]:
            own = set(_carried(program, trace, loop, first_seen))
            pair = replace(loop, finish=-1), replace(outer, finish=-1)
            if len(carried & own) * 2 < len(carried) or pair in self._barren:
                continue
            fruitless = True
            for mode in MODES:
                found = _roles_in(program, trace, self._probe, loop, outer, first_seen, self._known, mode)
                if found is not None and _is_whole_picture(found, own):
                    return found
                fruitless = fruitless and found is None
                if self.partly is None or (found and not self.partly.meetings):
                    self.partly = found
            # What is recorded of these turns is the same in every longer record, unless it ends in them.
            if fruitless and loop.end < len(trace.events):
                self._barren.add(pair)
        return None


def _is_whole_picture(roles: Roles, carried: set[int]) -> bool:
    """Whether the output meets the labels, and most of what training changes on the way to it is a parameter.

    A number that is the same in all turns is no label, but rather a learning rate.
    """
    trace, start = roles.trace, roles.step.start
    labels = trace.by_key[roles.labels[0].birth]
    fixed = all(e.value == labels.value for e in trace.at(labels.site) if e.index >= start and np.ndim(e.value) == 0)
    if roles.output is None or (type(labels.value) is float and fixed):
        return False
    asked = carried & set(roles.reach)
    on_the_way = {e.object for e in trace.events[start : roles.output.index] if e.object in asked}
    return 2 * len(roles.parameters) >= len(on_the_way)


# -- loops and what they carry -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mode:
    """What is taken for a source of the data: each kind costs a run for each of its values.

    A label may be a whole number (``numbers``), all values may be plain numbers (``scalars``), data may be
    made anew in each turn (``fresh``), and dead units may hide that the inputs matter unless all is ``positive``.
    Steps and rounding hide it too, unless values are moved ``far``.
    """

    numbers: bool = False
    scalars: bool = False
    fresh: bool = False
    positive: bool = False
    far: bool = False


MODES = (
    _Mode(),
    _Mode(scalars=True),
    _Mode(fresh=True),
    _Mode(fresh=True, scalars=True),
    _Mode(numbers=True),
    _Mode(numbers=True, scalars=True),
    _Mode(far=True),
)


@dataclass(frozen=True)
class _Turns:
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


def _loops(trace: Trace, *, patient: bool = True) -> list[_Turns]:
    """Loops with at least two turns, in order of first tick (outer ones before inner ones).

    Unless ``patient``, a record that was cut before the end of the outermost loop's second turn is refused.
    """
    stack: list[tuple[int, list[int]]] = []
    found: list[_Turns] = []
    complete = trace.ended != "stopped"

    def close(ticks: tuple[int, list[int]], end: int) -> None:
        if len(ticks[1]) >= 2:
            found.append(_Turns(ticks[0], ticks[1], end))

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


def _first_seen(trace: Trace) -> dict[int, Event]:
    seen: dict[int, Event] = {}
    for event in trace.events:
        seen.setdefault(event.object, event)
    return seen


def _loads(
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


def _existed(program: Program, trace: Trace, birth: Event, loop: Iteration) -> bool:
    """Whether an object was there before a loop: seen by then, or first seen when it is read whole."""
    birth = trace.storages.get(birth.storage, birth)
    site = program.sites[birth.site]
    if birth.index < loop.start or site.kind != "load":
        return birth.index < loop.start
    return not any(is_array(e.value) for e in trace.operands(birth, site.children))


def _carried(program: Program, trace: Trace, loop: Iteration, first_seen: dict[int, Event]) -> dict[int, Event]:
    """Objects read in the first turn whose place another value has taken in the second.

    Returns, for each such object, the event of the second turn that reads the new value.
    """
    second = dict(_loads(program, trace, loop.middle, loop.end))
    carried: dict[int, Event] = {}
    versions: dict[int, int] = {}
    for place, event in _loads(program, trace, loop.start, loop.middle):
        later = second.get(place)
        # Of an array that is changed in place the first version counts, the one that was there before.
        version = versions.setdefault(event.storage, event.object) if event.storage != -1 else event.object
        if (
            later is None
            or event.object in carried
            or version != event.object
            or not _existed(program, trace, first_seen[event.object], loop)
        ):
            continue
        # What is changed through a view of it (a row of a matrix, say) shows at the next reading.
        made = loop.start <= first_seen[later.object].index < loop.middle
        if later.object != event.object and (made or later.storage == event.storage != -1):
            carried[event.object] = later
    return carried


# -- differential runs -------------------------------------------------------------------------------------


def disturbed(value: Any) -> Any:
    """A slightly different value: noise for real numbers, exchanged samples for integers, a neighbouring class."""
    if isinstance(value, (int, np.integer, np.bool_)):
        return value - 1 if value > 0 else value + 1
    if not isinstance(value, np.ndarray):
        return value + 1e-3 * (abs(value) or 0.1)
    if value.dtype.kind == "f":
        return _with_noise(value, 1e-3, 0.1)
    long = [axis for axis, n in enumerate(value.shape) if n > 1]
    if len(long) > 1:
        # One-hot rows stay one-hot, and every one of them changes.
        axis = min(long, key=lambda axis: value.shape[axis])
        rolled = _exchanged(np.roll(value, 1, axis=axis), value, axis)
        return rolled if not np.array_equal(rolled, value) else value[::-1].copy()
    classes, places = np.unique(value, return_inverse=True)
    others = np.random.default_rng(7).integers(1, max(2, len(classes)), places.shape)
    changed = (places + others) % len(classes)
    counts = np.bincount(places.ravel())
    if np.array_equal(np.bincount(changed.ravel(), minlength=len(counts)), counts) and value.size > 1:
        changed.flat[-1] = places.flat[-1]
    return classes[changed].reshape(value.shape)


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


def reach(
    program: Program,
    trace: Trace,
    probe: Probe,
    sources: list[list[Event]],
    last: int,
    zeros: list[Event],
    alive: Sequence[Event],
    known: dict[object, Any],
    held: Event | None = None,
    *,
    far: bool = False,
) -> tuple[dict[int, Mask], Trace]:
    """For each source, which events of a trace change when it is disturbed.

    A source is one object, at the event given, or several that play one part (the samples of a batch, taken
    one by one); it goes by its first.  Weights that start at zero hide what passes through them: ``zeros``
    are moved off zero first; so are dead units: ``alive`` are made positive.  The run with that alone comes
    second.  ``known`` keeps the answers for other questions about the same trace.  An event that is ``held``
    keeps its value.  What passes thresholds or is rounded is only seen when sources are moved ``far``.
    """
    moved = {event.key: disturbed for event in zeros} | {event.key: _positive for event in alive}
    start = (last, *moved)
    if start not in known:
        known[start] = program.run(replace(probe, actions=moved, last=last)) if moved else trace
    base = known[start]
    masks: dict[int, Mask] = {}
    for source in sources:
        question = (*start, far, held and held.key, *(e.key for e in source))
        if question in known:
            masks[source[0].object] = known[question]
            continue
        actions = {e.key: _Then(moved.get(e.key), _far if far else disturbed) for e in source}
        if held is not None:
            actions[held.key] = _Then(None, _Kept(base.value(held.key)))
        same, broke = program.compared(replace(probe, actions={**moved, **actions}, last=last), base)
        mask = masks[source[0].object] = known[question] = np.zeros(len(trace.events), bool)
        if broke:
            continue  # a length or an axis that breaks the program when it is changed is no data
        for event in trace.events[: last + 1]:
            mask[event.index] = event.object != -1 and event.key not in same
    return masks, base


@dataclass(frozen=True)
class _Then:
    """One change after another."""

    first: Callable[[Any], Any] | None
    second: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        return self.second(self.first(value) if self.first else value)


@dataclass(frozen=True)
class _Kept:
    """The value of another run."""

    value: Any

    def __call__(self, value: Any) -> Any:
        return np.array(self.value) if isinstance(self.value, np.ndarray) else self.value


def _made_in(
    program: Program, trace: Trace, first_seen: dict[int, Event], loop: Iteration, on_carried: Mask
) -> list[Event]:
    """Values that a turn makes without any parameter and gives a name: batches, samples drawn at random.

    The name may be that of an argument.
    """
    found = []
    called = {
        e.object
        for e in trace.events[loop.start : loop.middle]
        if e.object != -1
        and isinstance(program.sites[e.site].node, ast.Name)
        and program.sites[e.site].scope != program.sites[first_seen[e.object].site].scope
    }
    # A product with 0 hides what it depends on: what is made from such values counts as made from parameters.
    tainted: set[int] = set()
    for event in trace.events[loop.start : loop.middle]:
        if event.object == -1 or first_seen[event.object] is not event:
            continue
        site = program.sites[event.site]
        operands = trace.operands(event, site.children)
        if on_carried[event.index] or any(on_carried[o.index] or o.object in tainted for o in operands):
            tainted.add(event.object)
        elif (site.target or event.object in called) and (
            type(event.value) is float or (is_array(event.value) and np.ptp(event.value) > 0)
        ):
            # Zeros and ones are made to be filled: they are no data.
            found.append(event)
    return found[:FRESH_LIMIT]


def _positive(value: Any) -> Any:
    """Positive numbers, small enough to saturate nothing."""
    noise = np.random.default_rng(13).random(np.shape(value))
    return (0.5 + noise) / max(np.shape(value), default=1)


def _is_whole(value: Array) -> bool:
    """Whether an array holds whole numbers: classes and one-hot rows are not to become fractions."""
    return bool(np.array_equal(value, np.round(value)))


def _alike(program: Program, sources: list[Event], carried: dict[int, Event]) -> list[list[Event]]:
    """Sources in groups: data that first appears at one place, turn after turn of an inner loop, is one source.

    Whole numbers have no identity: those that are read under one name are one source.
    """
    groups: dict[object, list[Event]] = {}
    storages: dict[int, object] = {}
    for source in sources:
        site = program.sites[source.site]
        # A list that grows is one list, whatever its length.
        place: object = (source.site, np.shape(source.value))
        if source.storage != -1:
            place = storages.setdefault(source.storage, place)
        if source.object in carried:
            place = source.key
        elif type(source.value) in (int, bool):
            place = (site.scope, program.source.segment(site.node))
        groups.setdefault(place, []).append(source)
    return sorted(groups.values(), key=lambda group: group[0].object not in carried)


def hides(value: Array) -> bool:
    """Whether zeros in an array may hide what depends on what: a weight of 0, a sample of nothing but 0."""
    slices = [np.any(value, axis=tuple(a for a in range(value.ndim) if a != axis)) for axis in range(value.ndim)]
    return value.size <= ZEROS_SOUGHT and not all(s.all() for s in slices)


def _have_an_axis_in_common(one: Any, other: Any) -> bool:
    """Whether two arrays may hold as many samples as each other."""
    return bool((set(np.shape(one)) & set(np.shape(other))) - {1})


def _is_variable(node: ast.AST) -> bool:
    """Whether a number read there is a variable of its own, and not an element of a list."""
    key = node.slice if isinstance(node, ast.Subscript) else None
    return isinstance(node, (ast.Name, ast.Attribute)) or (
        isinstance(key, (ast.JoinedStr, ast.Constant))
        and not (isinstance(key, ast.Constant) and isinstance(key.value, int))
    )


def _roles_in(
    program: Program,
    trace: Trace,
    probe: Probe,
    loop: Iteration,
    training: Iteration,
    first_seen: dict[int, Event],
    known: dict[object, Any],
    mode: _Mode,
) -> Roles | None:
    carried = _carried(program, trace, loop, first_seen)
    sources: list[Event] = []
    entries: dict[int, Event] = {}
    read = list(_loads(program, trace, loop.start, loop.middle, numbers=mode.numbers))
    elements = {e.object for _, e in read if not _is_variable(program.sites[e.site].node)}
    for _, event in read:
        birth = first_seen[event.object]
        wanted = mode.numbers or is_array(event.value) or (mode.scalars and type(event.value) is float)
        external = birth is event and _existed(program, trace, event, loop) and wanted
        # Of real numbers only those count that training changes; of the others there are too many.
        variable = event.object not in elements and (event.object in carried or mode.scalars)
        plain = type(event.value) is float and not variable
        if (birth.index < loop.start or external) and event.object not in entries and not plain:
            entries[event.object] = event
            sources.append(birth)
    if len(sources) < 2:
        return None
    if not carried:
        return None
    last = max(event.index for event in carried.values())
    groups = _alike(program, sources, carried)[:SOURCES_LIMIT]
    zeros = [e for e in sources if is_real(e.value) and hides(e.value)]
    alive: list[Event] = []
    if mode.positive:
        alive = [e for e in sources if is_real(e.value) and (e.object in carried or not _is_whole(e.value))]
    asked = partial(reach, far=mode.far)
    masks, base = asked(program, trace, probe, groups, last, zeros, alive, known)
    # Labels that the program makes from the inputs hang on them before training only: disturb later.
    births = np.array([o.index for o in sources])
    makers = [g for g in groups if masks[g[0].object][np.setdiff1d(births, [e.index for e in g])].any()]
    late = [[entries[e.object] for e in group] for group in makers]
    masks |= asked(program, trace, probe, late, last, zeros, alive, known)[0] if late else {}
    if mode.fresh:
        nothing = np.zeros(len(trace.events), bool)
        on_carried = np.logical_or.reduce([nothing, *(mask for o, mask in masks.items() if o in carried)])
        made = _made_in(program, trace, first_seen, loop, on_carried)
        groups += [group for group in _alike(program, made, carried) if group[0].object not in masks]
        masks |= asked(program, trace, probe, groups[len(masks) :], last, zeros, alive, known)[0]
    # Counts and class numbers change by jumps, if at all: only real arrays tell who depends on whom.
    turn = np.zeros(len(trace.events), bool)
    for event in trace.events[loop.start : loop.middle]:
        turn[event.index] = is_real(event.value) or (mode.scalars and type(event.value) is float)
    arrays = np.array([is_array(event.value) for event in trace.events])
    arrays[: loop.start] = arrays[loop.middle :] = False

    by_number = {group[0].object: group for group in groups}

    def on_x(x: int, y: int) -> Mask:
        """What depends on the inputs when the labels that are made from them stay as they are."""
        at = first_seen[y]
        if not masks[x][at.index] or at.index < loop.start:
            return masks[x]
        return asked(program, trace, probe, [by_number[x]], last, zeros, alive, known, held=at)[0][x]

    def params_of(x: int, y: int, xs: Mask) -> list[int]:
        return [
            p
            for p in masks
            if p in carried
            and p not in (x, y)
            and masks[y][carried[p].index]
            and not masks[y][first_seen[p].index]
            and not masks[x][first_seen[p].index]
            and (masks[p] & xs & ~masks[y] & turn).any()
        ]

    # A number that stays the same turn after turn is a rate, a flag, or a bias that is never trained, and hardly
    # a label.
    later_reads = {e.object for _, e in _loads(program, trace, loop.middle, loop.end)}

    def stays(y: int) -> bool:
        event = first_seen[y]
        again = [e.value for e in trace.at(event.site) if e.index > event.index]
        return y in later_reads or (bool(again) and all(value == event.value for value in again))

    fixed = {y for y in masks if np.ndim(first_seen[y].value) == 0 and stays(y)}
    best: tuple[tuple[bool, int, bool, bool, int], int, int, list[int], Mask] | None = None
    for y in masks:
        if y in carried or not any(masks[y][later.index] for later in carried.values()):
            continue
        for x in masks:
            if x == y:
                continue
            xs = on_x(x, y)
            params = params_of(x, y, xs)
            if not params:
                continue
            meet = [masks[p] for p in params]
            met = _closed(program, trace, np.logical_or.reduce(meet), loop)
            together = met & turn
            only_x, only_y = int((together & xs).sum()), int((together & masks[y]).sum())
            # A permutation or an index moves inputs and labels alike; inputs leave the labels alone.
            apart = (xs & masks[y] & arrays & ~met)[: int(np.argmax(together & masks[y])) or None]
            # What labels move the inputs move too, but for comparisons that a small change leaves as they are.
            labels_alone, inputs_alone = int((together & masks[y] & ~xs).sum()), int((together & xs & ~masks[y]).sum())
            if 2 * labels_alone > inputs_alone or only_y >= only_x or apart.any():
                continue
            # Of a bias that is never trained there are not as many as samples, nor another one for each sample; a
            # learning rate joins late and reaches less than the labels do.
            data = y not in later_reads or _have_an_axis_in_common(first_seen[x].value, first_seen[y].value)
            rank = (y not in fixed, len(params), x not in carried, data, only_y)
            if best is None or rank > best[0]:
                best = (rank, x, y, params, xs)
    if (best is None or best[1] in carried) and not mode.positive:
        positive = replace(mode, positive=True)
        found = _roles_in(program, trace, probe, loop, training, first_seen, known, positive)
        if found is not None or best is None:
            return found
    if best is None:
        return None
    _, x, y, params, xs = best
    masks[x] = xs
    params = [*params, *_adrift(program, trace, probe, loop, first_seen, carried, masks, turn, x, y)]
    names = object_names(program, trace)
    parameters = [_parameter(program, trace, first_seen, p, carried[p], loop, names) for p in params]
    parameters.sort(key=lambda p: next(e.index for e in trace.events[loop.start :] if e.object == p.object))
    on_parameters = np.logical_or.reduce([masks[p] for p in params])
    constants = [
        _quantity(program, first_seen[o], names)
        for o, mask in masks.items()
        if o not in params
        and o not in (x, y)
        and o not in carried
        and _existed(program, trace, first_seen[o], loop)
        and np.asarray(first_seen[o].value).dtype.kind == "f"
        and not masks[x][first_seen[o].index]
        and (mask & masks[x] & ~masks[y] & turn).any()
        and (mask & masks[y] & turn).any()
    ]
    for constant in constants:
        on_parameters = on_parameters | masks[constant.object]
    roles = Roles(
        trace=trace,
        step=loop,
        training=training,
        parameters=parameters,
        constants=constants,
        inputs=[_quantity(program, first_seen[x], names)],
        labels=[_quantity(program, first_seen[y], names)],
        batch=_batch(program, trace, first_seen, names, masks[x], on_parameters, loop),
        on_parameters=on_parameters,
        on_inputs=masks[x],
        on_labels=masks[y],
        names=names,
        reach=masks,
        apart=base,
        scalars=mode.scalars,
    )
    roles.meetings = _meetings(program, roles, first_seen)
    roles.unfinished = _unfinished(program, trace.events[loop.start : loop.middle])
    return roles


def _adrift(
    program: Program,
    trace: Trace,
    probe: Probe,
    loop: Iteration,
    first_seen: dict[int, Event],
    carried: dict[int, Event],
    masks: dict[int, Mask],
    turn: Mask,
    x: int,
    y: int,
) -> Iterator[int]:
    """Parameters whose steps know nothing of the labels: the output and the loss hang on them as on any other.

    Something is added to them, where the state of a recurrent network is made anew; and if one is moved, it does not
    come back by the same share in each element, as a running average does.
    """
    for o, mask in masks.items():
        if (
            o in carried
            and o not in (x, y)
            and is_real(first_seen[o].value)
            and not masks[y][carried[o].index]
            and not masks[y][first_seen[o].index]
            and not masks[x][first_seen[o].index]
            and (mask & masks[x] & ~masks[y] & turn).any()
            and (mask & masks[x] & masks[y] & turn).any()
        ):
            update = first_seen[carried[o].object]
            if loop.start <= update.index < loop.middle and _is_added_to(program, trace, probe, loop, o, update):
                shares = _shares(program, probe, [first_seen[o].key], update)
                if shares is None or np.ptp(shares) > 1e-6 or not 0 <= np.mean(shares) < 1 - 1e-6:
                    yield o


def _is_added_to(program: Program, trace: Trace, probe: Probe, loop: Iteration, o: int, update: Event) -> bool:
    """Whether an update adds something to what it reads of an array."""
    statement = program.sites[update.site].statement
    turn = trace.events[loop.start : update.index]
    reads = [e for e in turn if e.object == o and program.sites[e.site].statement is statement]
    if isinstance(statement, ast.AugAssign) and program.sites[update.site].kind == "store":
        return isinstance(statement.op, (ast.Add, ast.Sub)) and not reads
    loads = [e.key for e in reads if program.sites[e.site].kind == "load"]
    shares = _shares(program, probe, loads, update, once=True) if loads else None
    return shares is not None and bool(np.allclose(shares, 1))


def _shares(program: Program, probe: Probe, keys: list[Key], update: Event, *, once: bool = False) -> Any:
    """By which share of what is added to an array each element of its update moves; ``once`` to these readings only."""
    shift = np.random.default_rng(23).uniform(1, 2, np.shape(update.value))

    def move(value: Any) -> Any:
        return np.asarray(value, np.float64) + shift

    actions = dict.fromkeys(keys, Once(move) if once else move)
    asked = replace(probe, actions=actions, keep=frozenset({update.key}), last=update.index)
    after = program.run(asked).value(update.key)
    return (np.asarray(after, float) - update.value) / shift if np.shape(after) == shift.shape else None


def _unfinished(program: Program, events: list[Event]) -> frozenset[int]:
    """Objects that are but stages of an array filled or summed up in a loop inside the step: nothing reads them.

    Each only passes where it is stored, and the next turn makes another of it at that place.
    """
    stages: dict[tuple[int, int], int] = {}
    found: set[int] = set()
    for event in events:
        if event.storage != -1 and program.sites[event.site].kind == "store":
            before = stages.get((event.storage, event.site), event.object)
            if before != event.object:
                found.add(before)
            stages[event.storage, event.site] = event.object
    passes = Counter(event.object for event in events)
    return frozenset(number for number in found if passes[number] == 1)


def _closed(program: Program, trace: Trace, mask: Mask, loop: Iteration) -> Mask:
    """A dependence mask with the comparisons, counts and class numbers that are made from its arrays."""
    closed = mask.copy()
    latest: dict[int, int] = {}
    for event in trace.events[loop.start : loop.middle]:
        if event.object == -1:
            continue
        children = program.sites[event.site].children
        if not closed[event.index] and np.asarray(event.value).dtype.kind != "f":
            closed[event.index] = any(c in latest and closed[latest[c]] for c in children)
        latest[event.site] = event.index
    return closed


def _parameter(
    program: Program,
    trace: Trace,
    first_seen: dict[int, Event],
    number: int,
    later: Event,
    loop: Iteration,
    names: dict[int, str],
) -> Parameter:
    quantity = _quantity(program, first_seen[number], names)
    updates: tuple[Key, ...] = (first_seen[later.object].key,)
    if later.storage == first_seen[number].storage:
        # Changed in place, perhaps piece by piece: every store counts.
        stores = [
            e.key
            for e in trace.events[loop.start : loop.middle]
            if e.storage == later.storage and program.sites[e.site].kind == "store"
        ]
        updates = tuple(stores) or updates
    return Parameter(
        quantity.object,
        quantity.birth,
        quantity.index,
        quantity.name,
        quantity.line,
        quantity.shape,
        updates,
        later.object,
    )


def _batch(
    program: Program,
    trace: Trace,
    first_seen: dict[int, Event],
    names: dict[int, str],
    on_inputs: Mask,
    on_parameters: Mask,
    loop: Iteration,
) -> Quantity:
    """The inputs as the first step uses them: the last array of inputs alone before a parameter joins."""
    last: Event | None = None
    for event in trace.events[loop.start : loop.middle]:
        if event.object == -1 or not on_inputs[event.index]:
            continue
        if on_parameters[event.index]:
            break
        if is_array(event.value):
            last = event
    if last is None:
        data = [e for e in trace.events if e.object != -1 and on_inputs[e.index]]
        last = next((e for e in data if is_array(e.value)), data[0])
    return _quantity(program, first_seen[last.object], names)


def _quantity(program: Program, birth: Event, names: dict[int, str]) -> Quantity:
    site = program.sites[birth.site]
    return Quantity(
        birth.object, birth.key, birth.index, names.get(birth.object, "?"), site.line, np.shape(birth.value)
    )


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


def _meetings(program: Program, roles: Roles, first_seen: dict[int, Event]) -> list[Meeting]:
    """Where the last forward objects meet the labels, in one expression or one store, in order.

    Samples or moments taken one by one have an output each, made at one place.
    """
    trace, loop = roles.trace, roles.step
    latest: dict[int, Event] = {}
    stored: dict[int, Event] = {}
    met: list[tuple[int, Event | None, int]] = []
    label: Event | None = None

    def is_output(event: Event) -> bool:
        return roles.forward(event) and bool(roles.on_inputs[event.index]) and roles.is_value(event.value)

    for event in trace.events[loop.start : loop.middle]:
        if event.object == -1:
            continue
        site = program.sites[event.site]
        if roles.on_labels[event.index] and not roles.on_parameters[event.index]:
            label = event
        if roles.backward(event):
            operands = [latest[c] for c in site.children if c in latest]
            labels = [o for o in operands if roles.on_labels[o.index] and not roles.on_parameters[o.index]]
            if labels:
                named = [n for o in operands if is_output(o) for n in _named_inside(program, o, latest)]
                met += [(n.object, _leaf(program, labels[0], latest), event.index) for n in named if is_output(n)]
            before = stored.get(event.storage)
            if site.kind == "store" and before is not None and is_output(before):
                met.append((before.object, label, event.index))
        latest[event.site] = event
        stored[event.storage] = event
    # Where the loss is computed once more after the update, the first time counts.
    first_update = min((trace.by_key[p.updates[0]].index for p in roles.parameters), default=loop.middle)
    met = [m for m in met if m[2] < first_update] or met
    if not met:
        return []
    last = first_seen[max((o for o, _, _ in met), key=lambda o: first_seen[o].index)]
    found: dict[int, Meeting] = {}
    for number, with_label, _ in met:
        birth = first_seen[number]
        if birth.site == last.site and np.shape(birth.value) == np.shape(last.value) and number not in found:
            # A copy of the output (to subtract the labels from) is the output.
            original = _original(program, roles, birth, first_seen)
            found[number] = Meeting(_quantity(program, original, roles.names), with_label)
    return sorted(found.values(), key=lambda m: m.output.index)


def _original(program: Program, roles: Roles, event: Event, first_seen: dict[int, Event]) -> Event:
    """What an array is a copy of: the operand that it was made from without a change."""
    operands = roles.trace.operands(event, program.sites[event.site].children)
    for operand in operands if event.index >= roles.step.start else ():
        birth = first_seen[operand.object]
        same = is_same(roles.apart.value(birth.key), roles.apart.value(event.key))
        if same and birth.index < event.index and is_array(event.value) and roles.on_inputs[birth.index]:
            return _original(program, roles, birth, first_seen)
    return event


def _leaf(program: Program, event: Event, latest: dict[int, Event]) -> Event:
    """The labels as they are read, inside an expression such as ``1 - y``."""
    children = [latest[c] for c in program.sites[event.site].children if c in latest]
    inside = [c for c in children if np.shape(c.value) == np.shape(event.value) and c.index < event.index]
    return _leaf(program, inside[0], latest) if inside else event


def _named_inside(program: Program, event: Event, latest: dict[int, Event]) -> list[Event]:
    """The objects read inside an expression: itself when it is a plain read or has no named operand."""
    site = program.sites[event.site]
    if site.kind == "load" and not site.children:
        return [event]
    named: list[Event] = []
    for child in site.children:
        # An index or an axis is an operand too, but no part of the value.
        if child in latest and latest[child].index < event.index and is_array(latest[child].value):
            named += _named_inside(program, latest[child], latest)
    return [n for n in named if n.object != -1] or [event]
