"""BD308 weight-instead-of-input: a parameter stands where the values of a layer belong, or the reverse.

What it does
------------
Finds a line of the backward pass that multiplies by a weight where the
values of a layer belong, or by the values of a layer where a weight
belongs.

Why it is wrong
---------------
A product Z2 = A1 @ W2 has two derivatives, and each takes the other factor:

    dW2 = A1.T @ dZ2              the gradient of the weight takes the values
    dA1 = dZ2 @ W2.T              the delta of the values takes the weight

With as many samples as units, or where samples come one by one, weight and
values may have the same shape, and exchanging them goes unnoticed. A weight
gradient made of the weight itself vanishes where the weight is 0, whatever
the error is: such weights never move.

Example (samples first)
-----------------------
The gradient of W2 takes W2 itself::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(X @ rng.normal(size=(8, 8)))
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        A2 = A1 @ W2 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = W2.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dA1 = dZ2 @ W2.T
        dZ1 = dA1 * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(rng.normal(size=(8, 8)) @ X)
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    for step in range(15):
        A1 = np.tanh(W1 @ X + b1)
        A2 = W2 @ A1 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = dZ2 @ W2.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dA1 = W2.T @ dZ2
        dZ1 = dA1 * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
It takes what comes into the layer::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(X @ rng.normal(size=(8, 8)))
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        A2 = A1 @ W2 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dA1 = dZ2 @ W2.T
        dZ1 = dA1 * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

Use instead (features first)
----------------------------
What comes into the layer, transposed, on the right::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(rng.normal(size=(8, 8)) @ X)
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    for step in range(15):
        A1 = np.tanh(W1 @ X + b1)
        A2 = W2 @ A1 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dA1 = W2.T @ dZ2
        dZ1 = dA1 * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

How it is detected
------------------
A line whose value is not the derivative it is used as (central differences,
given what the program computed before it) is run again several times, each
time with one of its arrays exchanged for another array of the same shape
that the program has at hand. If one exchange turns an error above 1e-3 into
one below 1e-5, that array is the one that belongs there. Here a parameter
stands in the place of the values of a layer, or the reverse.

Fix safety
----------
One name is written for the other, where it means the same in that place;
elsewhere the finding only names the array that belongs there. The changed
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

SEVERITY = "error"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """Exchange a parameter for values of a layer, or the reverse, in each wrong line."""
    for found in case.once(exchanges):
        parts = part_of(case, found.event), part_of(case, case.trace.by_key[found.wanted.birth])
        if set(parts) != {"parameter", "layer"} or is_overwritten(found):
            continue
        why = "the gradient of a weight takes the values that come in, not the weight"
        if parts[0] == "layer":
            why = "going back, an error passes the weights that the values passed going forward"
        yield found.sighting("made of", why)
