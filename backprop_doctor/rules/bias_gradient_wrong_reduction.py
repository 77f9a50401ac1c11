"""BD303 bias-gradient-wrong-reduction: a bias gradient is not summed over the samples at all.

What it does
------------
Finds a bias gradient that still has its sample axis: the delta is used as it
is, without a sum over the samples.

Why it is wrong
---------------
N samples, C units. The bias is added to every sample, so with dZ of shape (N,
C) its derivative is a sum over them:

    db[c] = sum over i of dZ[i, c],    shape (1, C)

The weight gradient X.T @ dZ has this sum inside the product, (D, N) @ (N, C);
the bias gradient needs it spelled out. Without it db is (N, C), and the
update b - lr * db broadcasts b to (N, C): every sample gets biases of its
own. The training loss falls nicely, since samples are learned by heart, and
the network cannot be applied to another number of samples.

Example (samples first)
-----------------------
db is (200, 3), b is (1, 3)::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = A - Y
        dW = X.T @ dZ / len(X)
        db = dZ / len(X)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Example (features first)
------------------------
db is (3, 200), b is (3, 1)::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = A - Y
        dW = dZ @ X.T / X.shape[1]
        db = dZ / X.shape[1]
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Sum over the samples, axis 0::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = A - Y
        dW = X.T @ dZ / len(X)
        db = dZ.sum(axis=0, keepdims=True) / len(X)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (features first)
----------------------------
Sum over the samples, axis 1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = A - Y
        dW = dZ @ X.T / X.shape[1]
        db = dZ.sum(axis=1, keepdims=True) / X.shape[1]
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
For each parameter whose gradient does not fit, the rule looks for a gradient
that was made without any reduction, has two dimensions and as many slices
along the sample axis as there are samples. It fires if the sum of that array
over the samples is the numeric gradient of the parameter, up to a constant,
with a relative error below 1e-5.

Fix safety
----------
What to write is shown, np.sum(..., axis=0, keepdims=True) or axis=1, but no
edit is made: the sum may belong around the delta or around the whole
expression.

Known limits
------------
- Only two-dimensional gradients are looked at. Where the output has one
  dimension, the grown bias is reported as BD405.
- np.mean in place of np.sum is a matter of a factor, reported as BD311.
- In a program that takes one sample at a time the delta is the bias gradient,
  and rightly so.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2: the derivative by the bias is the delta, summed over the samples
  of the batch.
- NumPy user guide, Broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._bias import bias_gradients, growth

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A gradient that still has its sample axis, and whose sum over that axis is the right gradient."""
    samples = case.axes.output_samples
    if samples is None:
        return
    for bias in bias_gradients(case):
        p, g = bias.parameter, bias.gradient
        value = case.value(g)
        if bias.reduction is not None or np.size(value) == int(np.prod(p.shape)) or np.ndim(value) != 2:
            continue
        if np.shape(value)[samples] != case.samples:
            continue
        found = case.biased(p, (samples,), g)
        if found is None or found[1] > 1e-5:
            continue
        yield Sighting(
            node=case.home(g),
            message=f"the gradient of {p.name} keeps its sample axis: {g.name} is {case.describe(g.shape)}, "
            f"{p.name} is {case.describe(p.shape)}",
            label="not summed over the samples",
            why=f"{p.name} is added to every sample, so its gradient is the sum of the rows of {g.name} over "
            "the samples",
            evidence=(
                Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),
                Evidence(
                    f"{g.name} summed over axis {samples} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=f"np.sum(..., axis={samples}, keepdims=True)",
            edits=_summed(case, g, samples),
            symptoms=growth(case, p),
            objects=(g.object,),
        )


def _summed(case: Case, gradient: Quantity, axis: int) -> tuple[Edit, ...]:
    """The value of the statement that makes the gradient, summed over the samples."""
    statement = case.statement(gradient)
    names = (
        a.asname or a.name
        for n in ast.walk(case.source.tree)
        if isinstance(n, ast.Import)
        for a in n.names
        if a.name == "numpy"
    )
    numpy = next(names, None)
    if not isinstance(statement, ast.Assign) or statement.value is not case.home(gradient) or numpy is None:
        return ()
    return (case.edit(statement.value, f"{numpy}.sum({case.text(statement.value)}, axis={axis}, keepdims=True)"),)
