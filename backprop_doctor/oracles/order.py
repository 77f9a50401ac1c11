"""Which reshapes give the samples another axis and leave the numbers in their old order?

Entry (..., i) of the result then holds numbers of many samples.  That the result is used is asked by
putting the right one in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backprop_doctor.case import Case
from backprop_doctor.oracles.pairing import reaches
from backprop_doctor.program import Event

__all__ = ["Scrambled", "scrambled"]


@dataclass(frozen=True)
class Scrambled:
    """An array with the samples first, and what a call has made of it."""

    operand: Event
    result: Event


def scrambled(case: Case) -> Iterator[Scrambled]:
    """Calls before or in the first step whose result mixes samples and reaches its inputs or labels."""
    latest: dict[int, Event] = {}
    seen: set[int] = set()
    for event in case.trace.events[: case.roles.step.middle]:
        if event.object == -1:
            continue
        latest[event.site] = event
        site = case.program.sites[event.site]
        if site.kind != "call" or site.id in seen or np.ndim(event.value) < 2:
            continue
        operand = next((o for c in site.children if (o := latest.get(c)) and _is_mixed(o.value, event.value)), None)
        if operand is None:
            continue
        seen.add(site.id)
        right = np.moveaxis(operand.value, 0, -1).reshape(np.shape(event.value))
        if reaches(case, {event.key: _Instead(right)}):
            yield Scrambled(operand, event)


class _Instead:
    """Another array in the place of any."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __call__(self, value: object) -> object:
        return self._value


def _is_mixed(before: object, after: object) -> bool:
    """Whether entry (..., i) of an array is not sample i of the array it is made from, in memory order."""
    old, new = np.asarray(before), np.asarray(after)
    if old.ndim < 2 or old.size != new.size or old.dtype != new.dtype or old.shape == new.shape:
        return False
    samples = old.shape[0]
    if new.shape[-1] != samples or new.shape[0] == samples or samples < 2 or old.shape[-1] == samples:
        return False
    same_order = np.array_equal(old.ravel(), new.ravel())
    return same_order and not np.array_equal(new.reshape(-1, samples), old.reshape(samples, -1).T)
