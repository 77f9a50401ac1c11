"""BD602 shuffle-breaks-pairs: a shuffle separates inputs from their labels, or loses rows.

Stub
----
x
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.pairing import Shuffle, follow, shuffles
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"

ENOUGH = 12


def examine(case: Case) -> Iterator[Sighting]:
    """Rows that a shuffle has doubled and lost, or samples that meet another sample's label."""
    calls = shuffles(case)
    if not calls:
        return
    doubled = _doubled(case, calls)
    if doubled is not None:
        yield doubled
        return
    pairing = follow(case)
    if pairing is None or pairing.apart == 0:
        return
    call = _culprit(case, calls)
    yield Sighting(
        node=call,
        message=f"{case.text(call)} separates inputs and labels: {pairing.apart} of {pairing.followed} samples followed "
        "meet the label of another one",
        label="one order for the inputs, another for the labels",
        why="input i belongs to label i: one permutation has to be applied to both",
        evidence=(
            Evidence("samples that arrive with another sample's label", f"{pairing.apart} of {pairing.followed}", "0"),
        ),
        fix="draw one permutation and index both arrays with it",
    )


def _culprit(case: Case, calls: list[Shuffle]) -> ast.Call:
    """The call without whose order the pairs stay together; else the last one before training."""
    for call in reversed(calls):
        if call.event is None:
            continue
        pairing = follow(case, {call.event.key: lambda value: np.arange(len(value))})
        if pairing is not None and pairing.followed >= ENOUGH and pairing.apart == 0:
            return call.node
    before = [call for call in calls if not call.in_training]
    return (before or calls)[-1].node


def _doubled(case: Case, calls: list[Shuffle]) -> Sighting | None:
    """An array whose rows, after a shuffle, are rows it had before, some twice and some no more."""
    first: dict[int, Event] = {}
    for event in case.trace.events[: case.roles.step.middle]:
        if event.object == -1 or np.ndim(event.value) < 2 or case.program.sites[event.site].kind != "load":
            continue
        before = first.setdefault(event.storage, event)
        if before.object == event.object or np.shape(before.value) != np.shape(event.value):
            continue
        old, new = _hashed(before.value), _hashed(event.value)
        lost = len(set(old)) - len(set(new))
        if lost <= 0 or not set(new) < set(old) or len(set(old)) < len(old) // 2:
            continue
        name = case.text(case.program.sites[before.site].node)
        call = next((c.node for c in calls if any(case.text(a) == name for a in c.node.args)), calls[-1].node)
        return Sighting(
            node=call,
            message=f"{case.text(call)} doubles rows of {name} and loses others: {lost} of {len(set(old))} are gone",
            label="loses rows",
            why="random.shuffle exchanges x[i] and x[j]; rows of an array are views, so that both become the same row",
            evidence=(
                Evidence(f"different rows of {name} before and after", f"{len(set(old))}, {len(set(new))}", "equal"),
            ),
            fix="np.random.shuffle, or a permutation of indices",
            edits=_edits(case, call),
        )
    return None


def _hashed(value: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(value)]


def _edits(case: Case, call: ast.Call) -> tuple[Edit, ...]:
    """numpy's shuffle in place of the one for lists, where numpy goes by its usual name."""
    imported = any(
        isinstance(n, ast.Import) and any(a.name == "numpy" and a.asname == "np" for a in n.names)
        for n in ast.walk(case.source.tree)
    )
    return (case.edit(call.func, "np.random.shuffle"),) if imported and case.text(call.func) == "random.shuffle" else ()
