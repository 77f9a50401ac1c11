"""BD405 parameter-shape-drift: an update silently changes the shape of a parameter.

What it does
------------
Finds an update that changes the shape of a parameter without a word.

Why it is wrong
---------------
N samples, C classes. In b = b - step, numpy stretches both sides to a common
shape:

    b (1, C) minus step (N, 1)    is (N, C)
    b (1, C) minus step (N, C)    is (N, C)

and the name b is bound to the larger array. The next forward pass still
works, since (N, C) can be added to (N, C): each sample has biases of its own
now, and the network fits no other number of samples. A parameter keeps its
shape for ever; what changes it is an operand of another shape.

Example (samples first)
-----------------------
The rate has a row for each sample, so the step is (200, 3) and b grows::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    rate = 0.5
    rates = np.full((len(X), 1), 0.5)  # one for each sample
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - rate * dW
        b = b - rates * db
        print(step, loss)

Use instead (samples first)
---------------------------
Every factor of the step has the parameter's shape or is a number. Writing b
-= rate * db would also have stopped the program at the first such step::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    rate = 0.5
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - rate * dW
        b = b - rate * db
        print(step, loss)

How it is detected
------------------
One real step is taken, and the shape of each parameter before and after is
compared. The operand of the update with another shape is named.

Fix safety
----------
A factor of the step that stretches it is left out, if the others fit the
parameter. A gradient with as many elements as the parameter is taken without
its transpose, where that fits, or given the shape of the parameter. Otherwise
the fault lies in an operand, and where that comes from differs from program
to program.

Known limits
------------
- It speaks last: a bias gradient summed over the wrong axis (BD301), over
  both (BD302) or not at all (BD303) is reported in its place where it
  explains the shape.
- Only the first step is looked at.
- A parameter changed in place cannot grow, and numpy itself reports the
  shapes.

References
----------
- NumPy user guide, Broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Reduction, Sighting, axis_edits
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity, is_made_of_itself
from backprop_doctor.rules._words import word_for

SEVERITY = "error"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """Shapes before and after one real step, where the gradient itself explains nothing."""
    for parameter in case.roles.parameters:
        after = case.live.value(parameter.updates[-1])
        # (3,) that becomes (1, 3) holds the same numbers; more of them is a fault.
        if after is None or np.size(after) == np.prod(parameter.shape, dtype=int):
            continue
        site = case.site(parameter.updates[-1])
        # The activation of the next layer has a shape of its own, and so has a table to which columns are added.
        if not isinstance(site.node, ast.BinOp) or not is_made_of_itself(case.program, case.roles, parameter):
            continue
        operands = case.judgement.operands[parameter.object]
        gradient = next((q for q in operands if q.shape != parameter.shape), None)
        cause = f"; {gradient.name} is {case.describe(gradient.shape)}" if gradient else ""
        summary, edits = _unstretched(case, parameter)
        # A factor of the update's own that stretches it is a fault whatever the gradient is.
        objects = (parameter.successor, *(() if edits else (q.object for q in operands)))
        lost = None if gradient is None else _axis_lost(case, parameter, gradient)
        if lost is not None:
            summary, edits = "keepdims=True", axis_edits(case, lost.node, lost.axes[0], keepdims=True)
        elif not edits:
            summary, edits = _turned_back(case, parameter)
        yield Sighting(
            node=site.node if lost is None else lost.node,
            message=f"{parameter.name} changes shape in its update: {case.describe(parameter.shape)} becomes "
            f"{case.describe(np.shape(after))}{cause}",
            label=f"{parameter.name} becomes {case.describe(np.shape(after))}" if lost is None else "loses an axis",
            why="broadcasting stretches the smaller operand; a parameter keeps its shape for ever",
            evidence=(
                Evidence(
                    f"shape of {parameter.name} after one step",
                    case.describe(np.shape(after)),
                    case.describe(parameter.shape),
                ),
            ),
            fix=summary,
            edits=edits,
            objects=objects,
        )


def _axis_lost(case: Case, parameter: Parameter, gradient: Quantity) -> Reduction | None:
    """The sum that made a gradient with as many elements as its parameter, and an axis less."""
    if int(np.prod(gradient.shape)) != int(np.prod(parameter.shape)) or len(gradient.shape) >= len(parameter.shape):
        return None
    sums = case.reductions(case.events_in(case.statement(gradient)))
    return next((r for r in sums if r.event.object == gradient.object and len(r.axes) == 1), None)


def _unstretched(case: Case, parameter: Parameter) -> tuple[str, tuple[Edit, ...]]:
    """Leave out the factor of the step that stretches it, if the other factors fit the parameter."""
    statement = case.site(parameter.updates[-1]).statement
    events = {case.program.sites[e.site].node: e for e in case.events_in(statement)}
    for node in ast.walk(statement):
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
            continue
        for kept, stretching in ((node.left, node.right), (node.right, node.left)):
            if kept not in events or stretching not in events or case.roles.backward(events[stretching]):
                continue
            if _fits(events[kept].value, parameter) and not _fits(events[stretching].value, parameter):
                return f"without {case.text(stretching)}", (case.edit(node, case.text(kept)),)
    return "", ()


def _turned_back(case: Case, parameter: Parameter) -> tuple[str, tuple[Edit, ...]]:
    """Give what has as many elements as the parameter its shape: without a transpose, or else by a reshape."""
    update = parameter.updates[-1]
    for event in case.events_in(case.site(update).statement):
        node = case.program.sites[event.site].node
        alike = np.size(event.value) == np.prod(parameter.shape, dtype=int)
        if not alike or not case.roles.backward(event) or _holds(event.value, parameter) or event.key == update:
            continue
        if isinstance(node, ast.Attribute) and node.attr == "T" and _holds(np.transpose(event.value), parameter):
            return f"{case.text(node.value)} as it is", (case.edit(node, case.text(node.value)),)
        own = word_for(case, parameter.object, event)
        text = case.text(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else f"({case.text(node)})"
        if own and case.program.sites[event.site].kind == "load":
            return f"{text}.reshape({own}.shape)", (case.edit(node, f"{text}.reshape({own}.shape)"),)
    return "", ()


def _holds(value: Any, parameter: Parameter) -> bool:
    """Whether a step of this shape leaves the parameter as many elements as it has."""
    try:
        shape = np.broadcast_shapes(np.shape(value), parameter.shape)
    except ValueError:
        return False
    return bool(np.prod(shape, dtype=int) == np.prod(parameter.shape, dtype=int))


def _fits(value: Any, parameter: Parameter) -> bool:
    """Whether a value leaves the shape of the parameter as it is."""
    try:
        return bool(np.broadcast_shapes(np.shape(value), parameter.shape) == parameter.shape)
    except ValueError:
        return False
