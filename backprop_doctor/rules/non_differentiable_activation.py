"""BD806 non-differentiable-activation: a step function is trained with a rule for gradients.

Stub
----
x
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.roles import is_same

SEVERITY = "warning"

LEVELS = 3
NUDGE = 1e-6


def examine(case: Case) -> Iterator[Sighting]:
    """A value of few levels that hides every small change of its argument from the output, and weights trained below."""
    output = case.roles.output
    if output is None:
        return
    first = {e.object: e for e in reversed(case.step_events) if e.index <= output.index and _is_float(e)}
    events = sorted(first.values(), key=lambda e: e.index)
    for step in events:
        argument = _argument(step, events)
        weights = _trained_below(case, argument) if argument is not None else None
        if argument is None or weights is None or not _hides(case, argument, output.birth):
            continue
        before, after = weights
        site = case.program.sites[step.site]
        name, levels = case.text(site.node), np.unique(step.value).size
        if site.target:
            name = site.target
        moved = float(np.abs(np.asarray(after.value) - before.value).max())
        trained = case.text(case.program.sites[before.site].node)
        yield Sighting(
            node=site.node,
            message=f"{name} takes {levels} values only, so the loss has no slope in {trained}, which is trained all "
            "the same",
            label="a step has no derivative",
            why="the derivative of a step is 0 wherever it exists: no chain rule leads through it",
            evidence=(
                Evidence(
                    f"change of the output when {_name(case, argument)} moves by {NUDGE:g} of its size", "0", "not 0"
                ),
                Evidence(f"largest change of {trained} in one step of training", f"{moved:.3g}", "0"),
            ),
            fix="a sigmoid, tanh or ReLU, with its derivative in the backward pass",
        )
        return


def _is_float(event: Event) -> bool:
    return isinstance(event.value, np.ndarray) and event.value.size > 4 * LEVELS and event.value.dtype.kind != "b"


def _name(case: Case, event: Event) -> str:
    site = case.program.sites[event.site]
    return site.target or case.text(site.node)


def _argument(step: Event, events: list[Event]) -> Event | None:
    """The value of many levels and the same shape of which ``step`` is a function that never falls."""
    if not 2 <= np.unique(step.value).size <= LEVELS:
        return None
    for event in events:
        if event.index >= step.index or np.shape(event.value) != np.shape(step.value):
            continue
        before = np.asarray(event.value, np.float64)
        rising = np.diff(np.asarray(step.value, np.float64).ravel()[np.argsort(before, axis=None, kind="stable")])
        if np.unique(before).size > before.size // 2 and rising.min() >= 0:
            return event
    return None


def _hides(case: Case, argument: Event, output: tuple[int, int]) -> bool:
    """Whether a small change of the argument leaves the output bit for bit as it is."""

    def nudge(value: np.ndarray) -> np.ndarray:
        waves = np.cos(np.arange(value.size)).reshape(value.shape)
        return value + NUDGE * (float(np.abs(value).max()) or 1.0) * waves

    trace = case.run({argument.key: nudge}, last=case.roles.step.middle - 1)
    before, after = case.trace.value(output), trace.value(output)
    return before is not None and after is not None and is_same(before, after)


def _trained_below(case: Case, argument: Event) -> tuple[Event, Event] | None:
    """A weight matrix read before the argument that has changed when it is read again in the next step."""
    for event in case.step_events:
        site = case.program.sites[event.site]
        if event.index >= argument.index:
            return None
        if site.kind != "load" or np.ndim(event.value) != 2 or np.asarray(event.value).dtype.kind != "f":
            continue
        later = case.trace.by_key.get((event.site, event.occurrence + case.per_turn(event.key)))
        independent = not case.roles.on_inputs[event.index] and not case.roles.on_labels[event.index]
        if later is not None and independent and np.shape(later.value) == np.shape(event.value):
            if not is_same(later.value, event.value):
                return event, later
    return None
