"""Loops inside a turn of training of which nothing hears, such as one that writes a sample of text now and then.

They may hold most of the values of a turn; a run in which they are left after their first turn tells as much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from backprop_doctor.loops import Turns, loops_of
from backprop_doctor.program import Event, Probe, Program, Trace
from backprop_doctor.values import is_real

__all__ = ["without_asides"]

# To find out takes a run and a look at all of its values: nothing is gained where they have fewer values than that,
# and a smaller share of the turn.
VALUES = 2_000
SHARE = 0.2


def without_asides(program: Program, trace: Trace, probe: Probe) -> tuple[Probe, Trace] | None:
    """The set-up in which such loops are left after their first turn, and what is recorded then.

    Parameters
    ----------
    program : Program
        What to run.
    trace : Trace
        The run that was recorded.
    probe : Probe
        The set-up it ran in.

    Returns
    -------
    tuple of Probe and Trace, or None
        None where there are no such loops.
    """
    asides = {turns.loop: 1 for turns in _idle(trace)}
    if not asides:
        return None
    shorter = replace(probe, turns={**probe.turns, **asides})
    after = program.run(shorter)
    return None if after.failed or _is_heard(trace, after, set(asides)) else (shorter, after)


def _idle(trace: Trace) -> Iterator[Turns]:
    """Long loops inside the first turn of another one that make and change no real number that is seen after them."""
    loops = loops_of(trace)
    for turns in loops:
        start, end = turns.starts[0], turns.end
        around = [o for o in loops if o.starts[0] < start and end <= o.starts[1]]
        # Another whole turn has to show what the first one hands on.
        if not around or len(around[-1].starts) < 3 or end - turns.starts[1] < VALUES:
            continue
        if end - turns.starts[1] < SHARE * (around[-1].starts[1] - around[-1].starts[0]):
            continue
        made = {e.object for e in trace.events[start:end] if _is_real(e) and trace.first_seen[e.object].index >= start}
        if not any(e.object in made for e in trace.events[end:]):
            yield turns


def _is_real(event: Event) -> bool:
    return is_real(event.value) or type(event.value) is float


def _is_heard(trace: Trace, after: Trace, loops: set[int]) -> bool:
    """Whether a real number is missing outside of some loops that were cut short, or another one is another now.

    Of whole numbers, such as the letters of a sample, there may be fewer.
    """
    before, now = _outside(trace, loops), _outside(after, loops)
    lost, gained = before - now, now - before
    elsewhere = {site for site, is_number, _ in gained if not is_number}
    return any(is_number or site in elsewhere for site, is_number, _ in lost)


def _outside(trace: Trace, loops: set[int]) -> Counter[tuple[int, bool, bytes]]:
    """Real values and single whole numbers that pass outside of some loops: site, whether it is real, and bytes."""
    inside: set[int] = set()
    found: Counter[tuple[int, bool, bytes]] = Counter()
    for event in trace.events:
        if event.object == -1 and event.site in loops:
            (inside.discard if event.occurrence < 0 else inside.add)(event.site)
        elif not inside and event.object != -1 and (_is_real(event) or np.ndim(event.value) == 0):
            found[event.site, _is_real(event), np.asarray(event.value).tobytes()] += 1
    return found
