"""BD301 bias-gradient-wrong-axis: a bias gradient is summed over the units instead of the samples.

What it does
------------
Finds a bias gradient that is summed over the units of its layer instead of
the samples.

Why it is wrong
---------------
N samples, D features, C units. With samples in rows, Z = X @ W + b,

    z[i, c] = sum over d of x[i, d] * w[d, c] + b[c]

so b[c] is added to every sample, and each sample contributes to its
derivative:

    db[c] = sum over i of dZ[i, c],    (N, C) summed over axis 0 is (1, C)

The sum over axis 1 has shape (N, 1). The update b - lr * db then broadcasts
(1, C) with (N, 1) to (N, C) without a word: the bias has grown to one row a
sample. It can learn the training samples by heart, and it fits no other
number of samples. Behind a softmax with dZ = A - Y the wrong sum is even zero
up to rounding, since the rows of A and of Y both sum to 1: the bias never
learns. With samples in columns read (C, N), axis 1 and (C, 1).

Example (samples first)
-----------------------
dZ is (200, 3); axis 1 are the classes::

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
        db = dZ.sum(axis=1, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Example (features first)
------------------------
dZ is (3, 200); axis 0 are the classes::

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
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Sum over the samples, axis 0; db is (1, 3) like b::

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
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (features first)
----------------------------
Sum over the samples, axis 1; db is (3, 1) like b::

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
        db = dZ.sum(axis=1, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
For each parameter whose gradient does not fit, the call is found that reduced
a two-dimensional array of the backward pass over one axis. The same array is
summed over the other axis and compared with the numeric gradient of the
parameter. If it is proportional with a relative error below 1e-5, the axis is
the fault.

Fix safety
----------
The axis is changed, and keepdims=True is added where the shape needs it. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new. Factors such as 1/N
stay as they are.

Known limits
------------
- The sum has to be a call on a two-dimensional array, such as np.sum(dZ, 1)
  or dZ.mean(axis=1). A loop, np.einsum or a product with ones is not
  recognised; the grown bias is then reported as BD405.
- The sum is judged on the delta as it stands; whether the delta is right is a
  question for other rules.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2: the derivative by the bias is the delta, summed over the samples
  of the batch.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3: error backpropagation.
- NumPy user guide, Broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.records import Evidence
from backprop_doctor.rules._bias import bias_gradients, growth

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Find the reduction that made a bias gradient; see whether the sum over another axis is the gradient."""
    for bias in bias_gradients(case):
        reduction = bias.reduction
        if reduction is None or len(reduction.axes) != 1 or np.ndim(reduction.operand.value) != 2:
            continue
        right_axis = 1 - reduction.axes[0]
        found = case.biased(bias.parameter, (right_axis,), bias.upstream)
        if found is None or found[1] > 1e-5:
            continue
        p, g = bias.parameter, bias.gradient
        operand = np.shape(reduction.operand.value)
        over, right = (case.axes.words(case.axes.of(operand)[axis]) for axis in (reduction.axes[0], right_axis))
        yield Sighting(
            node=reduction.node,
            message=f"the gradient of {p.name} is summed over the {over}, not over the {right}: "
            f"{g.name} is {case.describe(g.shape)}, {p.name} is {case.describe(p.shape)}",
            label=f"sums over the {operand[reduction.axes[0]]} {over}",
            why=f"{p.name} is added to every sample, so every sample contributes its row of "
            f"{bias.upstream.name}: sum over samples",
            evidence=(
                Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),
                Evidence(
                    f"{bias.upstream.name} summed over axis {right_axis} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=f"axis = {right_axis}",
            edits=axis_edits(case, reduction.node, right_axis, keepdims=right_axis == 1 or len(p.shape) == 2),
            symptoms=growth(case, p),
            objects=(g.object,),
        )
