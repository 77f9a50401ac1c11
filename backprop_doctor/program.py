"""Run an instrumented program under a probe and collect the events.

One run is one fresh execution of the user's module with frozen randomness.  A probe may look at
values (record), change them on their way (perturb, replace, freeze) and end the run early (stop).
"""

from __future__ import annotations

import builtins
import traceback
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from backprop_doctor import libraries
from backprop_doctor.instrument import COUNT, CURRENT, PART, PROBE, TICK, Instrumented, Site
from backprop_doctor.libraries import kind_of
from backprop_doctor.modules import Modules, package_of
from backprop_doctor.randomness import frozen_randomness
from backprop_doctor.source import COUNTS
from backprop_doctor.values import is_same

__all__ = [
    "RECORD_BYTES",
    "Event",
    "Key",
    "Once",
    "Pace",
    "Probe",
    "Program",
    "Surroundings",
    "Trace",
]

Key = tuple[int, int]
Action = Callable[[Any], Any]
Surroundings = Callable[[int, int, float], AbstractContextManager[object]]

_SCALARS = (float, int, bool, np.floating, np.integer, np.bool_)
_NARROW = (np.dtype(np.float32), np.dtype(np.float16))
RECORD_BYTES = 300_000_000
LIST_LENGTH = 20_000


@dataclass(frozen=True)
class Once:
    """An action upon one passing of a value: the object itself stays what it is wherever else it is read."""

    action: Action

    def __call__(self, value: Any) -> Any:
        """What the action answers."""
        return self.action(value)


class _Stop(BaseException):
    """Ends a run; not an Exception, so that the user's handlers let it through."""


@dataclass(slots=True)
class Event:
    """One value passing one site, or one tick of a loop (``value`` None and ``object`` -1).

    ``object`` identifies the array or number across the events of one run; an array changed in place
    counts as another object in the same ``storage``.  ``value`` is a copy.  ``within`` is the storage of the list
    that it is a row or an element of.
    """

    index: int
    site: int
    occurrence: int
    object: int
    value: Any
    storage: int = -1
    within: int = -1

    @property
    def key(self) -> Key:
        """What identifies the event in other runs of the same program."""
        return (self.site, self.occurrence)


@dataclass(frozen=True)
class Probe:
    """What to do in a run.

    Parameters
    ----------
    actions : mapping of Key to function
        Called with the value passing at that event; what it returns takes the value's place, for
        every later use of the same object too.  At a ``store`` the array is changed in place.
    keep : set of Key, optional
        Events whose values are copied; all by default.
    last : int, optional
        Index of the event after which the run stops.
    limit : int
        Number of events after which the run stops in any case.
    turns : mapping of int to int
        For loop sites, the number of turns after which the loop is left: training cut short, so that
        what follows it can be seen.
    train, test : int
        How many images stand-ins serve.
    seconds : float
        Wall time after which the run is interrupted.
    latest : set of int
        Sites whose latest value is kept, besides the events.
    brief : bool
        Whether the run stops as soon as all of ``keep`` have passed.
    pace : Pace, optional
        For whole trainings: what need not be done in every turn.
    """

    actions: Mapping[Key, Action] = field(default_factory=dict)
    keep: frozenset[Key] | None = None
    last: int | None = None
    limit: int = 1_000_000
    turns: Mapping[int, int] = field(default_factory=dict)
    train: int = 97
    test: int = 83
    seconds: float = 20.0
    latest: frozenset[int] = frozenset()
    brief: bool = False
    pace: Pace | None = None

    def count(self, written: int) -> int:
        """How many images are served in place of a number that the program writes out."""
        parts = COUNTS[written]
        return parts[0] * self.train + parts[1] * self.test


@dataclass(frozen=True)
class Pace:
    """How a whole training may take less time.

    Parameters
    ----------
    loop : int
        Site of the training loop.
    counted : int
        Site of what it goes through, which tells how many turns there will be; they are kept as its latest value.
    resting : set of int
        Loops that are left at once in all turns of the training loop but the last.
    is_single : bool
        Whether arrays that pass are made single precision.
    """

    loop: int
    counted: int
    resting: frozenset[int] = frozenset()
    is_single: bool = False


