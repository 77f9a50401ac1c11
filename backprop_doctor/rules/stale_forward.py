"""BD112 stale-forward: the forward pass is made before training, and never again.

What it does
------------
Finds activations that are computed before the training loop and serve in
every step of it, whatever the parameters have become.

Why it is wrong
---------------
A gradient belongs to the parameters it is taken at. With samples in rows, N
samples, H hidden units, C classes,

    A2 = softmax(A1 @ W2)           (N, H) @ (H, C) = (N, C)
    dW2 = A1.T @ (A2 - Y)           (H, N) @ (N, C) = (H, C)

is the slope at the W2 that made A2. After W2 - lr * dW2 there is another A2;
with the old one every step repeats the first, and goes on for as long as the
loop runs, past the valley that the first step pointed to. The first step is
right, so a check of the gradients finds nothing.

Example (samples first)
-----------------------
The forward pass stands above the loop::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    A1 = np.tanh(X @ W1 + b1)
    E = np.exp(A1 @ W2 + b2)
    A2 = E / E.sum(axis=1, keepdims=True)
    for step in range(12):
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, -np.mean(np.log(np.sum(Y * A2, axis=1))))

Example (features first)
------------------------
::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[:, labels]
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    A1 = np.tanh(W1 @ X + b1)
    E = np.exp(W2 @ A1 + b2)
    A2 = E / E.sum(axis=0, keepdims=True)
    for step in range(12):
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, -np.mean(np.log(np.sum(Y * A2, axis=0))))

Use instead (samples first)
---------------------------
Each step begins with a forward pass of its own::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        A1 = np.tanh(X @ W1 + b1)
        E = np.exp(A1 @ W2 + b2)
        A2 = E / E.sum(axis=1, keepdims=True)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, -np.mean(np.log(np.sum(Y * A2, axis=1))))

Use instead (features first)
----------------------------
::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[:, labels]
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        A1 = np.tanh(W1 @ X + b1)
        E = np.exp(W2 @ A1 + b2)
        A2 = E / E.sum(axis=0, keepdims=True)
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, -np.mean(np.log(np.sum(Y * A2, axis=0))))

How it is detected
------------------
By running: the training loop reads values that were made from its parameters
before it began, the network's output among them; in its second turn the
error is bit for bit that of the first, though the parameters have changed.
The output is computed again with the changed parameters, to tell what is
missed.

Fix safety
----------
The statements of the forward pass are moved to the top of the loop's body,
where they stand in one block with the loop and on lines of their own. If
something between reads what they make, they are copied. The changed program
is examined again.

Known limits
------------
- Values made once an epoch, and used for several updates in it, are not
  judged: a step may be taken sample by sample when all samples are through
  the forward pass.
- At least two steps have to be recorded.

References
----------
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536: a forward and a backward pass
  for each change of the weights.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.1.3: the gradient is taken at the current parameters.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.program import Event
from backprop_doctor.rearrangements import into
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """An output that was there before the loop whose steps are made of it."""
    roles = case.roles
    begins = _beginning(case)
    if roles.output is None or roles.output.index >= begins or _is_made_again(case, begins):
        return
    updated = {p.birth: case.trace.value(p.updates[-1]) for p in roles.parameters}
    output = roles.output
    changes = {p.name: _difference(case.trace.value(p.birth), updated[p.birth]) for p in roles.parameters}
    moved = max(changes, key=lambda name: changes[name])
    again = case.run({key: always(np.asarray(value)) for key, value in updated.items()}, last=output.index)
    missed = _difference(case.trace.value(output.birth), again.value(output.birth))
    statement = _running(case, output.index)
    if not missed or statement is None:
        return
    yield Sighting(
        node=statement,
        message=f"{output.name} is computed before the training loop and never again: every step repeats the first",
        label="once, outside the loop",
        why="a gradient belongs to the parameters it is taken at; after an update there is another output",
        evidence=(
            Evidence(
                f"largest change of {output.name} from the first step to the second",
                "0",
                f"{missed:.3g}, as {moved} changed by up to {changes[moved]:.3g}",
            ),
        ),
        fix="the forward pass at the top of the loop",
        edits=_into_loop(case, begins),
    )


def _beginning(case: Case) -> int:
    """The event at which the first turn of the loop begins, in which the steps are taken."""
    step = case.roles.step
    ticks = (e.index for e in case.trace.events[step.start :] if e.object == -1 and e.site == step.loop)
    return next(ticks, step.start)


def _is_made_again(case: Case, begins: int) -> bool:
    """Whether a turn makes an output for the next."""
    output = case.roles.output
    return output is not None and any(event.index > begins for event in case.trace.at(output.birth[0]))


def _difference(old: Any, new: Any) -> float:
    """The largest difference of two arrays; 0 where their shapes differ or one is missing."""
    if old is None or new is None or np.shape(old) != np.shape(new):
        return 0.0
    return float(np.max(np.abs(np.asarray(new, np.float64) - np.asarray(old, np.float64))))


def _running(case: Case, index: int) -> ast.stmt | None:
    """The statement that is run at an event, beside the loop: it may call what the event stands in."""
    loop = case.program.sites[case.roles.step.loop]
    for event in reversed(case.trace.events[: index + 1]):
        site = case.program.sites[event.site]
        if event.object != -1 and site.scope == loop.scope and site.source is loop.source:
            return site.statement
    return None


def _into_loop(case: Case, begins: int) -> tuple[Edit, ...]:
    """The forward pass at the top of the loop, if all of it stands in the block of the loop."""
    loop = case.program.sites[case.roles.step.loop]
    made: list[Event] = [e for e in case.trace.events[case.roles.step.start : begins] if case.roles.forward(e)]
    statements: list[ast.stmt] = []
    for event in made:
        statement = _running(case, event.index)
        if statement is not None and statement not in statements:
            statements.append(statement)
    if not isinstance(loop.node, (ast.For, ast.While)):
        return ()
    return into(case.source_of(loop.node), statements, loop.node)
