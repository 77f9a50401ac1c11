"""Who is who: parameters, inputs, labels and output, found by running and never by name.

The base trace tells which arrays a loop carries from one iteration to the next.  Differential runs
(change one source a little, see which events change) tell what every event depends on.  A parameter is
a carried array, independent of the data, that meets the inputs before any label does, and whose next
value depends on the labels.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.dependence import Dependence, Mask
from backprop_doctor.errors import ProgramError
from backprop_doctor.instrument import Site
from backprop_doctor.loops import (
    Iteration,
    Turns,
    carried_by,
    changed_in,
    existed,
    is_inside_another,
    loads,
    loops_of,
)
from backprop_doctor.program import Action, Event, Key, Once, Probe, Program, Trace
from backprop_doctor.values import is_array, is_real, is_same

__all__ = ["Element", "Meeting", "Parameter", "Quantity", "Roles", "Use", "assign_roles", "is_made_of_itself"]

Array = NDArray[np.float64]
SOURCES_LIMIT = 60
# So many parameters that a turn changes and does not read before are asked for what was made of them.
UNREAD = 6
FEW_MODES = 2
FRESH_LIMIT = 40
ZEROS_SOUGHT = 10_000
LITTLE = 0.2
NUMBERS_JUDGED = 500
LATER_SOUGHT = 5_000


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
class Element(Quantity):
    """One element of a parameter: ``birth`` is that of the whole, ``place`` counts its elements."""

    place: int = 0


@dataclass(frozen=True)
class Meeting:
    """An output of the network, and the labels it is compared with; ``single`` where that is one element of it."""

    output: Quantity
    label: Event | None
    single: bool = False


@dataclass
class Roles:
    """What was found in one program.

    ``batch`` is the part of the inputs that the first step uses.  ``on_parameters``, ``on_inputs`` and
    ``on_labels`` say for each event of ``trace`` (by index) whether it depends on any of these; ``reach``
    has one such mask per source; ``apart`` is the same run with all that starts at zero moved off it.
    ``scalars`` says that the network computes with plain numbers; ``unfinished`` are the objects of the step
    that are but stages of others; ``parts`` are what training changes too, and is a part or a table of parameters.
    ``untold`` is what was taken for the inputs although training changes it.
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
    parts: frozenset[int] = frozenset()
    untold: Quantity | None = None

    @property
    def output(self) -> Quantity | None:
        """What the network answers for the first samples."""
        return self.meetings[0].output if self.meetings else None

    @property
    def in_numbers(self) -> bool:
        """Whether the forward pass is computed in plain numbers, few enough to be judged one by one."""
        turn = self.trace.events[self.step.start : self.step.middle]
        made = {e.object: e.value for e in turn if e.object != -1 and self.forward(e) and self.on_inputs[e.index]}
        numbers = sum(type(value) is float for value in made.values())
        return not self.scalars and len(made) - numbers <= numbers <= NUMBERS_JUDGED

    def is_value(self, value: object) -> bool:
        """Whether a value is one the network computes with: an array, or a number where all is plain numbers."""
        return is_array(value) or (self.scalars and type(value) is float)

    def is_in_parameter(self, event: Event) -> bool:
        """Whether a value lies where a parameter is kept: a stage of that, a row of it, or what it is a row of."""
        wholes, own = self.trace.wholes, event.storage
        kept = {self.trace.first_seen[p.object].storage for p in self.parameters} - {-1}
        return not kept.isdisjoint({own, *wholes(own)}) or any(own in wholes(storage) for storage in kept)

    def forward(self, event: Event) -> bool:
        """Whether an event belongs to the forward pass."""
        i = event.index
        return bool(self.on_parameters[i] and not self.on_labels[i])

    def backward(self, event: Event) -> bool:
        """Whether an event depends on labels and parameters jointly: loss, gradients, metrics."""
        i = event.index
        return bool(self.on_parameters[i] and self.on_labels[i])


def assign_roles(
    program: Program,
    trace: Trace,
    probe: Probe,
    *,
    final: bool = True,
    barren: set[tuple[Iteration, Iteration]] | None = None,
    after: int = -1,
    until: int | None = None,
) -> Roles:
    """Find the roles in a recorded run; ``final`` says that no longer record will be tried.

    ``barren`` are the loops that were found to train nothing in a shorter record, and those found here are added.
    With ``after``, only loops count that begin after that event, and by ``until``, and hand on matrices; only a
    whole picture does then, and only data that is there before.

    Raises
    ------
    ProgramError
        If no loop trains anything.
    """
    end = len(trace.events) if until is None else until
    loops = [turns for turns in loops_of(trace, patient=final) if after < turns.starts[0] <= end]
    modes = MODES if after < 0 else MODES[:FEW_MODES]
    search = _Search(Dependence(program, trace, probe), set() if barren is None else barren, loops, modes)
    settled = -1
    for turns in search.loops:
        # Where parameters come into being in the first turn, or zeros hold the gradient back, the second trains more.
        several = [(outer, set(carried_by(program, trace, outer))) for outer in turns.iterations]
        if after >= 0 and not any(np.ndim(trace.first_seen[o].value) > 1 for _, carried in several for o in carried):
            continue
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
    if final and after < 0 and search.partly is not None and not trace.failed:
        return search.partly
    raise ProgramError(
        "no training was found: no array is changed from one pass of a loop to the next "
        "by values that depend on both data and labels"
    )


