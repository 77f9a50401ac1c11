"""BD102 softmax-over-samples: the softmax normalises over the samples instead of the classes.

What it does
------------
Finds a softmax whose maximum and sum run over the samples instead of the
classes.

Why it is wrong
---------------
N samples, C classes. The probability of class c for sample i is

    a[i, c] = exp(z[i, c]) / sum over k of exp(z[i, k])

and the sum runs over the C classes of that one sample. In an array of shape
(N, C) the classes are axis 1, in one of shape (C, N) they are axis 0. Over
the other axis the probabilities of a sample do not sum to 1, and every sample
changes those of all others. The output bias has no effect at all, because it
adds the same number to every entry of a sum and cancels. The loss starts near
ln N instead of ln C: at 5.30 = ln 200 instead of 1.10 = ln 3 in the example.
Nothing fails in the run, since N probabilities sum to 1 as well as C do.

Example (samples first)
-----------------------
Z is (200, 3); axis 0 are the samples::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Example (features first)
------------------------
Z is (3, 200); axis 1 are the samples::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = (A - Y) / X.shape[1]
        dW = dZ @ X.T
        db = dZ.sum(axis=1, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
One maximum and one sum a row, kept as a column of shape (200, 1)::

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
One maximum and one sum a column, kept as a row of shape (1, 200)::

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
The output is summed over both axes. The rule fires if its numbers do not sum
to 1 for every sample, while those of each class do. Which axis holds the
samples is found by changing one sample and looking at what moves. Each line
on the way to the output that reduces an array of the output's shape over the
samples (the maximum and the sum) is blamed.

Fix safety
----------
The axis of each reduction is changed, and keepdims=True is added where
broadcasting needs it. All these edits belong together. The changed program is
examined again from another seed, and the fix is called verified only if the
finding is gone and no error is new.

Known limits
------------
- The output has to be a two-dimensional array of numbers that are not
  negative; log-probabilities are not examined.
- A softmax over the whole array is not this fault and is not reported here.
- A reduction written as a loop or as a product with ones is noticed by its
  result, but there is no line to blame: the rule stays silent.
- On a batch of one sample the question has no meaning.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4: the softmax of several classes and its gradient.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.2.2.3: softmax output units.
- NumPy reference, numpy.sum (axis and keepdims):
  https://numpy.org/doc/stable/reference/generated/numpy.sum.html
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Reduction, Sighting, axis_edits
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.records import Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Sum the output over both axes; blame every reduction over the samples on the way to it."""
    output = case.roles.output
    if output is None or normalised_over(case) != "samples":
        return
    samples = case.axes.output_samples or 0
    classes = 1 - samples
    p = np.asarray(case.value(output))
    totals = p.sum(axis=classes)
    worst = int(np.argmax(np.abs(totals - 1)))
    evidence = (
        Evidence(f"{output.name} summed over the classes of sample {worst}", f"{totals[worst]:.3g}", "1 within 1e-6"),
        Evidence(f"{output.name} summed over all samples of a class", f"{p.sum(axis=samples)[0]:.3g}", "any number"),
    )
    statements: dict[int, list[Reduction]] = {}
    for reduction in case.reductions():
        forward = case.roles.forward(reduction.event) and reduction.event.index <= output.index
        if forward and reduction.axes == (samples,) and np.shape(reduction.operand.value) == p.shape:
            statements.setdefault(case.program.sites[reduction.event.site].line, []).append(reduction)
    for found in statements.values():
        edits = [e for r in found for e in axis_edits(case, r.node, classes, keepdims=classes == 1)]
        yield Sighting(
            node=found[0].node,
            message=f"the softmax runs over the samples: {output.name} is {case.describe(p.shape)} "
            f"and each column of one class sums to 1, not each sample",
            label=f"runs over the {p.shape[samples]} samples",
            why="softmax of sample i is exp(z_ic) / sum over c: the sum belongs over the classes of that "
            "sample; over the samples, every image changes the probabilities of all others",
            evidence=evidence,
            fix=f"axis = {classes}" + (", keepdims = True" if classes == 1 else ""),
            edits=tuple(edits),
            objects=(output.object, found[0].event.object),
        )
