"""BD310 gradient-transposed: a factor of a gradient is transposed, or a transpose is missing.

What it does
------------
Finds a gradient that is the transpose of the right one, or a backward line in
which the transpose of a square matrix is missing.

Why it is wrong
---------------
N samples, H hidden units, C classes. What a layer multiplies by W going
forward, the delta multiplies by the transpose of W going back:

    samples first:     Z2 = A1 @ W2,    dA1 = dZ2 @ W2.T    (N, C) @ (C, H)
    features first:    Z2 = W2 @ A1,    dA1 = W2.T @ dZ2    (H, C) @ (C, N)

With H different from C a missing .T is an error of shapes and stops the
program. With H = C the product exists, and weighs each error with the weight
of another connection. Training goes on with the layers above, and often
reaches a respectable accuracy.

Example (samples first)
-----------------------
W2 is (4, 4), and dZ2 @ W2 has the right shape::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 4))).argmax(axis=1)
    Y = np.eye(4)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 4)), np.zeros((1, 4))
    W2, b2 = 0.3 * rng.normal(size=(4, 4)), np.zeros((1, 4))
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
        dZ1 = (dZ2 @ W2) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Example (features first)
------------------------
W2 is (4, 4), and W2 @ dZ2 has the right shape::

    import numpy as np

    rng = np.random.default_rng(3)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(4, 20)) @ X).argmax(axis=0)
    Y = np.eye(4)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(4, 20)), np.zeros((4, 1))
    W2, b2 = 0.3 * rng.normal(size=(4, 4)), np.zeros((4, 1))
    for step in range(12):
        A1 = np.tanh(W1 @ X + b1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2 @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Go back through the transpose::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 4))).argmax(axis=1)
    Y = np.eye(4)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 4)), np.zeros((1, 4))
    W2, b2 = 0.3 * rng.normal(size=(4, 4)), np.zeros((1, 4))
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
Go back through the transpose::

    import numpy as np

    rng = np.random.default_rng(3)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(4, 20)) @ X).argmax(axis=0)
    Y = np.eye(4)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(4, 20)), np.zeros((4, 1))
    W2, b2 = 0.3 * rng.normal(size=(4, 4)), np.zeros((4, 1))
    for step in range(12):
        A1 = np.tanh(W1 @ X + b1)
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
Two questions are put to each gradient or delta that does not fit. Is it
square, and does its transpose fit? If not: the program is run again with one
square operand of the statement transposed, one after the other; does the
result fit? Fitting means proportional to the numeric derivative with a
relative error below 1e-5.

Fix safety
----------
.T is written behind the operand, or behind the whole expression in brackets.
The changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- Only square matrices: with other shapes numpy stops the program by itself.
- One operand at a time is tried; two missing transposes in one line are
  reported as BD300.
- A .T too many is found only if the result is square and its own transpose
  fits; otherwise the line is reported as BD300.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.1.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.5: backpropagation, with the transpose in the product with the weights.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, equation BP2.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import fit
from backprop_doctor.records import Evidence
from backprop_doctor.rules._activation import upstream_derivatives

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The transpose of a wrong square gradient fits; or the delta fits with one square operand transposed."""
    for link in [*case.wrong_adjoints, *(g for _, g in case.wrong_gradients)]:
        value = np.asarray(case.value(link.value), np.float64)
        b, of = link.value, link.of
        square = value.ndim == 2 and value.shape[0] == value.shape[1] > 1
        if square and _fits(case, value.T, link):
            yield Sighting(
                node=case.home(b),
                message=f"{b.name} is the transpose of the gradient of {of.name}",
                label="transposed",
                why=f"{of.name} is {case.describe(of.shape)}; its gradient has the same axes in the same order",
                evidence=(
                    Evidence(f"{b.name} as gradient of {of.name}", f"error {link.fit.residual:.2g}", "below 1e-5"),
                    Evidence(f"{b.name}.T as gradient of {of.name}", "error below 1e-5", "below 1e-5"),
                ),
                fix=".T",
                edits=(case.edit(case.home(b), f"({case.text(case.home(b))}).T"),),
                objects=(b.object,),
            )
            continue
        yield from _operand(case, link)


def _operand(case: Case, link: object) -> Iterator[Sighting]:
    """Replace each square operand at its place in the statement by its transpose."""
    b, of = link.value, link.of  # type: ignore[attr-defined]
    for event in case.events_in(case.statement(b)):
        site = case.program.sites[event.site]
        shape = np.shape(event.value)
        if site.kind != "load" or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2 or event.index > b.index:
            continue
        if isinstance(site.node, ast.Attribute) and site.node.attr == "T":
            continue
        if site.parent is not None and isinstance(case.program.sites[site.parent].node, ast.Attribute):
            continue
        changed = case.measurement.run({event.key: lambda v: v.T.copy()}, keep=frozenset({b.birth})).value(b.birth)
        if changed is not None and _fits(case, np.asarray(changed, np.float64), link):
            yield Sighting(
                node=site.node,
                message=f"{case.text(site.node)} needs to be transposed here: {b.name} is not the gradient of "
                f"{of.name}",
                label="transpose missing",
                why="what a layer multiplies by W going forward it multiplies by the transpose of W going "
                "back; with a square W the shapes cannot tell",
                evidence=(
                    Evidence(f"{b.name} as gradient of {of.name}", f"error {link.fit.residual:.2g}", "below 1e-5"),  # type: ignore[attr-defined]
                    Evidence(f"the same with {case.text(site.node)}.T", "error below 1e-5", "below 1e-5"),
                ),
                fix=f"{case.text(site.node)}.T",
                edits=(case.edit(site.node, f"{case.text(site.node)}.T"),),
                objects=(b.object,),
            )
            return


def _fits(case: Case, value: np.ndarray, link: object) -> bool:
    of = link.of  # type: ignore[attr-defined]
    if value.shape != of.shape and value.size != int(np.prod(of.shape)):
        return False
    tangents = case.measurement.tangents(of.birth)
    analytic = np.array([float(np.sum(value.reshape(of.shape) * t.direction)) for t in tangents])
    return any(
        fit(analytic, numeric).right
        for numeric in upstream_derivatives(case, link.value, of)  # type: ignore[attr-defined]
    )
