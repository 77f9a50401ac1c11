"""BD401 update-before-backprop: a parameter is changed before the backward pass has read it.

What it does
------------
Finds a parameter that is changed before the backward pass has used its old
value.

Why it is wrong
---------------
The gradient at one point needs all parameters at that point. With samples in
rows, N samples, H hidden units, C classes,

    dZ1 = (dZ2 @ W2.T) * act'(Z1)    (N, C) @ (C, H) = (N, H)

belongs to the W2 of the forward pass. If W2 - lr * dW2 is stored first, dZ1
is off by -lr * (dZ2 @ dW2.T) * act'(Z1). The error is in proportion to the
learning rate, so it is invisible when gradients are checked one by one
without taking a step, and at small rates training looks sound. It is still no
longer the gradient of anything.

Example (samples first)
-----------------------
W2 is updated above the line that sends the error back through it::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        print(step, loss)

Use instead (samples first)
---------------------------
Compute all gradients first, then update all parameters::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
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
        print(step, loss)

How it is detected
------------------
The first step is run twice from the same point: with all updates held back,
and with updates in force. A gradient that is right and differs between the
two was computed from a changed parameter. To find which, one parameter's
update after the other is held back alone; the one whose absence at least
halves the difference is blamed. Where no gradient is stored, what the update
adds to a parameter is compared, with the other parameters held back and not.

Fix safety
----------
The update is moved below the line that needs the old value, where both stand
in one block on lines of their own, and only the run decides: what lies
between may matter, as where a row that was read is changed in place.

Known limits
------------
- Differences below 1e-9 of the gradient are taken as rounding; with a
  learning rate of zero there is nothing to see.
- Only gradients that are right apart from the order are judged.
- If two early updates disturb one gradient about equally, both may stay below
  the half and neither is named.

References
----------
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536: derivatives are accumulated
  over all cases before the weights are changed.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2: the algorithm, with gradient descent as its last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Trace
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter, Quantity

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Compare each gradient with updates in force and with updates held back; release one at a time."""
    disturbed: dict[int, list[Quantity]] = {}
    largest: dict[int, float] = {}
    # Weights that start at zero are, after a step, a multiple of their gradient.
    events = [case.trace.by_key[key] for p in case.roles.parameters for key in (p.birth, *p.updates)]
    weights = {event.object for event in events} | {p.successor for p in case.roles.parameters}
    kept = {event.storage for event in events} - {-1}
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is None or not gradient.right:
            continue
        made = case.trace.by_key[gradient.value.birth]
        if not gradient.is_step and (made.object in weights or made.storage in kept):
            continue
        others = tuple(other for other in case.roles.parameters if other is not parameter)
        all_held = (
            case.measurement.moved(frozen=False, hold=others).trace if gradient.is_step else case.measurement.trace
        )
        held, live = _made(gradient, parameter, all_held), _made(gradient, parameter, case.live)
        if live is None or np.shape(live) != np.shape(held) or _distance(live, held) < 1e-9:
            continue
        for other in others if gradient.is_step else case.roles.parameters:
            if case.trace.by_key[other.updates[0]].index > case.trace.by_key[gradient.value.birth].index:
                continue
            mended = _made(gradient, parameter, case.run_updating_all_but(other))
            if mended is not None and _distance(mended, held) < 0.5 * _distance(live, held):
                disturbed.setdefault(other.object, []).append(gradient.value)
                largest[other.object] = max(largest.get(other.object, 0.0), _distance(live, held))
    for parameter in case.roles.parameters:
        if parameter.object in disturbed:
            yield _sighting(case, parameter, disturbed[parameter.object], largest[parameter.object])


def _made(gradient: Adjoint, parameter: Parameter, trace: Trace) -> Any:
    """A gradient in a run; where none is stored, what the update adds to the parameter."""
    value = trace.value(gradient.value.birth)
    before = trace.value(parameter.birth)
    if not gradient.is_step or value is None or np.shape(value) != np.shape(before):
        return value
    return np.asarray(value, np.float64) - np.asarray(before, np.float64)


def _sighting(case: Case, parameter: Parameter, gradients: list[Quantity], distance: float) -> Sighting:
    statement = case.site(parameter.updates[0]).statement
    several = {gradient.name: gradient for gradient in gradients}
    names, verb = " and ".join(several), "is" if len(several) == 1 else "are"
    last = max(gradients, key=lambda gradient: gradient.line)
    return Sighting(
        node=statement,
        message=f"{parameter.name} is updated before the backward pass reads it: {names} {verb} computed "
        "with the new value",
        label=f"too early: {names} still need{'s' if len(several) == 1 else ''} the old {parameter.name}",
        why="the gradient of one point needs every parameter at that point; update after the last gradient",
        evidence=(
            Evidence(
                f"{names} with {parameter.name} held back until the end of the step",
                f"differs by {distance:.2g}",
                "no difference",
            ),
        ),
        fix=f"move below the line that computes {last.name}",
        edits=case.move(statement, case.statement(last)),
        objects=(parameter.successor,),
    )


def _distance(a: object, b: object) -> float:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = float(np.linalg.norm(y))
    return float(np.linalg.norm(x - y)) / norm if norm else float(np.linalg.norm(x))