def is_made_of_itself(program: Program, roles: Roles, parameter: Parameter) -> bool:
    """Whether the next value of a parameter is made from it where it appears, and is no activation of the next layer.

    What a forward pass hands on from layer to layer comes out of a product or a function, in a line that does not
    read what went in.
    """
    update = roles.trace.by_key[parameter.updates[-1]]
    site = program.sites[update.site]
    return site.kind == "store" or any(
        e.object == parameter.object and program.sites[e.site].statement is site.statement
        for e in roles.trace.events[roles.step.start : update.index]
    )


class _Search:
    """Looks for the roles in one turn of a loop after another; ``partly`` is the best that was not whole."""

    def __init__(
        self,
        dependence: Dependence,
        barren: set[tuple[Iteration, Iteration]],
        loops: list[Turns],
        modes: Sequence[_Mode],
    ) -> None:
        self.loops = loops
        self.modes = modes
        self.partly: Roles | None = None
        self._dependence = dependence
        self._barren = barren
        self._idle: set[int] = set()

    def within(self, outer: Iteration, carried: set[int]) -> Roles | None:
        """The roles in one turn of a loop that carries these objects, or in a shorter turn inside it."""
        # The shorter the turn, the cheaper the runs: the innermost loop that carries the same comes first.
        inside = [n.iterations[0] for n in self.loops if outer.start < n.starts[0] and n.end <= outer.middle]
        for loop in [*reversed(inside), outer]:
            own = set(carried_by(self._dependence.program, self._dependence.trace, loop))
            found = self._in_turn(loop, outer, own) if 2 * len(carried & own) >= len(carried) else None
            if found is not None:
                return found
        return None

    def _in_turn(self, loop: Iteration, outer: Iteration, own: set[int]) -> Roles | None:
        pair = replace(loop, finish=-1), replace(outer, finish=-1)
        if pair in self._barren or loop.loop in self._idle:
            return None
        fruitless = True
        for mode in self.modes:
            turn = _Turn(self._dependence, loop, outer, mode)
            found = turn.roles()
            is_whole = found is not None and _is_whole_picture(found, own)
            past = self._with_past(turn)
            # Activations that each turn makes for the next are handed on as parameters are.
            other = [p for p in found.parameters if p.birth not in turn.ready] if found and is_whole else []
            if past is not None and len(past.parameters) >= len(other):
                return past
            if found is not None and is_whole:
                if self._goes_on(found):
                    return self._livelier(found, mode) or found
                self._idle.add(loop.loop)
                return None
            fruitless = fruitless and found is None
            if self.partly is None or (found and not self.partly.meetings):
                self.partly = found
        # What is recorded of these turns is the same in every longer record, unless it ends in them.
        if fruitless and loop.end < len(self._dependence.trace.events):
            self._barren.add(pair)
        return None

    def _with_past(self, turn: _Turn) -> Roles | None:
        """The roles in a turn with an output made before it: each turn makes one for the next, or none does."""
        start = turn.start_of_past()
        if start is None:
            return None
        longer = _Turn(self._dependence, replace(turn.loop, start=start), turn.training, turn.mode)
        # Nothing reads them in the next turn, where there is no forward pass.
        longer.carried = turn.changed | longer.carried
        past = longer.roles()
        if past is None or past.output is None or not _is_whole_picture(past, set(longer.carried)):
            return None
        events, loop = turn.trace.events, turn.loop
        if past.output.index >= loop.start:
            return None
        if any(e.site == past.output.birth[0] for e in events[loop.start : loop.middle]):
            return past
        # A step may be taken sample by sample, when all are through the forward pass: another loop is around it.
        first = next((e for e in events[loop.start : loop.middle] if past.backward(e) and is_real(e.value)), None)
        second = next((e for e in events[loop.middle : loop.end] if first and e.site == first.site), None)
        serves = first is not None and second is not None and is_same(first.value, second.value)
        return past if serves and not is_inside_another(turn.trace, loop) else None

    def _goes_on(self, roles: Roles) -> bool:
        """Whether later outputs are others when the step is taken back: to do something to each row is no training."""
        output, trace = roles.output, roles.trace
        if output is None or not roles.scalars or len(roles.parameters) > 1:
            return True  # steps that go nowhere are a fault, where there is more than a list that is worked through
        actions: dict[Key, Action] = {}
        for parameter in roles.parameters:
            kept = _Held()
            actions |= {parameter.birth: kept.keep, **dict.fromkeys(parameter.updates, kept.recall)}
        later = [e for e in trace.at(output.birth[0]) if roles.step.middle <= e.index < roles.step.end + LATER_SOUGHT]
        if not later:
            return True
        probe = replace(self._dependence.probe, actions=actions, last=later[-1].index)
        same, broke = self._dependence.program.compared(probe, trace)
        return broke or any(e.key not in same for e in later)

    def _livelier(self, roles: Roles, mode: _Mode) -> Roles | None:
        """The same in a later turn, where inputs that are 0 hold back part of the gradient in this one."""
        trace, step = roles.trace, roles.step
        inside = {data.birth[0] for data in roles.inputs if data.index >= step.start}
        samples = [
            e
            for site in _blank(roles) or inside or {roles.batch.birth[0]}
            for e in trace.at(site)
            if e.index >= step.start and np.size(e.value)
        ]
        # Real numbers are moved off zero later; only where all of them are, training may leave everything as it is.
        if any(_is_fraction(e.value) and np.any(e.value) for e in samples if e.index < step.middle):
            return None
        starts = sorted({start for turns in self.loops if turns.loop == step.loop for start in turns.starts})
        starts = [start for start in starts if step.start <= start < roles.training.end]
        alive = [
            max((int(np.count_nonzero(e.value)) for e in samples if start <= e.index < end), default=0)
            for start, end in pairwise(starts)
        ]
        best = int(np.argmax(alive)) if alive else 0
        if not best or alive[best] <= alive[0] or best + 2 >= len(starts):
            return None
        later = replace(step, start=starts[best], middle=starts[best + 1], end=starts[best + 2])
        found = _Turn(self._dependence, later, roles.training, mode).roles()
        if found is None or found.output is None:
            return None
        # The memory of an optimiser is best seen before it holds anything: one number more is no reason to go on.
        more = len(found.parameters) - len(roles.parameters)
        return found if more > 0 or (more == 0 and roles.scalars) else None


