"""BD406 only-last-sample-counts: of the gradients of several samples only the last one reaches the update.

What it does
------------
Finds a loop over samples in which each gradient takes the place of the one
before, and an update after the loop that sees the last one alone.

Why it is wrong
---------------
The loss of a batch is a sum over its N samples, and so is its gradient:

    dV = sum over i of outer(e[i], h[i])

With dV = outer(e, h) inside the loop, what is left after it is the term of
the last sample. All other samples are computed and thrown away. In an epoch
over data in a fixed order it is always the same sample.

Example (samples first)
-----------------------
dV and dU are replaced by each sample::

    import numpy as np

    rng = np.random.default_rng(5)
    data = rng.normal(size=(40, 6))
    wanted = np.tanh(data @ rng.normal(size=(6, 4)))
    U, u = 0.4 * rng.normal(size=(5, 6)), np.zeros(5)
    V, v = 0.4 * rng.normal(size=(4, 5)), np.zeros(4)
    for epoch in range(12):
        dU, du, dV, dv = 0 * U, 0 * u, 0 * V, 0 * v
        total = 0.0
        for x, t in zip(data, wanted):
            h = np.tanh(U @ x + u)
            e = V @ h + v - t
            total += 0.5 * np.sum(e**2)
            d = (V.T @ e) * (1 - h**2)
            dV = np.outer(e, h)
            dv = e
            dU = np.outer(d, x)
            du = d
        U = U - 0.01 * dU
        u = u - 0.01 * du
        V = V - 0.01 * dV
        v = v - 0.01 * dv
        print(epoch, total / len(data))

Use instead (samples first)
---------------------------
They are summed over the samples::

    import numpy as np

    rng = np.random.default_rng(5)
    data = rng.normal(size=(40, 6))
    wanted = np.tanh(data @ rng.normal(size=(6, 4)))
    U, u = 0.4 * rng.normal(size=(5, 6)), np.zeros(5)
    V, v = 0.4 * rng.normal(size=(4, 5)), np.zeros(4)
    for epoch in range(12):
        dU, du, dV, dv = 0 * U, 0 * u, 0 * V, 0 * v
        total = 0.0
        for x, t in zip(data, wanted):
            h = np.tanh(U @ x + u)
            e = V @ h + v - t
            total += 0.5 * np.sum(e**2)
            d = (V.T @ e) * (1 - h**2)
            dV += np.outer(e, h)
            dv += e
            dU += np.outer(d, x)
            du += d
        U = U - 0.01 * dU
        u = u - 0.01 * du
        V = V - 0.01 * dV
        v = v - 0.01 * dv
        print(epoch, total / len(data))

How it is detected
------------------
Values that an update reads, that are the last of several made at one place
in a step. The earlier ones are doubled in a run: the parameter has to move
as before; then the last one, and it has to move otherwise. None of the
earlier ones may be read by anything else.

Fix safety
----------
= becomes +=, with 0 before the loop over the samples unless it is there; the
changed program is examined again before the fix is called verified.

Known limits
------------
- Updates inside the loop, one for each sample, are stochastic gradient
  descent and right.
- Gradients that are kept in a list and read later are not thrown away, and
  not reported.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, the four equations of backpropagation.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.3: stochastic gradient descent and momentum.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.instrument import Site
from backprop_doctor.program import Event, Once
from backprop_doctor.rearrangements import loops, summed
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.rules._lines import wrong_lines

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The last of several gradients made at one place: the others have no effect."""
    for parameter in case.roles.parameters:
        for operand in case.judgement.operands[parameter.object]:
            site = case.site(operand.birth)
            bound = case.binding.get(operand.object, site)
            # What is but another name for a value (dv = e) is lost with that name, whoever else reads the value.
            is_alias = bound.kind == "load"
            made = _bound_at(case, bound) if is_alias else case.made_at(operand.birth[0])
            update = case.trace.by_key[parameter.updates[-1]]
            lost = made[:-1]
            if len(made) < 2 or made[-1].object != operand.object or made[-1].index > update.index:
                continue
            if np.size(operand.shape) == 0 or len({e.object for e in made}) < len(made):
                continue
            if _is_read(case, lost, bound.target if is_alias else None):
                continue
            if len(case.made_at(update.site)) >= len(made):
                continue  # each has an update of its own
            moved = any(_moves(case, p, lost) for p in case.roles.parameters)
            if moved or not _moves(case, parameter, made[-1:]):
                continue
            yield Sighting(
                node=bound.statement,
                message=f"{(is_alias and bound.target) or operand.name} is computed {len(made)} times before "
                f"{parameter.name} is updated, and each takes the place of the one before: only the last sample counts",
                label=f"{len(lost)} of {len(made)} are thrown away",
                why="the gradient of a batch is the sum of the gradients of its samples",
                evidence=(
                    Evidence(
                        f"{parameter.name} after the update, with all but the last doubled", "the same", "another"
                    ),
                    Evidence("the same with the last one doubled", "another", "another"),
                ),
                fix="+= in place of =, and 0 before the loop",
                edits=_added_up(case, bound, made[0], case.site(parameter.updates[-1]).statement),
                objects=(operand.object, *_of_samples(case)),
            )
            break


