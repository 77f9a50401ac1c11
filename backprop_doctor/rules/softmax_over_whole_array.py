"""BD103 softmax-over-whole-array: the softmax divides by one sum for the whole batch.

What it does
------------
Finds a softmax whose denominator is a single number: the sum over all
samples and all classes.

Why it is wrong
---------------
N samples, C classes. The probability of class c for sample i is

    a[i, c] = exp(z[i, c]) / sum over k of exp(z[i, k])

with one sum a sample. With one sum for the whole array of N * C numbers,
all probabilities of the batch together are 1, those of a sample about 1/N,
and every sample changes those of all others. The loss starts near ln(N C)
instead of ln C. With a batch of one sample both are the same, so that such
a function passes every test with one vector.

Example (samples first)
-----------------------
np.sum without an axis gives one number::

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
        A2 = E / E.sum()
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

Example (features first)
------------------------
np.sum without an axis gives one number::

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
        A2 = E / np.sum(E)
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

Use instead (samples first)
---------------------------
One sum a row::

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
One sum a column::

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
The output is summed over both axes: all of it sums to 1, and the samples do
not. Every full reduction of an array of the output's shape is then changed
by a thousandth; the ones that change the output are blamed. (A maximum over
the whole array only shifts, and changes nothing.)

Fix safety
----------
The axis of the classes is given, with keepdims=True where broadcasting
needs it. The changed program is examined again from another seed, and the
fix is called verified only if the finding is gone and no error is new.

Known limits
------------
- The output has to be two-dimensional and not negative.
- On a batch of one sample the question has no meaning.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4: the softmax of several classes and its gradient.
- NumPy reference, numpy.sum (axis and keepdims):
  https://numpy.org/doc/stable/reference/generated/numpy.sum.html
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.records import Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """All of the output sums to 1: blame each full reduction on the way to it that has an effect."""
    output, samples = case.roles.output, case.axes.output_samples
    if output is None or samples is None or normalised_over(case) != "everything":
        return
    p = np.asarray(case.value(output))
    for reduction in case.reductions():
        event = reduction.event
        on_the_way = case.roles.forward(event) and event.index <= output.index
        if not on_the_way or reduction.axes != (0, 1) or np.shape(reduction.operand.value) != p.shape:
            continue
        if np.allclose(case.changed({event.key: lambda value: value * 1.001}, output.birth), p, rtol=1e-9, atol=0):
            continue
        yield Sighting(
            node=reduction.node,
            message=f"the softmax divides by one sum over all of {case.describe(p.shape)}: the probabilities of a "
            "sample do not sum to 1, those of the whole batch do",
            label=f"one number for all {p.shape[samples]} samples",
            why="softmax of sample i is exp(z_ic) / sum over c: one sum a sample, over its own classes",
            evidence=(
                Evidence(f"sum of all of {output.name}", f"{p.sum():.3g}", f"{p.shape[samples]}"),
                Evidence("sum over the classes of one sample", f"{p.sum(axis=1 - samples)[0]:.3g}", "1 within 1e-6"),
            ),
            fix=f"axis = {1 - samples}" + (", keepdims = True" if samples == 0 else ""),
            edits=axis_edits(case, reduction.node, 1 - samples, keepdims=samples == 0),
            objects=(output.object, event.object),
        )