class _Held:
    """The value that passes at one event, handed out again at others."""

    def __init__(self) -> None:
        self._value: Any = None

    def keep(self, value: Any) -> Any:
        self._value = np.array(value)
        return value

    def recall(self, value: Any) -> Any:
        return value if np.shape(value) != np.shape(self._value) else np.array(self._value)


def _blank(roles: Roles) -> set[int]:
    """Where a sample that is nothing but zeros passes: what it meets then is moved by no weight, and looks like it."""
    turn = roles.trace.events[roles.step.start : roles.step.middle]
    given = {quantity.object for quantity in roles.inputs}
    data = [e for e in turn if roles.on_inputs[e.index] and not roles.on_parameters[e.index] and e.object not in given]
    arrays = [e for e in data if is_array(e.value)]
    largest = max((e.value.size for e in arrays), default=0)
    alive = {e.site for e in turn if e.object != -1 and np.any(e.value)}
    return {e.site for e in arrays if 2 * e.value.size >= largest} - alive


def _is_fraction(value: Any) -> bool:
    """Whether a value is anything but whole numbers by its type."""
    return np.asarray(value).dtype.kind not in "iub"


def _is_whole_picture(roles: Roles, carried: set[int]) -> bool:
    """Whether the output meets the labels, and most of what training changes on the way to it is a parameter.

    A number that is the same in all turns is no label, but rather a learning rate.
    """
    trace, start = roles.trace, roles.step.start
    labels = trace.by_key[roles.labels[0].birth]
    # Numbers that were made before training are another one at each turn where they are read.
    read = next((e for e in trace.events[start : roles.step.middle] if e.object == labels.object), labels)
    fixed = all(e.value == labels.value for e in trace.at(read.site) if e.index >= start and np.ndim(e.value) == 0)
    if (
        roles.output is None
        or (type(labels.value) is float and fixed)
        or roles.is_in_parameter(trace.by_key[roles.output.birth])
    ):
        return False
    asked = (carried & set(roles.reach)) - roles.parts
    on_the_way = {e.object for e in trace.events[start : roles.output.index] if e.object in asked}
    return 2 * len(roles.parameters) >= len(on_the_way)


@dataclass(frozen=True)
class _Mode:
    """What is taken for a source of the data: each kind costs a run for each of its values.

    A label may be a whole number (``numbers``), all values may be plain numbers (``scalars``), data may be
    made anew in each turn (``fresh``), inputs may be their own labels where they are read ``again``, and dead
    units may hide that the inputs matter unless all is ``positive``.  Steps and rounding hide it too, unless
    values are moved ``far``.
    """

    numbers: bool = False
    scalars: bool = False
    fresh: bool = False
    again: bool = False
    positive: bool = False
    far: bool = False


MODES = (
    _Mode(),
    _Mode(scalars=True),
    _Mode(fresh=True),
    _Mode(fresh=True, scalars=True),
    _Mode(again=True),
    _Mode(fresh=True, again=True),
    _Mode(numbers=True),
    _Mode(numbers=True, scalars=True),
    _Mode(far=True),
)


