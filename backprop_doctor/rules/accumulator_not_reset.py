"""BD404 accumulator-not-reset: gradients of earlier steps stay in the sum that the step is taken from.

What it does
------------
Finds a gradient that is added to what the step before has left there, so
that each step takes all earlier gradients with it.

Why it is wrong
---------------
A sum needs a start. With a buffer g that is set to 0 once, before the loop,

    step 1: g = g1
    step 2: g = g1 + g2
    step n: g = g1 + g2 + ... + gn

each step repeats all those before it, at the same weight. The first step is
right, and so is every check of one gradient. Then the parameters run past
the minimum and back, further and further. Momentum looks alike and is not
the same: it shrinks what is left, by a factor below 1, before it adds.

Example (samples first)
-----------------------
The buffers are set to 0 before the loop::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    gW1, gW2 = np.zeros_like(W1), np.zeros_like(W2)
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        gW2 += A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        gW1 += X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * gW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * gW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    gW1, gW2 = np.zeros_like(W1), np.zeros_like(W2)
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        gW2 += dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        gW1 += dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * gW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * gW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
They are set to 0 at every step::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        gW1, gW2 = np.zeros_like(W1), np.zeros_like(W2)
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        gW2 += A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        gW1 += X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * gW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * gW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (features first)
----------------------------
They are set to 0 at every step::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        gW1, gW2 = np.zeros_like(W1), np.zeros_like(W2)
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        gW2 += dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        gW1 += dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * gW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * gW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
Each sum of the first two steps is taken apart: the value after the first
addition of step 2, less what was added, has to be 0, or something else than
the last value of step 1. The rule fires if it is just that value, and the
change of a parameter in step 2 is proportional to the sum.

Fix safety
----------
Where there is one addition a step, += becomes =. Where several are added
up, the line that sets the buffer first is moved into the loop of the steps,
if it stands alone. The changed program is
examined again from another seed, and the fix is called verified only if the
finding is gone and no error is new.

Known limits
------------
- Sums that the step is not proportional to, as in AdaGrad, are meant to
  grow.
- Buffers that are scaled down and added to are momentum, and are not
  reported.
- Parameters of a single number are not judged.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.3: stochastic gradient descent and momentum.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.program import Event, Trace
from backprop_doctor.rearrangements import loops, reset
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.values import is_array

SEVERITY = "error"
Array = NDArray[np.float64]


def examine(case: Case) -> Iterator[Sighting]:
    """Sums that start, in the second step, from what the first has left."""
    if not case.once(_sites)[1]:
        return
    step = case.roles.step
    events = case.once(_two_steps).events
    first, second = events[step.start : step.middle], events[step.middle :]
    # A parameter is a sum of all its steps, and meant to be.
    updates = {id(case.site(key).statement) for p in case.roles.parameters for key in p.updates}
    earlier = _sums(case, first)
    for statement, results in _sums(case, second).items():
        if id(statement) in updates:
            continue
        before = [result.value for result, _ in earlier.get(statement, []) if np.any(result.value)]
        # Sums tell in one go which of many values can be close at all.
        totals = np.array([np.sum(b, dtype=np.float64) for b in before])
        slack = np.array([1e-8 * np.size(b) + 1e-8 * np.abs(b, dtype=np.float64).sum() for b in before])
        total = results[-1][0].value
        for result, added in results:
            left = np.asarray(result.value, np.float64) - added.value
            near = [before[i] for i in np.flatnonzero(np.abs(totals - left.sum()) <= slack)]
            carried = next((b for b in near if np.shape(b) == left.shape and np.allclose(left, b, rtol=1e-9)), None)
            if carried is None or not any(
                _follows(case, p, [r.value for r, _ in results]) for p in _alike(case, total)
            ):
                continue
            name = _target(case, statement)
            share = float(np.linalg.norm(carried) / np.linalg.norm(result.value))
            yield Sighting(
                node=statement,
                message=f"{name} still holds the gradient of the step before when this one is added: every step "
                "repeats all earlier ones",
                label=f"{name} is never set back to 0",
                why="the gradient of one step is the sum over its own samples; what is left from before belongs to "
                "other parameters",
                evidence=(
                    Evidence(f"{name} in step 2, less what is added to it", "its value at the end of step 1", "0"),
                    Evidence("norm of that in parts of the whole", f"{share:.3g}", "0"),
                ),
                fix=f"set {name} to 0 at the beginning of each step",
                edits=_edits(case, statement, len(results)),
                objects=(result.object,),
            )
            break


def _two_steps(case: Case) -> Trace:
    """The unchanged run, to the end of the second step."""
    step, last = case.roles.step, max(case.trace.by_key[p.updates[-1]].index for p in case.roles.parameters)
    needed = step.middle + (last - step.start) + 1
    if len(case.trace.events) >= needed:
        return replace(case.trace, events=case.trace.events[: max(step.end, needed)])
    return case.run({}, limit=needed)


def _sums(case: Case, events: list[Event]) -> dict[ast.stmt, list[tuple[Event, Event]]]:
    """For each statement that adds to what it stores: the values stored, each with what was added."""
    found: dict[ast.stmt, list[tuple[Event, Event]]] = {}
    latest: dict[ast.stmt, Event] = {}
    stores, addends = case.once(_sites)
    for event in events:
        if event.object == -1:
            continue
        if event.site in addends:
            latest[addends[event.site]] = event
        statement = stores.get(event.site)
        added = latest.get(statement) if statement is not None else None
        if statement is None or added is None or not (is_array(event.value) and np.size(event.value) > 1):
            continue
        if np.shape(added.value) == np.shape(event.value):
            found.setdefault(statement, []).append((event, added))
    return found


def _sites(case: Case) -> tuple[dict[int, ast.stmt], dict[int, ast.stmt]]:
    """Sites at which sums are stored, and sites of what is added to them, with their statements."""
    stores: dict[int, ast.stmt] = {}
    addends: dict[int, ast.stmt] = {}
    for site in case.program.sites:
        if isinstance(site.statement, (ast.Assign, ast.AugAssign)):
            if site.node is _stored(site.statement):
                stores[site.id] = site.statement
            elif site.node is _added(case, site.statement):
                addends[site.id] = site.statement
    return stores, addends


def _stored(statement: ast.stmt) -> ast.AST | None:
    """The node at which the value that a statement stores is seen."""
    if isinstance(statement, ast.AugAssign):
        return statement.target
    return statement.value if isinstance(statement, ast.Assign) else None


def _added(case: Case, statement: ast.stmt) -> ast.expr | None:
    """What a statement adds to the value of its own target."""
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add):
        return statement.value
    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.BinOp):
        sides = (statement.value.left, statement.value.right)
        texts = [case.text(side) for side in sides]
        target = case.text(statement.targets[-1])
        if isinstance(statement.value.op, ast.Add) and target in texts:
            return sides[1 - texts.index(target)]
    return None


def _target(case: Case, statement: ast.stmt) -> str:
    return case.text(statement.target if isinstance(statement, ast.AugAssign) else statement.targets[-1])  # type: ignore[attr-defined]


def _alike(case: Case, total: Array) -> list[Parameter]:
    return [p for p in case.roles.parameters if aligned(total, p.shape) is not None]


def _follows(case: Case, parameter: Parameter, sums: list[Array]) -> bool:
    """Whether the second step of a parameter is proportional to one of the sums."""
    site, occurrence = parameter.updates[-1]
    turns = case.made_at(site)
    after = case.once(_two_steps).value((site, occurrence + len(turns)))
    before = case.trace.value((site, occurrence))
    if after is None or np.shape(after) != np.shape(before):
        return False
    change = (np.asarray(after, np.float64) - before).ravel()
    return any(np.size(s) == change.size and fit(change, np.ravel(s)).residual < 1e-6 for s in sums)


def _edits(case: Case, statement: ast.stmt, times: int) -> tuple[Edit, ...]:
    """``=`` for ``+=`` where there is one addition a step, else the first value set in the loop of the steps."""
    if times > 1:
        home, updates = case.source_of(statement), [case.site(p.updates[-1]).statement for p in case.roles.parameters]
        around = [loop for loop in loops(home.tree, statement) if any(u in ast.walk(loop) for u in updates)]
        return reset(home, statement, around[0]) if around else ()
    if isinstance(statement, ast.Assign):
        added = _added(case, statement)
        return (case.edit(statement.value, case.text(added)),) if added is not None else ()
    if not isinstance(statement, ast.AugAssign):
        return ()
    start, end = case.source.position(statement.target), case.source.position(statement.value)
    column = case.source.line(start.end_line).find("+=", start.end_column - 1)
    if start.end_line != end.line or column < 0:
        return ()
    where = case.insertion(start.end_line, column + 1, "").position
    return (Edit(replace(where, end_column=column + 3), "="),)
