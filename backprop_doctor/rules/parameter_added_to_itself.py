"""BD410 parameter-added-to-itself: the step adds the parameter to itself, so that it doubles each time.

What it does
------------
Finds updates whose step holds the parameter once more, besides a multiple of
its gradient.

Why it is wrong
---------------
b += b - rate db is b = 2 b - rate db: += adds what stands on its right, and
that has b in it already. Every step doubles what b was, whatever the loss
says: after ten steps it is a thousand times as large. A bias that starts at
0 hides that for some steps.

Example (samples first)
-----------------------
The bias of the hidden layer::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(90, 7))
    T = np.sin(X @ rng.normal(size=(7, 2)))
    W1, b1 = 0.4 * rng.normal(size=(7, 9)), np.zeros((1, 9))
    W2, b2 = 0.4 * rng.normal(size=(9, 2)), np.zeros((1, 2))
    for step in range(12):
        h = np.tanh(X @ W1 + b1)
        d2 = (h @ W2 + b2 - T) / len(X)
        loss = 0.5 * len(X) * np.sum(d2**2)
        d1 = (d2 @ W2.T) * (1 - h**2)
        db1 = d1.sum(axis=0, keepdims=True)
        W2 -= 0.1 * h.T @ d2
        b2 -= 0.1 * d2.sum(axis=0, keepdims=True)
        W1 -= 0.1 * X.T @ d1
        b1 += b1 - 0.1 * db1
        print(step, loss)

Example (features first)
------------------------
The same with samples in columns::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(7, 90))
    T = np.sin(rng.normal(size=(2, 7)) @ X)
    W1, b1 = 0.4 * rng.normal(size=(9, 7)), np.zeros((9, 1))
    W2, b2 = 0.4 * rng.normal(size=(2, 9)), np.zeros((2, 1))
    for step in range(12):
        h = np.tanh(W1 @ X + b1)
        d2 = (W2 @ h + b2 - T) / X.shape[1]
        loss = 0.5 * X.shape[1] * np.sum(d2**2)
        d1 = (W2.T @ d2) * (1 - h**2)
        db1 = d1.sum(axis=1, keepdims=True)
        W2 -= 0.1 * d2 @ h.T
        b2 -= 0.1 * d2.sum(axis=1, keepdims=True)
        W1 -= 0.1 * d1 @ X.T
        b1 += b1 - 0.1 * db1
        print(step, loss)

Use instead (samples first)
---------------------------
= where the parameter stands on the right::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(90, 7))
    T = np.sin(X @ rng.normal(size=(7, 2)))
    W1, b1 = 0.4 * rng.normal(size=(7, 9)), np.zeros((1, 9))
    W2, b2 = 0.4 * rng.normal(size=(9, 2)), np.zeros((1, 2))
    for step in range(12):
        h = np.tanh(X @ W1 + b1)
        d2 = (h @ W2 + b2 - T) / len(X)
        loss = 0.5 * len(X) * np.sum(d2**2)
        d1 = (d2 @ W2.T) * (1 - h**2)
        db1 = d1.sum(axis=0, keepdims=True)
        W2 -= 0.1 * h.T @ d2
        b2 -= 0.1 * d2.sum(axis=0, keepdims=True)
        W1 -= 0.1 * X.T @ d1
        b1 = b1 - 0.1 * db1
        print(step, loss)

Use instead (features first)
----------------------------
The same with samples in columns::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(7, 90))
    T = np.sin(rng.normal(size=(2, 7)) @ X)
    W1, b1 = 0.4 * rng.normal(size=(9, 7)), np.zeros((9, 1))
    W2, b2 = 0.4 * rng.normal(size=(2, 9)), np.zeros((2, 1))
    for step in range(12):
        h = np.tanh(W1 @ X + b1)
        d2 = (W2 @ h + b2 - T) / X.shape[1]
        loss = 0.5 * X.shape[1] * np.sum(d2**2)
        d1 = (W2.T @ d2) * (1 - h**2)
        db1 = d1.sum(axis=1, keepdims=True)
        W2 -= 0.1 * d2 @ h.T
        b2 -= 0.1 * d2.sum(axis=1, keepdims=True)
        W1 -= 0.1 * d1 @ X.T
        b1 = b1 - 0.1 * db1
        print(step, loss)

How it is detected
------------------
The step from a point where no parameter is 0 is taken apart into a multiple
of the gradient and a multiple of the parameter. If these two make up all of
the step, and the second is 1, the parameter is added to itself. Weight decay
has a multiple below 0, and a parameter that is scaled to a length has any.

Fix safety
----------
+= becomes =; the changed program is examined again.

Known limits
------------
- Parameters of fewer than three entries are not judged: two multiples can
  make any step of them.
- A step with momentum in it is no multiple of the gradient, and passes.

References
----------
- The Python Language Reference, section 7.2.1, augmented assignment
  statements.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  4.3: gradient descent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.plain_steps import doubled
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Steps that are the parameter itself and a multiple of its gradient."""
    for parameter, share in case.once(doubled):
        name, statement = parameter.name, case.site(parameter.updates[-1]).statement
        yield Sighting(
            node=statement,
            message=f"{name} is added to itself: its step is {name} and a multiple of its gradient",
            label="doubles each time",
            why=f"{name} += {name} - s is {name} = 2 {name} - s: after ten steps what it was is there 1024 times",
            evidence=(Evidence(f"multiple of {name} in its step", f"{share:.3g}", "0"),),
            fix="= in place of +=",
            edits=_bound(case, statement),
            objects=(parameter.successor,),
        )


def _bound(case: Case, statement: ast.stmt) -> tuple[Edit, ...]:
    """``=`` for ``+=`` where the right side begins with the parameter."""
    if not isinstance(statement, ast.AugAssign) or not isinstance(statement.op, ast.Add):
        return ()
    first: ast.expr = statement.value
    while isinstance(first, ast.BinOp):
        first = first.left
    place = case.source.position(statement.target)
    column = case.source_of(statement).line(place.end_line).find("+=", place.end_column - 1)
    if column < 0 or case.text(first) != case.text(statement.target):
        return ()
    at = case.insertion(place.end_line, column + 1, "", statement).position
    return (Edit(replace(at, end_column=column + 3), "="),)
