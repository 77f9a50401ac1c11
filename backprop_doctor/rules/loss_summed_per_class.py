"""BD207 loss-summed-per-class: an intermediate loss has one number a class instead of one a sample.

What it does
------------
Notes that an array between output and loss holds one number for each class
where one number for each sample is usual.

Why it is wrong
---------------
The total is right. With Y and A of shape (N, C), samples in rows,

    np.sum(Y * np.log(A), axis=1)    has shape (N,), one loss a sample
    np.sum(Y * np.log(A), axis=0)    has shape (C,), one number a class

and a sum over either is the same double sum. The difference shows as soon as
the array is used in another way: np.mean of it divides by C instead of N, the
loss of a sample cannot be looked up in it, and samples cannot be weighted.

Example (samples first)
-----------------------
The first sum runs over the samples (axis 0)::

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
        losses = -np.sum(Y * np.log(A + 1e-12), axis=0)
        loss = np.sum(losses) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Sum over the classes first; what remains is the loss of each sample::

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
        losses = -np.sum(Y * np.log(A + 1e-12), axis=1)
        loss = np.sum(losses) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
Every reduction of the first step that depends on parameters and labels and
comes before the loss is looked at. The rule fires for the first one that
takes an array of the output's shape and reduces it over the sample axis
alone, and on whose result the loss depends. The sample axis is found by
running, not by its position.

Fix safety
----------
No edit is proposed: the number shown is right, and lines further down may
rely on the shape.

Known limits
------------
- The loss has to be computed in the program, and the output has to be an
  array of samples and at least two classes.
- It is a note on the shape only. If the per-class numbers are averaged over C
  afterwards, the factor between loss and gradient is reported as BD201.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4: cross-entropy as a double sum over samples and classes.
- NumPy reference, numpy.sum (axis and keepdims):
  https://numpy.org/doc/stable/reference/generated/numpy.sum.html
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "note"


def examine(case: Case) -> Iterator[Sighting]:
    """A reduction over the samples between output and loss that leaves the classes standing."""
    samples, declared, output = case.axes.output_samples, case.judgement.declared, case.roles.output
    if samples is None or declared is None or output is None or len(output.shape) != 2 or output.shape[1 - samples] < 2:
        return
    for reduction in case.reductions():
        event = reduction.event
        if not case.roles.backward(event) or event.index > declared.index or reduction.axes != (samples,):
            continue
        if np.shape(reduction.operand.value) != np.shape(case.value(output)):
            continue
        moved = case.measurement.run({event.key: lambda v: v * (1 + 1e-3)}, keep=frozenset({declared.birth}))
        if np.array_equal(moved.value(declared.birth), case.value(declared)):
            continue
        yield Sighting(
            node=reduction.node,
            message=f"summed over the samples first: the result {case.describe(np.shape(event.value))} is one number "
            "a class; the total is right all the same",
            label="one number a class, not a sample",
            evidence=(Evidence("shape", case.describe(np.shape(event.value)), case.describe((case.samples,))),),
        )
        return
