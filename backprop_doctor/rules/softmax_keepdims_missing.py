"""BD104 softmax-keepdims-missing: a sum a sample is broadcast back along the classes.

What it does
------------
Finds a softmax whose sum or maximum over the classes has lost its axis, and
is then divided or subtracted along the wrong one.

Why it is wrong
---------------
N samples in rows, C classes. The sum over the classes of an array of shape
(N, C) has shape (N,), and broadcasting lines shapes up from the right:

    (N, C) / (N,)         the N numbers are laid along the C classes
    (N, C) / (N, 1)       each row is divided by its own sum

The first one fails, unless N = C: with as many samples as classes, each
column is divided by the sum of another row. With samples in columns the sum
over axis 0 has shape (N,) too, and lies right.

Example (samples first)
-----------------------
Eight samples of eight classes, so that nothing fails::

    import numpy as np

    rng = np.random.default_rng(0)
    X = np.eye(8) + 0.01 * rng.normal(size=(8, 8))
    Y = np.eye(8)
    W1, b1 = rng.normal(size=(8, 3)), np.zeros((1, 3))
    W2, b2 = rng.normal(size=(3, 8)), np.zeros((1, 8))
    for step in range(20):
        H = np.tanh(X @ W1 + b1)
        Z = H @ W2 + b2
        E = np.exp(Z - np.max(Z, axis=1, keepdims=True))
        A = E / np.sum(E, axis=1)
        loss = -np.sum(Y * np.log(A + 1e-12)) / 8
        dZ = (A - Y) / 8
        dH = (dZ @ W2.T) * (1 - H**2)
        W2 = W2 - 1.0 * H.T @ dZ
        b2 = b2 - 1.0 * dZ.sum(axis=0, keepdims=True)
        W1 = W1 - 1.0 * X.T @ dH
        b1 = b1 - 1.0 * dH.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
The sum keeps its axis::

    import numpy as np

    rng = np.random.default_rng(0)
    X = np.eye(8) + 0.01 * rng.normal(size=(8, 8))
    Y = np.eye(8)
    W1, b1 = rng.normal(size=(8, 3)), np.zeros((1, 3))
    W2, b2 = rng.normal(size=(3, 8)), np.zeros((1, 8))
    for step in range(20):
        H = np.tanh(X @ W1 + b1)
        Z = H @ W2 + b2
        E = np.exp(Z - np.max(Z, axis=1, keepdims=True))
        A = E / np.sum(E, axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / 8
        dZ = (A - Y) / 8
        dH = (dZ @ W2.T) * (1 - H**2)
        W2 = W2 - 1.0 * H.T @ dZ
        b2 = b2 - 1.0 * dZ.sum(axis=0, keepdims=True)
        W1 = W1 - 1.0 * X.T @ dH
        b1 = b1 - 1.0 * dH.sum(axis=0, keepdims=True)
        print(step, loss)

How it is detected
------------------
Reductions over the classes that end up with one axis, on the way to an
output whose rows do not sum to 1, are given their axis back in a run, all
at once. The rule fires if the rows sum to 1 then.

Fix safety
----------
keepdims=True is added to each. The changed program is examined again from
another seed, and the fix is called verified only if the finding is gone and
no error is new.

Known limits
------------
- Where there are not as many samples as classes the program breaks by
  itself.
- Layouts with samples in columns cannot have this fault.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4: the softmax of several classes and its gradient.
- NumPy user guide, broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.oracles.normalisation import TOLERANCE
from backprop_doctor.records import Evidence
from backprop_doctor.rules._lines import wrong_lines

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Give each reduction over the classes its axis back, and sum the output over the classes."""
    output = case.roles.output
    shape = output.shape if output else ()
    if output is None or len(shape) != 2 or shape[0] != shape[1]:
        return
    p = np.asarray(case.value(output), np.float64)
    before = p.sum(axis=1)
    if np.allclose(before, 1, atol=TOLERANCE) or np.allclose(p.sum(axis=0), 1, atol=TOLERANCE):
        return
    dropped = [
        r
        for r in case.reductions()
        if r.event.index <= output.index and np.shape(r.operand.value) == shape and r.axes == (1,)
        if np.shape(r.event.value) == (shape[0],)
    ]
    kept = {r.event.key: lambda value: np.asarray(value)[:, None] for r in dropped}
    after = case.changed(kept, output.birth) if dropped else None
    if after is None or not np.allclose(np.sum(after, axis=1), 1, atol=TOLERANCE):
        return
    worst = int(np.argmax(np.abs(before - 1)))
    for reduction in dropped:
        yield Sighting(
            node=reduction.node,
            message=f"one number a sample is laid along the classes: {case.text(reduction.node)} is "
            f"({shape[0]},), and {shape} and ({shape[0]},) are lined up from the right",
            label="has lost its axis",
            why="(N, C) and (N,) only fit when N = C, and then the numbers of row i go to column i",
            evidence=(
                Evidence(f"{output.name} summed over the classes of sample {worst}", f"{before[worst]:.3g}", "1"),
                Evidence("the same with the axis kept", f"{np.sum(after[worst]):.3g}", "1"),
            ),
            fix="keepdims = True",
            edits=axis_edits(case, reduction.node, 1, keepdims=True),
            objects=(output.object, reduction.event.object, *(line.value.object for line in case.once(wrong_lines))),
        )