class _Turn:
    """One turn of a loop, taken for a step of training; ``mode`` says what may be data.

    Sources are what the turn reads and did not make: by object, the event at which each is first seen, and in
    ``entries`` the one at which the turn first reads it.  ``carried`` are those whose place another value has taken
    in the next turn.
    """

    def __init__(self, dependence: Dependence, loop: Iteration, training: Iteration, mode: _Mode) -> None:
        self.dependence = dependence
        self.program, self.trace = dependence.program, dependence.trace
        self.loop, self.training, self.mode = loop, training, mode
        self.first_seen = self.trace.first_seen | {}
        self.again: dict[int, list[Event]] = {}
        self.carried = carried_by(self.program, self.trace, loop)
        self.entries: dict[int, Event] = {}
        self.ready: set[Key] = set()
        self.groups: dict[int, list[Event]] = {}
        self._known: dict[tuple[int, ...], Mask] = {}
        self.sources = list(self._sources())

    def roles(self) -> Roles | None:
        """The roles in this turn, or None if it trains nothing that can be seen in this mode."""
        if len(self.sources) < 2 or not self.carried:
            return None
        self._ask()
        data = self._data()
        if (data is None or data.inputs in self.carried) and not self.mode.positive:
            positive = _Turn(self.dependence, self.loop, self.training, replace(self.mode, positive=True)).roles()
            if positive is not None or data is None:
                return positive
        return None if data is None else self._cast(data)

    def start_of_past(self) -> int | None:
        """Where a turn begins that makes what this one reads ready made, of what it changes; None if it reads none."""
        self.ready |= self._ready_unread()
        if not self.ready or not self._meets_data():
            return None
        births = [self.first_seen[o].index for o in (*self.carried, *self.changed)]
        first = min(self.trace.by_key[key].index for key in self.ready)
        start = 1 + max((birth for birth in births if birth < first), default=self.loop.start)
        return start if start < self.loop.start else None

    def _meets_data(self) -> bool:
        """Whether something that is read ready made meets what training leaves alone, as outputs meet labels."""
        ready = {self.trace.by_key[key].object for key in self.ready}
        data = {e.object for e in self.sources if e.object not in self.carried} - ready
        for event in self.trace.events[self.loop.start : self.loop.middle]:
            children = self.program.sites[event.site].children if event.object != -1 else []
            operands = {operand.object for operand in self.trace.operands(event, children)}
            if operands & ready and operands & data:
                return True
        return False

    def _ready_unread(self) -> set[Key]:
        """What is handed on and made of parameters that the turn changes in place and does not read before."""
        made = [e for e in self.sources if e.object in self.carried and e.object not in self.changed]
        known = {e.object for e in self.sources}
        unread = [[self.first_seen[o]] for o in self.changed if o not in known and is_real(self.first_seen[o].value)]
        if not made or not self.groups:
            return set()
        masks = self.point.reach(unread[:UNREAD])
        return {e.key for e in made if any(mask[e.index] for mask in masks.values())}

    @cached_property
    def changed(self) -> dict[int, Event]:
        """What the turn changes in place, though the next may not read it."""
        return changed_in(self.trace, self.loop.start, self.loop.middle)

    def _sources(self) -> Iterator[Event]:
        program, loop, mode = self.program, self.loop, self.mode
        read = list(loads(program, self.trace, loop.start, loop.middle, numbers=mode.numbers))
        elements = {e.object for _, e in read if not _is_variable(program.sites[e.site].node)}
        wholes = self.trace.wholes
        trained = {self.first_seen[number].storage for number in self.carried}
        wholly = trained.union(*map(wholes, trained))
        before = {e.storage for _, e in read if self.first_seen[e.object].index < loop.start} - trained
        for _, event in read:
            # A list and what is in it are one, and of a list of lists the whole is the source.
            inside = event.storage in wholly or not (trained | before).isdisjoint(wholes(event.storage))
            if event.object not in self.carried and event.storage != -1 and inside:
                continue
            birth = self.first_seen[event.object]
            wanted = mode.numbers or is_array(event.value) or (mode.scalars and type(event.value) is float)
            external = birth is event and existed(program, self.trace, event, loop) and wanted
            # Of real numbers only those count that training changes; of the others there are too many.
            variable = event.object not in elements and (event.object in self.carried or mode.scalars)
            plain = type(event.value) is float and not variable
            if (birth.index < loop.start or external) and event.object not in self.entries and not plain:
                self.entries[event.object] = event
                yield birth

    def _ask(self) -> None:
        """Find out what hangs on each source; ``turn`` marks the values of the turn that can tell."""
        trace, loop, mode = self.trace, self.loop, self.mode
        groups = _alike(self.program, self.sources, self.carried)[:SOURCES_LIMIT]
        zeros = [e for e in self.sources if is_real(e.value) and hides(e.value)]
        alive: list[Event] = []
        if mode.positive:
            alive = [
                e for e in self.sources if is_real(e.value) and (e.object in self.carried or not _is_whole(e.value))
            ]
        last = max(event.index for event in self.carried.values())
        self.point = self.dependence.at(last, zeros, alive, far=mode.far)
        masks = self.point.reach(groups)
        # Labels that the program makes from the inputs hang on them before training only: disturb later.
        births = np.array([o.index for o in self.sources])
        makers = [g for g in groups if masks[g[0].object][np.setdiff1d(births, [e.index for e in g])].any()]
        remade = [g for g in makers if g[0].object in self.carried]
        self.ready = {
            e.key
            for e in self.sources
            if is_real(e.value) and any(masks[g[0].object][e.index] and e not in g for g in remade)
        }
        masks |= self.point.reach([[self.entries[e.object] for e in group] for group in makers])
        if mode.fresh:
            nothing = np.zeros(len(trace.events), bool)
            on_carried = np.logical_or.reduce([nothing, *(mask for o, mask in masks.items() if o in self.carried)])
            made = _made_in(self.program, trace, loop, on_carried)
            fresh = [group for group in _alike(self.program, made, self.carried) if group[0].object not in masks]
            masks |= self.point.reach(fresh)
            groups += fresh
        self.masks = masks
        self.groups = {group[0].object: group for group in groups}
        if mode.again:
            self._read_again()
        self.later_reads = {e.object for _, e in loads(self.program, trace, loop.middle, loop.end)}
        # Counts and class numbers change by jumps, if at all: only real arrays tell who depends on whom.
        self.turn, self.arrays = np.zeros(len(trace.events), bool), np.zeros(len(trace.events), bool)
        for event in trace.events[loop.start : loop.middle]:
            self.turn[event.index] = is_real(event.value) or (mode.scalars and type(event.value) is float)
            self.arrays[event.index] = is_array(event.value)

    def _read_again(self) -> None:
        """Take inputs for labels where they are read beside what is made of them: an autoencoder has no others.

        Such a source goes by a number below -1, and what it is read for else goes on as it was.
        """
        nothing = np.zeros(len(self.trace.events), bool)
        on_carried = np.logical_or.reduce([nothing, *(mask for o, mask in self.masks.items() if o in self.carried)])
        for number in [o for o in self.masks if o not in self.carried]:
            readings = [
                e
                for _, e in loads(self.program, self.trace, self.loop.start, self.loop.middle)
                if e.object == number and is_real(e.value) and self._is_beside(e, on_carried)
            ]
            if readings:
                label = -2 - number
                self.again[label] = readings
                self.first_seen[label] = readings[0]
                self.masks[label] = self.point.reach([readings], once=True)[number]

    def _is_beside(self, reading: Event, on_carried: Mask) -> bool:
        """Whether a value is read in an expression with another of its shape that parameters had a part in."""
        parent = self.program.sites[reading.site].parent
        if parent is None:
            return False
        whole = next((e for e in self.trace.at(parent) if e.index > reading.index), None)
        beside = self.trace.operands(whole, self.program.sites[parent].children) if whole is not None else []
        shape = np.shape(reading.value)
        return any(on_carried[e.index] and np.shape(e.value) == shape and e.index != reading.index for e in beside)

    # -- inputs and labels -----------------------------------------------------------------------------------

    def _data(self) -> _Data | None:
        """The two sources that are most like inputs and labels, and the parameters that both of them meet."""
        steered = [y for y in self.masks if any(self.masks[y][later.index] for later in self.carried.values())]
        inputs = [x for x in self.masks if x not in self.again]
        pairs = [(x, y) for y in steered if y not in self.carried for x in inputs if x != y]
        found = [data for x, y in pairs if (data := self._as_data(x, y)) is not None]
        return max(found, key=lambda data: data.rank, default=None)

    def _as_data(self, x: int, y: int) -> _Data | None:
        """Two sources as inputs and labels, if they can be."""
        masks, first_seen = self.masks, self.first_seen
        xs = self._on_inputs(x, y)
        params = self._parameters_of(x, y, xs)
        if not params:
            return None
        met = self._met(tuple(params))
        together = met & self.turn
        only_x, only_y = int((together & xs).sum()), int((together & masks[y]).sum())
        # A permutation or an index moves inputs and labels alike; inputs leave the labels alone.
        apart = (xs & masks[y] & self.arrays & ~met)[: int(np.argmax(together & masks[y])) or None]
        # What labels move the inputs move too, but for comparisons that a small change leaves as they are.
        labels_alone, inputs_alone = int((together & masks[y] & ~xs).sum()), int((together & xs & ~masks[y]).sum())
        if 2 * labels_alone > inputs_alone or only_y >= only_x or apart.any():
            return None
        # Of a bias that is never trained there are not as many as samples, nor another one for each sample; a
        # learning rate joins late and reaches less than the labels do.
        data = y not in self.later_reads or _have_an_axis_in_common(first_seen[x].value, first_seen[y].value)
        unlike = not any(self._is_added(o, together & reached) for o, reached in ((x, xs), (y, masks[y])))
        rank = (not self._stays(y), len(params), x not in self.carried, unlike, data, only_y)
        return _Data(rank, x, y, params, xs)

    def _is_added(self, source: int, together: Mask) -> bool:
        """Whether a source is itself added to something of the parameters where they first meet, as a bias is."""
        event = self.trace.events[int(np.argmax(together))]
        site = self.program.sites[event.site]
        node = site.statement if site.kind == "store" else site.node
        if not isinstance(node, (ast.BinOp, ast.AugAssign)) or not isinstance(node.op, ast.Add):
            return False
        read = [s.id for s in self.program.sites if s.statement is node] if site.kind == "store" else site.children
        return any(operand.object == source for operand in self.trace.operands(event, read))

    def _met(self, params: tuple[int, ...]) -> Mask:
        if params not in self._known:
            on_any = np.logical_or.reduce([self.masks[p] for p in params])
            self._known[params] = _closed(self.program, self.trace, on_any, self.loop)
        return self._known[params]

    def _on_inputs(self, x: int, y: int) -> Mask:
        """What depends on the inputs when the labels that are made from them stay as they are."""
        at = self.first_seen[y]
        if y in self.again:
            return self.point.reach([self.groups[x]], readings=self.again[y])[x] if x in self.groups else self.masks[x]
        if not self.masks[x][at.index] or at.index < self.loop.start:
            return self.masks[x]
        return self.point.reach([self.groups[x]], held=at)[x]

    def _parameters_of(self, x: int, y: int, xs: Mask) -> list[int]:
        """What training changes by way of the labels, and what the inputs meet before any label does."""
        masks = self.masks
        return [
            p
            for p in masks
            if p in self.carried
            and p not in (x, y)
            and masks[y][self.carried[p].index]
            and not masks[y][self.first_seen[p].index]
            and not masks[x][self.first_seen[p].index]
            and not _is_appended_to(self.first_seen[p].value, self.carried[p].value)
            and (masks[p] & xs & ~masks[y] & self.turn).any()
        ]

    def _stays(self, y: int) -> bool:
        """Whether it is a number that is the same turn after turn: a rate, a flag, or a bias that is never trained."""
        event = self.first_seen[y]
        again = [e.value for e in self.trace.at(event.site) if e.index > event.index]
        if np.ndim(event.value):
            return False
        return y in self.later_reads or (bool(again) and all(value == event.value for value in again))

    # -- the other roles -------------------------------------------------------------------------------------

    def _cast(self, data: _Data) -> Roles | None:
        program, trace, loop, first_seen = self.program, self.trace, self.loop, self.first_seen
        x, y, masks = data.inputs, data.labels, self.masks
        masks[x] = data.on_inputs
        found = [*data.parameters, *self._adrift(x, y)]
        params = self._counted_once(found)
        half = (len(params) + 1) // 2
        if len(list(islice(filter(self._is_stepped, params), half))) < half:
            return None
        names = self.dependence.names
        parameters = [_parameter(program, trace, p, self.carried[p], loop, names) for p in params]
        parameters.sort(key=lambda p: next(e.index for e in trace.events[loop.start :] if e.object == p.object))
        # The numbers in a list are changed by what changes the list, and are no parameters beside it.
        changing = {id(program.sites[key[0]].statement) for p in parameters if p.shape for key in p.updates}
        single = [p for p in parameters if not p.shape and id(program.sites[p.updates[-1][0]].statement) in changing]
        parameters = [p for p in parameters if p not in single]
        on_parameters = np.logical_or.reduce([masks[p] for p in params])
        constants = [_quantity(program, first_seen[o], names) for o in self._constants(x, y, params)]
        for constant in constants:
            on_parameters = on_parameters | masks[constant.object]
        roles = Roles(
            trace=trace,
            step=loop,
            training=self.training,
            parameters=parameters,
            constants=constants,
            inputs=[_quantity(program, first_seen[x], names)],
            labels=[_quantity(program, first_seen[y], names)],
            batch=_batch(program, trace, names, masks[x], on_parameters, loop),
            on_parameters=on_parameters,
            on_inputs=masks[x],
            on_labels=masks[y],
            names=names,
            reach=masks,
            apart=self.point.base,
            scalars=self.mode.scalars,
            parts=frozenset(found) - set(params),
        )
        roles.meetings = _meetings(program, roles)
        # What moves no output may be what another output is compared with.
        outputs = [meeting.output.index for meeting in roles.meetings]
        roles.constants = [c for c in constants if not outputs or any(masks[c.object][outputs])]
        roles.unfinished = _unfinished(program, trace.events[loop.start : loop.middle])
        # What one-hot samples pick columns of is the first that can be moved a little, and so looks like the inputs.
        if x in self.carried and masks[y][self.carried[x].index] and not masks[y][first_seen[x].index]:
            roles.untold = roles.inputs[0]
        return roles

    def _counted_once(self, params: list[int]) -> list[int]:
        """Parameters but for tables whose rows are all among them, and numbers that a loop takes from one of them."""
        values = {p: np.asarray(self.first_seen[p].value) for p in params}
        vectors = [value for value in values.values() if value.ndim == 1]
        turn = self.trace.events[self.loop.start : self.loop.middle]
        taken = {e.object for e in turn if e.object != -1 and self.program.sites[e.site].over}

        def is_whole(value: Array) -> bool:
            if value.ndim != 2:
                return False
            # Zeros and other constants are alike without being the same.
            return all(np.ptp(row) > 0 and any(is_same(row, vector) for vector in vectors) for row in value)

        def is_element(p: int) -> bool:
            own = values[p]
            return own.ndim == 0 and own != 0 and p in taken and any(np.any(vector == own) for vector in vectors)

        return [p for p in params if not is_whole(values[p]) and not is_element(p)]

    def _constants(self, x: int, y: int, params: list[int]) -> Iterator[int]:
        """Real sources that the forward pass meets and training leaves as they are."""
        for o in self.masks:
            if (
                o not in (x, y, *params)
                and o not in self.carried
                and o not in self.again
                and existed(self.program, self.trace, self.first_seen[o], self.loop)
                and np.asarray(self.first_seen[o].value).dtype.kind == "f"
                and self._joins_both(o, x, y)
                and not self._is_another_next(o)
            ):
                yield o

    def _is_another_next(self, o: int) -> bool:
        """Whether the place where a number is read has another one in the next turn: then that is data."""
        event = self.entries.get(o)
        if event is None or np.ndim(event.value):
            return False
        later = next((e for e in self.trace.at(event.site) if e.index >= self.loop.middle), event)
        return bool(later.value != event.value)

    def _joins_both(self, o: int, x: int, y: int) -> bool:
        """Whether a source that is none of the inputs meets them ahead of the labels, and the labels then."""
        mask, xs, ys = self.masks[o], self.masks[x], self.masks[y]
        early = mask & xs & ~ys & self.turn
        return not xs[self.first_seen[o].index] and bool(early.any()) and bool((mask & ys & self.turn).any())

    def _adrift(self, x: int, y: int) -> Iterator[int]:
        """Parameters whose steps know nothing of the labels: the output and the loss hang on them as on any other.

        Something is added to them, where the state of a recurrent network is made anew; and if one is moved, it does
        not come back by the same share in each element, as a running average does.
        """
        for o, later in self.carried.items():
            if o not in self.masks or o in (x, y) or not is_real(self.first_seen[o].value):
                continue
            on_labels = self.masks[y][[later.index, self.first_seen[o].index]].any()
            if on_labels or not self._joins_both(o, x, y):
                continue
            update = self.first_seen[later.object]
            if self.loop.start <= update.index < self.loop.middle and self._is_added_to(o, update):
                shares = self._shares([self.first_seen[o].key], update)
                if shares is None or np.ptp(shares) > 1e-6 or not 0 <= np.mean(shares) < 1 - 1e-6:
                    yield o

    def _is_stepped(self, o: int) -> bool:
        """Whether the next value of an array is the old one and a step: a recurrent state is another one altogether."""
        update = self.first_seen[self.carried[o].object]
        if self._is_added_to(o, update):
            return True
        shares = self._shares([self.first_seen[o].key], update)
        return shares is not None and float(np.mean(np.abs(shares - 1))) < LITTLE

    def _is_added_to(self, o: int, update: Event) -> bool:
        """Whether an update adds something to what it reads of an array."""
        sites = self.program.sites
        statement = sites[update.site].statement
        turn = self.trace.events[self.loop.start : update.index]
        reads = [e for e in turn if e.object == o and sites[e.site].statement is statement]
        if isinstance(statement, ast.AugAssign) and sites[update.site].kind == "store":
            return isinstance(statement.op, (ast.Add, ast.Sub)) and not reads
        loaded = [e.key for e in reads if sites[e.site].kind == "load"]
        shares = self._shares(loaded, update, once=True) if loaded else None
        return shares is not None and bool(np.allclose(shares, 1))

    def _shares(self, keys: list[Key], update: Event, *, once: bool = False) -> Any:
        """By which share of what is added to an array each element of its update moves; ``once`` to these readings."""
        shift = np.random.default_rng(23).uniform(1, 2, np.shape(update.value))

        def move(value: Any) -> Any:
            return np.asarray(value, np.float64) + shift

        actions = dict.fromkeys(keys, Once(move) if once else move)
        probe = self.dependence.probe
        asked = replace(probe, actions=actions, keep=frozenset({update.key}), last=update.index)
        after = self.program.run(asked).value(update.key)
        return (np.asarray(after, float) - update.value) / shift if np.shape(after) == shift.shape else None


