"""BD302 bias-gradient-no-axis: one number serves as gradient of all biases of a layer.

What it does
------------
Finds a bias gradient that is one number for a whole layer, because the sum
was taken over both axes.

Why it is wrong
---------------
N samples, C units. Each unit has a bias of its own and with it a derivative
of its own: with dZ of shape (N, C)

    db[c] = sum over i of dZ[i, c],    C numbers, shape (1, C)

np.sum(dZ) without an axis adds these C numbers up to one. Broadcasting
subtracts it from every bias, so all biases of the layer move by the same
amount and stay equal if they start equal. Behind a softmax with dZ = A - Y
the total is even zero up to rounding, since the rows of A and of Y both sum
to 1: the biases do not move at all.

Example (samples first)
-----------------------
db is a single number, b is (1, 3)::

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
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = np.sum(dZ)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Example (features first)
------------------------
db is a single number, b is (3, 1)::

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
        dZ = (A - Y) / X.shape[1]
        dW = dZ @ X.T
        db = np.sum(dZ)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Sum over the samples alone, axis 0; db is (1, 3) like b::

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
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = np.sum(dZ, axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (features first)
----------------------------
Sum over the samples alone, axis 1; db is (3, 1) like b::

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
        dZ = (A - Y) / X.shape[1]
        dW = dZ @ X.T
        db = np.sum(dZ, axis=1, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
For each bias of several elements whose gradient has one element, the call is
found that reduced an array of the backward pass over all its axes. The rule
fires if the sum of the same array over the sample axis is the numeric
gradient of the bias, up to a constant, with a relative error below 1e-5. The
sample axis is found by running. Where samples are taken one by one, it is the
array itself, or its sum over the axes that leave the shape of the bias (over
the places of a map, say).

Fix safety
----------
The axis is added, with keepdims=True where the bias has two dimensions. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- A layer of one unit has one bias, and the sum over both axes is right there:
  the rule is silent.
- A network that shares one number as bias of a whole layer on purpose has a
  parameter of one element and is not meant.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2: the derivative by the bias of a unit is the delta of that unit.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3: error backpropagation.
- NumPy reference, numpy.sum (axis and keepdims):
  https://numpy.org/doc/stable/reference/generated/numpy.sum.html
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.records import Evidence
from backprop_doctor.rules._bias import bias_gradients

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A gradient of one element for a bias of several, made by summing over both axes."""
    samples = case.axes.output_samples
    for bias in bias_gradients(case):
        p, g = bias.parameter, bias.gradient
        reduction = bias.reduction
        shape = bias.upstream.shape
        if reduction is None or len(reduction.axes) != len(shape) or int(np.prod(g.shape)) != 1:
            continue
        if int(np.prod(p.shape)) < 2 or (samples is not None and len(shape) != 2):
            continue
        tried = [(axes, case.biased(p, axes, bias.upstream)) for axes in _axes(shape, p.shape, samples)]
        axes, found = next(((a, f) for a, f in tried if f is not None and f[1] <= 1e-5), ((), None))
        if found is None:
            continue
        own = case.text(reduction.node.args[0]) if reduction.node.args else bias.upstream.name
        axis = axes[0] if len(axes) == 1 else axes
        fix = f"axis = {axis}" if axes else f"{own} itself"
        keepdims = len(p.shape) == len(shape) > 1
        edits = axis_edits(case, reduction.node, axis, keepdims=keepdims) if axes else (case.edit(reduction.node, own),)
        yield Sighting(
            node=reduction.node,
            message=f"the gradient of {p.name} is one number for all its {int(np.prod(p.shape))} biases: "
            f"{bias.upstream.name} {case.describe(shape)} is summed over {_all_of(shape)}",
            label=f"sums over {_all_of(shape)}",
            why=f"each bias has a derivative of its own, made of the entries of {bias.upstream.name} that belong to "
            "its unit; with one number all biases stay equal for ever",
            evidence=(
                Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),
                Evidence(
                    f"{bias.upstream.name}{f' summed over axis {axis}' if axes else ''} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=fix,
            edits=edits,
            objects=(g.object,),
        )


def _axes(shape: tuple[int, ...], wanted: tuple[int, ...], samples: int | None) -> Iterator[tuple[int, ...]]:
    """Axes to sum over: that of the samples, or any that leave the shape of the bias; unit axes come first."""
    if samples is not None:
        yield (samples,)
        return
    units = tuple(axis for axis, n in enumerate(shape) if n == 1)
    yield units
    left = tuple(n for n in wanted if n != 1)
    for count in range(1, len(shape)):
        for axes in combinations(range(len(shape)), count):
            if axes != units and tuple(n for a, n in enumerate(shape) if a not in axes and n != 1) == left:
                yield axes


def _all_of(shape: tuple[int, ...]) -> str:
    return "both axes" if len(shape) == 2 else "all its entries"