@dataclass
class Trace:
    """The events of one run, in order, and how the run ended."""

    events: list[Event]
    ended: str  # "stopped", "finished", or the exception as one line
    traceback: str | None = None
    passed_over: tuple[str, ...] = ()  # cells that raised, as sentences; those below them ran
    latest: Mapping[int, Any] = field(default_factory=dict)
    full: bool = False  # whether it was stopped because the values kept took too much memory
    kept_bytes: int = 0  # about what the copies of arrays take

    @cached_property
    def by_key(self) -> dict[Key, Event]:
        """The events by what identifies them."""
        return {(event.site, event.occurrence): event for event in self.events}

    def operands(self, event: Event, sites: list[int]) -> list[Event]:
        """The latest events of some sites before an event."""
        found = []
        for site in sites:
            events = self.at(site)
            before = bisect_left(events, event.index, key=lambda e: e.index)
            if before:
                found.append(events[before - 1])
        return found

    def at(self, site: int) -> list[Event]:
        """All events of a site, in order."""
        return self._by_site.get(site, [])

    @cached_property
    def first_seen(self) -> dict[int, Event]:
        """For each object the event at which it is first seen."""
        found: dict[int, Event] = {}
        for event in self.events:
            found.setdefault(event.object, event)
        return found

    @cached_property
    def storages(self) -> dict[int, Event]:
        """For each storage the event at which it is first seen."""
        found: dict[int, Event] = {}
        for event in self.events:
            if event.storage != -1:
                found.setdefault(event.storage, event)
        return found

    def wholes(self, storage: int) -> set[int]:
        """The storages of the lists that something stored there is part of."""
        found: set[int] = set()
        while (storage := self._within.get(storage, -1)) not in {-1, *found}:
            found.add(storage)
        return found

    @cached_property
    def _within(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for event in self.events:
            if event.within != -1:
                found.setdefault(event.storage, event.within)
        return found

    @cached_property
    def _by_site(self) -> dict[int, list[Event]]:
        found: dict[int, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.site, []).append(event)
        return found

    @property
    def failed(self) -> bool:
        """Whether the program raised."""
        return self.ended not in ("stopped", "finished")

    def value(self, key: Key) -> Any:
        """The value at an event, or None if the run did not come there."""
        event = self.by_key.get(key)
        return None if event is None else event.value


class Program:
    """An instrumented program and the surroundings it runs in.

    Parameters
    ----------
    instrumented : Instrumented
    surroundings : function of (train, test, seconds) returning a context manager, optional
        Entered around each run: guards, captured output, stand-ins serving that many images, an alarm.
    seed : int
        Where all unseeded randomness starts.
    """

    def __init__(
        self,
        instrumented: Instrumented,
        surroundings: Surroundings | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.source = instrumented.source
        self.sites: list[Site] = instrumented.sites
        self.runs = 0
        self._instrumented = instrumented
        self._modules = Modules(instrumented)
        for part in self.source.sources:
            libraries.prepare(part.text)
        self.surroundings = surroundings or (lambda train, test, seconds: nullcontext())
        self.seed = seed

    def run(self, probe: Probe) -> Trace:
        """Execute the program from its first line under a probe."""
        run = _Run(self.sites, probe) if probe.pace is None else _Training(self.sites, probe, probe.pace)
        return self._executed(run, probe)

    def unchanged(self, probe: Probe, base: Trace) -> set[Key]:
        """Events of another run that pass again under a probe with the same value, bit for bit; nothing is copied."""
        return self.compared(probe, base)[0]

    def compared(self, probe: Probe, base: Trace) -> tuple[set[Key], bool]:
        """What is `unchanged`, and whether the program broke under the probe and did not before."""
        run = _Comparison(self.sites, probe, base)
        after = self._executed(run, probe)
        return run.unchanged, after.failed and not base.failed

    def _executed(self, run: _Run, probe: Probe) -> Trace:
        self.runs += 1
        ended, text = "finished", None
        caught: BaseException | None = None
        failed: list[Exception] = []
        builtins.__dict__[PROBE] = run.probe
        builtins.__dict__[TICK] = run.tick
        builtins.__dict__[CURRENT] = run.current
        builtins.__dict__[PART] = run.part
        builtins.__dict__[COUNT] = probe.count
        modules = self._modules
        modules.loaded = run.make_room
        try:
            surroundings = self.surroundings(probe.train, probe.test, probe.seconds)
            with surroundings, modules, frozen_randomness(self.seed), np.errstate(all="ignore"):
                try:
                    namespace = self._namespace()
                    for code in self._instrumented.blocks:
                        try:
                            exec(code, namespace)
                        except Exception as error:  # noqa: PERF203 - a handful of cells
                            # People go on with the next cell of a notebook, and so does a check.
                            if run.stopping or not self.source.is_notebook:
                                raise
                            failed.append(error)
                    if failed:
                        raise failed[0]
                except _Stop:
                    ended = "stopped"
                except SystemExit:
                    ended = "finished" if not run.stopping else "stopped"
                except BaseException as error:
                    # Guards end a run with exceptions of their own; all are outcomes, none is ours.
                    ended = "stopped" if run.stopping else f"{type(error).__name__}: {error}"
                    caught = error
        finally:
            modules.forget()
        # Only out here: what ends a run that takes too long rings on until the program is left.
        if caught is not None:
            text = _users_traceback(caught, {source.name for source in self.source.main})
        passed_over = tuple(_sentence(error) for error in failed)
        return Trace(run.events, ended, text, passed_over, run.latest, run.full, run.kept_bytes)

    def _namespace(self) -> dict[str, Any]:
        namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, "__doc__": None}
        if self.source.is_notebook:
            return namespace
        return namespace | {"__file__": self.source.path, "__package__": self._package, "__spec__": None}

    @cached_property
    def _package(self) -> str | None:
        return package_of(self.source)


class _Run:
    """The state of one execution; ``probe`` is the function every value passes."""

    # Types of numbers, by their letters, that need no promotion.
    _as_they_are = frozenset("?bBhHiIlLqQd")

    def __init__(self, sites: list[Site], probe: Probe) -> None:
        self.events: list[Event] = []
        self.stopping = False
        self.full = False
        self._sites = sites
        self._actions = probe.actions
        self._acting = {site for site, _ in probe.actions}
        self._keep = probe.keep
        self._turns = probe.turns
        self._latest = probe.latest
        self.latest: dict[int, Any] = {}
        self._enough = len(probe.keep) if probe.keep is not None and probe.brief else None
        self._end = probe.limit if probe.last is None else min(probe.last, probe.limit)
        # Sites at which something is done or kept; None for all.
        self._concerned = None if probe.keep is None else {site for site, _ in probe.keep} | self._acting | probe.latest
        self._counts = [0] * len(sites)
        self._index = -1
        self.kept_bytes = 0
        # An object that was promoted or replaced stands for the original wherever that is read again.
        # The original is kept, so that its id is not given to another object.
        self._substitutes: dict[int, tuple[Any, Any]] = {}
        self._objects: dict[object, _Known] = {}
        self._parts: dict[int, tuple[Any, int]] = {}
        self._made = -1

    def probe(self, site: int, value: Any) -> Any:
        # The longest loops are those of plain Python, in which nearly all values are numbers.
        kind = type(value)
        if kind is float:
            if self._sites[site].kind == "constant":
                # Equal constants share one object: a variable gets one of its own.
                value = value + 0.0
        elif kind is not int:
            if isinstance(value, np.ndarray):
                known = self._substitutes.get(id(value))
                if known is not None:
                    value = known[1]
                elif value.dtype.char not in self._as_they_are:
                    if value.dtype.kind not in "fiub":
                        return value
                    value = self.current(value)
            elif kind is list:
                value = self.current(value)
                # An empty list that is made here to be filled is known from here on.
                if not _is_numbers(value) and (value or self._sites[site].kind not in ("operation", "call")):
                    return value
            elif isinstance(value, _SCALARS):
                value = np.float64(value) if isinstance(value, (np.float32, np.float16)) else value
            elif kind_of(kind) is None or np.asarray(_seen(value)).dtype.kind not in "fiub":
                return value
            else:
                value = self.current(value)
        self._index = index = self._index + 1
        occurrence = self._counts[site]
        self._counts[site] = occurrence + 1
        if self._concerned is None or site in self._concerned:
            value = self._passed(site, occurrence, value)
        if index >= self._end:
            self._stop()
        return value

    def _passed(self, site: int, occurrence: int, value: Any) -> Any:
        if site in self._acting:
            action = self._actions.get((site, occurrence))
            if action is not None:
                value = self._act(action, site, value)
        if self._latest and site in self._latest:
            self.latest[site] = np.array(_seen(value))
        if self._keep is None or (site, occurrence) in self._keep:
            self._record(site, occurrence, value)
            if len(self.events) == self._enough:
                self._stop()
        return value

    def part(self, site: int, value: Any) -> Any:
        """A value that another was taken apart into: only numbers pass, arrays are known already."""
        return self.probe(site, value) if isinstance(value, (float, np.floating)) else value

    def make_room(self) -> None:
        """Count the sites that have come with a module."""
        self._counts += [0] * (len(self._sites) - len(self._counts))

    def current(self, value: Any) -> Any:
        other = kind_of(type(value))
        if other is None and not isinstance(value, (np.ndarray, list)):
            return value
        known = self._substitutes.get(id(value))
        if known is not None:
            return known[1]
        if isinstance(value, list):
            return value
        if other is not None:
            seen = _seen(value)
            narrow = isinstance(seen, np.ndarray) and seen.dtype in _NARROW
            return self._substitute(value, other.like(value, seen.astype(np.float64))) if narrow else value
        return self._substitute(value, value.astype(np.float64)) if value.dtype in _NARROW else value

    def tick(self, site: int, end: int) -> bool:
        if self._index >= self._end:
            self._stop()
        if not end and self._counts[site] >= self._turns.get(site, self._end + 1):
            return True
        self._index += 1
        if self._keep is None:
            occurrence = -1 - self._counts[site] if end else self._counts[site]
            self.events.append(Event(self._index, site, occurrence, -1, None))
        if not end:
            self._counts[site] += 1
        return False

    def _stop(self) -> None:
        # The user may catch everything: every further event stops again.
        self.stopping = True
        raise _Stop

    def _substitute(self, old: Any, new: Any) -> Any:
        self._substitutes[id(old)] = (old, new)
        if isinstance(new, (np.ndarray, list)) or kind_of(type(new)) is not None:
            self._substitutes[id(new)] = (new, new)
        return new

    def _act(self, action: Action, site: int, value: Any) -> Any:
        other = kind_of(type(value))
        if other is not None:
            seen = _seen(value)
            new = action(seen)
            if self._sites[site].kind == "store" and np.shape(new) == np.shape(seen):
                other.write(value, new)
                return value
            new = other.like(value, new)
            return new if isinstance(action, Once) else self._substitute(value, new)
        if isinstance(action, Once):
            new = action(np.array(value))
            return np.asarray(new).tolist() if isinstance(value, list) else new
        if isinstance(value, list):
            numbers: list[Any] = np.asarray(action(np.array(value))).tolist()
            if getattr(action, "spares_whole_numbers", False):
                numbers = _with_whole_numbers(value, numbers)
            if np.shape(numbers) != np.shape(value):
                return self._substitute(value, numbers)
            _fill(value, numbers)
            return value
        new = action(value)
        if not isinstance(value, np.ndarray):
            return new
        if self._sites[site].kind == "store" and np.shape(new) == value.shape:
            value[...] = new
            return value
        return self._substitute(value, np.asarray(new))

    def _record(self, site: int, occurrence: int, value: Any) -> None:
        copy: Any
        original = value
        place: object = id(value)
        if type(value) is not np.ndarray:
            other = kind_of(type(value))
            if other is not None:
                place, value = other.place(value), _seen(value)
            if isinstance(value, (int, np.integer, np.bool_)):
                # Equal small integers are one object: each time they pass counts as another.
                copy = value.item() if isinstance(value, np.generic) else value
                self.events.append(Event(self._index, site, occurrence, self._next_object(), copy))
                return
            value = np.array(value) if isinstance(value, list) else value
        known = self._objects.get(place)
        if known is None:
            known = self._objects[place] = _Known(len(self._objects), original)
            known.object = self._next_object()
        copy = known.copy
        is_new = False
        if isinstance(value, np.ndarray):
            # What is stored may be what was there, as where a ReLU in place finds nothing to cut: it is another value.
            stored = copy is not None and self._sites[site].kind == "store"
            is_new = copy is None or copy.shape != value.shape or not (copy == value).all()
            if is_new:
                self.kept_bytes += value.nbytes
                if self.kept_bytes > RECORD_BYTES:
                    self.full = True
                    self._stop()
                if copy is not None and not stored and not np.array_equal(copy, value, equal_nan=True):
                    known.object = self._next_object()
                copy = known.copy = value.copy()
            if stored:
                known.object = self._next_object()
        else:
            copy = value.item() if isinstance(value, np.generic) else value
        if type(original) is list and (is_new or (original and type(original[0]) is list)):
            self._keep_parts(original, known.storage)
        part = self._parts.get(id(original))
        within = -1 if part is None else part[1]
        self.events.append(Event(self._index, site, occurrence, known.object, copy, known.storage, within))

    def _keep_parts(self, numbers: list[Any], storage: int) -> None:
        """Know what list rows and elements come from; they are held, so that their ids are not given to others."""
        for part in numbers:
            if type(part) is list:
                self._keep_parts(part, storage)
            if type(part) is list or type(part) is float:
                self._parts.setdefault(id(part), (part, storage))

    def _next_object(self) -> int:
        self._made += 1
        return self._made


class _Comparison(_Run):
    """An execution in which values are only compared with those of another."""

    def __init__(self, sites: list[Site], probe: Probe, base: Trace) -> None:
        super().__init__(sites, probe)
        self._base = base
        # What follows was not recorded, perhaps for want of memory.
        self._end = min(self._end, base.events[-1].index if base.events else -1)
        self.unchanged: set[Key] = set()

    def _record(self, site: int, occurrence: int, value: Any) -> None:
        before = self._before(site, occurrence)
        if before is None:
            return
        if type(value) is not np.ndarray:
            value = np.array(value) if isinstance(value, list) else _seen(value)
        if is_same(before.value, value):
            self.unchanged.add((site, occurrence))

    def _before(self, site: int, occurrence: int) -> Event | None:
        """The same event of the other run: at the same place, as long as both go the same way."""
        events = self._base.events
        event = events[self._index] if self._index < len(events) else None
        if event is not None and event.site == site and event.occurrence == occurrence:
            return event
        return self._base.by_key.get((site, occurrence))


class _Training(_Run):
    """A whole training, in which what has no effect on it is only done in the last turn."""

    def __init__(self, sites: list[Site], probe: Probe, pace: Pace) -> None:
        super().__init__(sites, probe)
        self._as_they_are = self._as_they_are - {"d"} if pace.is_single else self._as_they_are
        self._pace = pace
        self._left = 0

    def probe(self, site: int, value: Any) -> Any:
        if site == self._pace.counted:
            self._left = len(value) if isinstance(value, Sized) else 0
            self.latest[site] = self._left
            return value
        return super().probe(site, value)

    def current(self, value: Any) -> Any:
        if not self._pace.is_single or not isinstance(value, np.ndarray):
            return super().current(value)
        known = self._substitutes.get(id(value))
        if known is not None:
            return known[1]
        return self._substitute(value, value.astype(np.float32)) if value.dtype == np.float64 else value

    def tick(self, site: int, end: int) -> bool:
        if site != self._pace.loop:
            return self._left > 0 and site in self._pace.resting
        self._left -= 1
        return False


def _seen(value: Any) -> Any:
    """The numbers of an array of another library; anything else as it is, as are arrays that cannot be seen."""
    other = kind_of(type(value))
    if other is None:
        return value
    try:
        return other.numpy(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _is_numbers(value: list[Any]) -> bool:
    """Whether a list holds numbers, or lists of equally many numbers each: an array in plain Python."""
    first: Any = value
    while type(first) is list:
        if not first or len(first) > LIST_LENGTH:
            return False
        first = first[0]
    if not isinstance(first, _SCALARS):
        return False
    if isinstance(value[0], list):
        length = len(value[0])
        return all(type(row) is list and len(row) == length and _is_numbers(row) for row in value)
    return all(issubclass(kind, _SCALARS) for kind in set(map(type, value)))


def _fill(old: list[Any], new: list[Any]) -> None:
    """Put numbers into a list in place: its rows may be known by themselves."""
    for i, number in enumerate(new):
        if isinstance(number, list):
            _fill(old[i], number)
        else:
            old[i] = number


def _with_whole_numbers(old: list[Any], new: list[Any]) -> list[Any]:
    """A changed list with the whole numbers that stand among real ones in it as they were: a class, say."""
    if len(new) != len(old):
        return new
    if old and type(old[0]) is list:
        return [_with_whole_numbers(*rows) for rows in zip(old, new, strict=True)]
    if {int, float} - set(map(type, old)):
        return new
    return [before if type(before) is int else after for before, after in zip(old, new, strict=True)]


class _Known:
    """An object seen in a run; holding it keeps its id from being given to another."""

    __slots__ = ("copy", "object", "original", "storage")

    def __init__(self, storage: int, original: Any) -> None:
        self.storage = storage
        self.original = original
        self.object = -1
        self.copy: Any = None


def _sentence(error: Exception) -> str:
    """Where a cell stopped, and with what."""
    cells = [frame for frame in traceback.extract_tb(error.__traceback__) if ":cell " in frame.filename]
    place = f"cell {cells[0].filename.rpartition(':cell ')[2]}, line {cells[0].lineno}" if cells else "a cell"
    return f"{place} stopped with {type(error).__name__}: {error}".partition("\n")[0]


def _users_traceback(error: BaseException, names: set[str]) -> str:
    """The traceback from the user's first frame on, without our own."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename in names), len(frames))
    lines = traceback.format_list(frames[first:]) + traceback.format_exception_only(type(error), error)
    return "".join(lines).rstrip()