@dataclass(frozen=True)
class _Data:
    """Two sources that may be inputs and labels, the parameters they meet, and how likely that is."""

    rank: tuple[bool, int, bool, bool, bool, int]
    inputs: int
    labels: int
    parameters: list[int]
    on_inputs: Mask


def _made_in(program: Program, trace: Trace, loop: Iteration, on_carried: Mask) -> list[Event]:
    """Values that a turn makes without any parameter and gives a name: batches, samples drawn at random.

    The name may be that of an argument.
    """
    found = []
    called = {
        e.object
        for e in trace.events[loop.start : loop.middle]
        if e.object != -1
        and isinstance(program.sites[e.site].node, ast.Name)
        and program.sites[e.site].scope != program.sites[trace.first_seen[e.object].site].scope
    }
    # A product with 0 hides what it depends on: what is made from such values counts as made from parameters.
    tainted: set[int] = set()
    for event in trace.events[loop.start : loop.middle]:
        if event.object == -1 or trace.first_seen[event.object] is not event:
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


def _is_appended_to(before: Any, after: Any) -> bool:
    """Whether a collection has grown, and still begins with what was in it."""
    old, new = np.shape(before), np.shape(after)
    longer = len(old) == len(new) > 0 and new[0] > old[0] > 0 and new[1:] == old[1:]
    return longer and is_same(np.asarray(after)[: old[0]], np.asarray(before))


