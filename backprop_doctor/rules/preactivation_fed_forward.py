"""BD105 preactivation-fed-forward: the next layer is given z, while its activation is computed and not used.

What it does
------------
Finds a layer whose activation is computed and never used going forward,
because the next layer reads the value before the activation.

Why it is wrong
---------------
N samples, H hidden units, C classes. Two layers without anything between
them are one:

    Z2 = Z1 @ W2 + b2 = (X @ W1 + b1) @ W2 + b2 = X @ (W1 @ W2) + ...

with W1 @ W2 of shape (D, C). Whatever H is, only what is linear in X can be
learned. The gradient is no help: it may well be the exact derivative of
this network, and where it is taken for the one with the activation, it is
wrong as well.

Example (samples first)
-----------------------
Z2 is computed from Z1, and the gradient is exact for that::

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
        Z2 = Z1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = Z1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = dZ2 @ W2.T
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
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
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ Z1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ Z1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = W2.T @ dZ2
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Z2 is computed from A1::

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

Use instead (features first)
----------------------------
Z2 is computed from A1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
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
        print(step, loss)

How it is detected
------------------
A named value A of the forward pass that no other value of it is made of is
changed in a run; the output has to stay as it is. A has to be an
elementwise, curved function of an earlier z (slopes measured), and what the
next parameter makes of z has to be linear in z: steps of size 1 to both
sides cancel within 1e-9. z itself has to be linear in the last parameter
that it hangs on, so that a derivative that is kept for the way back is no
activation.

Fix safety
----------
The name of the activation is written for that of z. Where the backward pass
is made for z, its lines have to follow, and are mended with it. The changed
program is examined again from another seed, and the fix is called verified
only if the finding is gone and no error is new.

Known limits
------------
- The activation has to have a name. A layer that never had one is not
  reported: linear layers are allowed.
- Lines of the backward pass that use the activation are counted under this
  finding, not reported by themselves.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.1: why a composition of linear layers is linear.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, the four equations of backpropagation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.dependence import disturbed
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._activation import Activation, activations_of
from backprop_doctor.rules._lines import wrong_lines
from backprop_doctor.values import is_array

SEVERITY = "error"
LINEAR_BELOW = 1e-9
CURVED_ABOVE = 1e-6


def examine(case: Case) -> Iterator[Sighting]:
    """Activations that nothing of the forward pass is made of, and a next layer that is linear in z."""
    output = case.roles.output
    if output is None:
        return
    for unused in _unused(case, output):
        after = case.changed({unused.birth: disturbed}, output.birth)
        if not np.array_equal(after, case.value(output)):
            continue
        for activation in _activations_to(case, unused):
            z = activation.input
            following = _next_layer(case, z)
            node = _read_by(case, z, following, unused) if following else None
            bend = _bend(case, z, following) if following and node else None
            if following is None or node is None or bend is None or bend > LINEAR_BELOW or not _is_affine(case, z):
                continue
            spoiled = _spoiled(case, unused)
            yield Sighting(
                node=node,
                message=f"{following.name} is computed from {z.name}, and {unused.name} = {activation.name}({z.name}) "
                "is never used going forward: both layers together are linear",
                label=f"{unused.name} belongs here",
                why="without a curve between them two layers are one: (X @ W1) @ W2 = X @ (W1 @ W2)",
                evidence=(
                    Evidence(f"change of {output.name} when {unused.name} changes", "0", "not 0"),
                    Evidence(f"curvature of {following.name} along {z.name}", f"{bend:.1e} of its change", "not 0"),
                ),
                fix=f"{unused.name} in place of {z.name}",
                edits=(case.edit(node, unused.name),),
                objects=spoiled,
            )
            break


def _unused(case: Case, output: Quantity) -> list[Quantity]:
    """Named values of the forward pass that no expression of it reads."""
    sites = case.program.sites
    expressions = {e.site for e in case.step_events if e.index <= output.index and is_array(e.value)}
    read = {
        e.object
        for e in case.step_events
        if e.index <= output.index and sites[e.site].kind == "load" and sites[e.site].parent in expressions
    }
    found: dict[int, Quantity] = {}
    for q in case.judgement.forward:
        if q.object not in read and q.index < output.index and q.object in case.binding and len(q.shape) > 0:
            # What a loop makes at one place again and again is one line.
            found.setdefault(q.birth[0], q)
    return list(found.values())


def _activations_to(case: Case, unused: Quantity) -> Iterator[Activation]:
    read = {e.object for e in case.events_in(case.binding[unused.object].statement)}
    for z in reversed(case.judgement.forward):
        if z.object in read and z.index < unused.index and z.shape == unused.shape and z.object in case.binding:
            yield from (a for a in activations_of(case, z) if a.output.object == unused.object and _is_curved(a))


def _is_curved(activation: Activation) -> bool:
    """Whether a function has more than one slope: a running average of z has one."""
    return bool(np.ptp(activation.slope) > CURVED_ABOVE * np.abs(activation.slope).max(initial=0))


def _next_layer(case: Case, z: Quantity) -> Quantity | None:
    """The first named value after z that hangs on it and on a parameter that z does not hang on."""
    reach = case.roles.reach
    new = [p for p in case.roles.parameters if not reach[p.object][z.index]]
    for later in case.judgement.forward:
        if later.index > z.index and later.object in case.binding:
            tangent = case.measurement.tangents(z.birth)[0].derivatives.get(later.birth)
            if tangent is not None and np.any(tangent) and any(reach[p.object][later.index] for p in new):
                return later
    return None


def _read_by(case: Case, z: Quantity, following: Quantity, unused: Quantity) -> ast.AST | None:
    """Where the next layer reads z."""
    own = case.statement(unused)
    for event in reversed(case.step_events):
        site = case.program.sites[event.site]
        read = event.object == z.object and event.index < following.index and site.kind == "load"
        if read and site.statement is not own and site.parent is not None:
            return site.node
    return None


def _is_affine(case: Case, z: Quantity) -> bool:
    """Whether z is linear in the last parameter that it hangs on: no activation has been there yet."""
    mine = [p for p in case.roles.parameters if case.roles.reach[p.object][z.index]]
    bend = _bend(case, mine[-1], z) if mine else None
    return bend is not None and bend < LINEAR_BELOW


def _bend(case: Case, z: Quantity, following: Quantity) -> float | None:
    """Second difference of the next layer along z, in parts of its first difference."""
    here_z = np.asarray(case.value(z), np.float64)
    size = np.random.default_rng(5).standard_normal(here_z.shape)

    def moved(sign: float) -> Any:
        return case.changed({z.birth: lambda value: here_z + sign * size}, following.birth)

    ahead, behind, here = moved(1.0), moved(-1.0), case.value(following)
    if ahead is None or behind is None or not np.any(ahead - here):
        return None
    return float(np.linalg.norm(ahead + behind - 2 * here) / np.linalg.norm(ahead - here))


def _spoiled(case: Case, unused: Quantity) -> tuple[int, ...]:
    """Wrong values of the backward pass that were made of the activation."""
    lines = case.once(wrong_lines)
    return tuple(line.value.object for line in lines if any(e.object == unused.object for e in line.reads))
