"""BD312 wrong-variable-in-delta: a line of the backward pass reads another variable than the one that belongs there.

What it does
------------
Finds a line of the backward pass that reads another array than the one that
belongs there: a gradient for a weight, the prediction or the labels for the
error.

Why it is wrong
---------------
The chain rule says what each line is made of. Going back through Z2 = A1 @
W2 + b2, with N samples, H hidden units and C classes,

    dA1 = dZ2 @ W2.T              (N, C) @ (C, H) = (N, H)

dW2 has the shape of W2, and A2 and Y have the shape of dZ2, so that a name
that is one letter off raises nothing. The line below it is computed from a
number that has nothing to do with the loss.

Example (samples first)
-----------------------
The error goes back through the gradient dW2 and not through W2::

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
        dZ1 = (dZ2 @ dW2.T) * (1 - A1**2)
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
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (dW2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
The error goes back through the weights that the values came through::

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
Through the weights, transposed, on the left::

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
A line whose value is not the derivative it is used as (central differences,
given what the program computed before it) is run again several times, each
time with one of its arrays exchanged for another array of the same shape
that the program has at hand. If one exchange turns an error above 1e-3 into
one below 1e-5, that array is the one that belongs there. Here they play
different parts: a gradient for a parameter, a prediction or labels for an
error.

Fix safety
----------
One name is written for the other, where it means the same in that place;
elsewhere the finding only names the array that belongs there. If the line is
then right only up to a number of no meaning, the product of two arrays is
written that is the derivative itself. The changed
program is examined again from another seed, and the fix is called verified
only if the finding is gone and no error is new.

Known limits
------------
- Arrays of another shape cannot stand in for each other silently: the
  program breaks, and that is what is reported.
- A line with two wrong arrays is not mended by one exchange; it is reported
  as BD300.
- At most 40 exchanges are tried for a line.

References
----------
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, the four equations of backpropagation.
"""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.rules._lines import exchanges, is_overwritten, part_of
from backprop_doctor.rules._rewrites import mended

SEVERITY = "error"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """Exchange arrays that play different parts in each wrong line."""
    for found in case.once(exchanges):
        line, wanted = found.line, found.wanted
        parts = {part_of(case, found.event), part_of(case, case.trace.by_key[wanted.birth])}
        if len(parts) == 1 or parts == {"parameter", "layer"} or is_overwritten(found):
            continue
        text = case.text(found.node)
        better = mended(line)
        yield Sighting(
            node=found.node,
            message=f"{line.value.name} reads {text} where {wanted.name} belongs: it is not the gradient of "
            f"{line.of.name}",
            label=f"{wanted.name} belongs here",
            why=f"with {wanted.name} in its place the line is the derivative; with {text} it is made of another thing "
            "of the same shape",
            evidence=line.evidence(f"the same with {wanted.name} in the place of {text}", found.fit),
            fix=f"{better.text if better else wanted.name} in place of {case.text(better.node) if better else text}",
            edits=better.edits if better else (),
            objects=(line.value.object,),
        )