def _is_variable(node: ast.AST) -> bool:
    """Whether a number read there is a variable of its own, and not an element of a list."""
    key = node.slice if isinstance(node, ast.Subscript) else None
    return isinstance(node, (ast.Name, ast.Attribute)) or (
        isinstance(key, (ast.JoinedStr, ast.Constant))
        and not (isinstance(key, ast.Constant) and isinstance(key.value, int))
    )


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
    number: int,
    later: Event,
    loop: Iteration,
    names: dict[int, str],
) -> Parameter:
    quantity = _quantity(program, trace.first_seen[number], names)
    updates: tuple[Key, ...] = (trace.first_seen[later.object].key,)
    if later.storage == trace.first_seen[number].storage:
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
        program.sites[trace.storages.get(trace.first_seen[number].storage, trace.first_seen[number]).site].line,
        quantity.shape,
        updates,
        later.object,
    )


def _batch(
    program: Program,
    trace: Trace,
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
    return _quantity(program, trace.first_seen[last.object], names)


def _quantity(program: Program, birth: Event, names: dict[int, str]) -> Quantity:
    site = program.sites[birth.site]
    return Quantity(
        birth.object, birth.key, birth.index, names.get(birth.object, "?"), site.line, np.shape(birth.value)
    )


def _meetings(program: Program, roles: Roles) -> list[Meeting]:
    """Where the last forward objects meet the labels, in one expression or one store, in order.

    Samples or moments taken one by one have an output each, made at one place.
    """
    trace, loop = roles.trace, roles.step
    latest: dict[int, Event] = {}
    stored: dict[int, Event] = {}
    met: list[tuple[int, Event | None, int]] = []
    singles: dict[int, dict[object, tuple[Event, Event]]] = {}
    label: Event | None = None
    parameters = {parameter.object for parameter in roles.parameters}
    unnamed: list[tuple[int, Event | None, int]] = []

    def is_output(event: Event) -> bool:
        return roles.forward(event) and bool(roles.on_inputs[event.index]) and roles.is_value(event.value)

    for event in trace.events[loop.start : loop.middle]:
        if event.object == -1:
            continue
        site = program.sites[event.site]
        if roles.on_labels[event.index] and not roles.on_parameters[event.index]:
            label = event
        if roles.backward(event):
            operands = list(_operands(program, site, latest))
            labels = [o for o in operands if roles.on_labels[o.index] and not roles.on_parameters[o.index]]
            if labels:
                outputs = [o for o in operands if is_output(o)]
                # What is made of parameters in this very difference has no name: ``H @ W - Y``.
                made = [o for o in outputs if _is_difference(site) and _reads(program, o, parameters, latest)]
                unnamed += [(o.object, _leaf(program, roles, labels[0], latest), event.index) for o in made]
                named = [n for o in outputs for n in _named_inside(program, trace, o, latest)]
                leaf = _leaf(program, roles, labels[0], latest)
                met += [(n.object, leaf, event.index) for n in named if is_output(n)]
                read = [o for o in outputs if isinstance(program.sites[o.site].node, ast.Subscript)]
                for n, o in ((n, o) for n in named for o in read if np.size(o.value) == 1 < np.size(n.value)):
                    singles.setdefault(n.object, {}).setdefault(_place(program, o, latest), (o, labels[0]))
            before = stored.get(event.storage)
            if site.kind == "store" and before is not None and is_output(before):
                met.append((before.object, label, event.index))
        latest[event.site] = event
        stored[event.storage] = event
    # An output that is computed anew for the loss and for its gradient has only what it is made from in common.
    if len({trace.first_seen[number].site for number, _, _ in unnamed}) == 1:
        met = unnamed
    # Where the loss is computed once more after the update, the first time counts.
    first_update = min((trace.by_key[p.updates[0]].index for p in roles.parameters), default=loop.middle)
    met = [m for m in met if m[2] < first_update] or met
    if not met:
        return []
    last = trace.first_seen[max((o for o, _, _ in met), key=lambda o: trace.first_seen[o].index)]
    found: dict[int, Meeting] = {}
    for number, with_label, _ in met:
        birth = trace.first_seen[number]
        if birth.site == last.site and np.shape(birth.value) == np.shape(last.value) and number not in found:
            # A copy of the output (to subtract the labels from) is the output.
            original = _original(program, roles, birth)
            output = _quantity(program, original, roles.names)
            if original.object not in roles.names:
                output = replace(output, name=program.source.segment(program.sites[original.site].node))
            found[number] = Meeting(output, with_label, number in singles)
    return sorted(_one_by_one(program, roles, found, singles), key=lambda m: m.output.index)


def _one_by_one(
    program: Program, roles: Roles, found: dict[int, Meeting], singles: dict[int, dict[object, tuple[Event, Event]]]
) -> Iterator[Meeting]:
    """The meetings found, but for outputs in a row of numbers, each of which meets a label of its own."""
    for number, meeting in found.items():
        elements = singles.get(number, {}).values()
        if elements and all(roles.is_value(o.value) and np.size(label.value) == 1 for o, label in elements):
            for o, label in elements:
                element = _quantity(program, roles.trace.first_seen[o.object], roles.names)
                yield Meeting(replace(element, name=program.source.segment(program.sites[o.site].node)), label)
        else:
            yield meeting


def _place(program: Program, event: Event, latest: dict[int, Event]) -> tuple[object, ...]:
    """Which element is read at an event: the text, and what its index is at that time."""
    site = program.sites[event.site]
    indices = [latest[c].value for c in site.children if c in latest and np.ndim(latest[c].value) == 0]
    return (program.source.segment(site.node), *indices)


def _operands(program: Program, site: Site, latest: dict[int, Event]) -> Iterator[Event]:
    """The operands of an expression, and of those that are no values, such as ``zip(P, Y)``, theirs."""
    for child in site.children:
        if child in latest:
            yield latest[child]
        else:
            yield from _operands(program, program.sites[child], latest)


def _original(program: Program, roles: Roles, event: Event) -> Event:
    """What an array is a copy of: the operand that it was made from without a change."""
    operands = roles.trace.operands(event, program.sites[event.site].children)
    for operand in operands if event.index >= roles.step.start else ():
        birth = roles.trace.first_seen[operand.object]
        same = is_same(roles.apart.value(birth.key), roles.apart.value(event.key))
        if same and birth.index < event.index and is_array(event.value) and roles.on_inputs[birth.index]:
            return _original(program, roles, birth)
    return event


def _leaf(program: Program, roles: Roles, event: Event, latest: dict[int, Event]) -> Event:
    """The labels as they are read, inside an expression such as ``1 - y``."""
    children = [latest[c] for c in program.sites[event.site].children if c in latest]
    before = [c for c in children if c.index < event.index and roles.on_labels[c.index]]
    inside = [c for c in before if np.shape(c.value) == np.shape(event.value)]
    return _leaf(program, roles, inside[0], latest) if inside else event


def _reads(program: Program, event: Event, objects: set[int], latest: dict[int, Event]) -> bool:
    """Whether an expression reads one of these objects."""
    children = [latest[c] for c in program.sites[event.site].children if c in latest]
    return event.object in objects or any(_reads(program, child, objects, latest) for child in children)


def _is_difference(site: Site) -> bool:
    return isinstance(site.node, ast.BinOp) and isinstance(site.node.op, ast.Sub)


def _named_inside(program: Program, trace: Trace, event: Event, latest: dict[int, Event]) -> list[Event]:
    """The objects read inside an expression: itself when it is a plain read or has no named operand."""
    site = program.sites[event.site]
    # What a function of the program answers was made there, and is read here.
    if (site.kind == "load" and not site.children) or trace.first_seen[event.object] is not event:
        return [event]
    named: list[Event] = []
    for child in site.children:
        # An index or an axis is an operand too, but no part of the value.
        if child in latest and latest[child].index < event.index and is_array(latest[child].value):
            named += _named_inside(program, trace, latest[child], latest)
    return [n for n in named if n.object != -1] or [event]