def _added_up(case: Case, bound: Site, first: Event, update: ast.stmt) -> tuple[Edit, ...]:
    """Add up what the turns of the outermost loop store that the update is not in, from 0 on."""
    home = case.source_of(bound.statement)
    inner = [loop for loop in loops(home.tree, bound.statement) if update not in ast.walk(loop)]
    edits = summed(home, bound.statement, inner[-1]) if inner else ()
    return edits[1:] if edits and _is_zero_before(case, bound, first, inner[-1]) else edits


def _is_zero_before(case: Case, bound: Site, first: Event, loop: ast.AST) -> bool:
    """Whether the step sets to zero, before the loop, what the loop stores."""
    sites = [(event, case.program.sites[event.site]) for event in case.step_events if event.index < first.index]
    before = [event for event, site in sites if site.target == bound.target and site.statement not in ast.walk(loop)]
    return bool(before) and np.shape(before[-1].value) == np.shape(first.value) and not np.any(before[-1].value)


def _of_samples(case: Case) -> list[int]:
    """Wrong values that are made once a sample: one sample's is not the derivative of another's."""
    values = [line.value for line in case.once(wrong_lines)]
    return [v.object for v in values if len(case.made_at(v.birth[0])) > 1]


def _bound_at(case: Case, site: Site) -> list[Event]:
    """The values of the first step that pass a site which binds them to another name."""
    return [event for event in case.step_events if event.site == site.id]


def _is_read(case: Case, lost: list[Event], name: str | None) -> bool:
    """Whether a later statement reads one of the values, under the name if that is given."""
    objects = {e.object for e in lost}
    own = {case.program.sites[e.site].statement for e in lost}
    if name is not None:
        return any(
            e.object in objects and case.text(case.program.sites[e.site].node) == name
            for e in case.step_events
            if case.program.sites[e.site].statement not in own
        )
    names = {s.statement for o in objects if (s := case.binding.get(o)) is not None}
    return any(
        e.object in objects and case.program.sites[e.site].statement not in own | names for e in case.step_events
    )


def _moves(case: Case, parameter: Parameter, values: list[Event]) -> bool:
    """Whether doubling some values where they pass changes what the update makes of the parameter."""

    def double(value: Any) -> Any:
        return value * 2

    key = parameter.updates[-1]
    is_read = all(case.program.sites[e.site].kind == "load" for e in values)
    action = Once(double) if is_read else double
    changed = case.run(dict.fromkeys([e.key for e in values], action), last=case.trace.by_key[key].index)
    return not np.array_equal(changed.value(key), case.trace.value(key))
