"""BD314 dropout-mask-not-reused: the backward pass does not go through the mask that the forward pass went through.

What it does
------------
Finds a delta that goes back through a layer with dropout and leaves out the
mask.

Why it is wrong
---------------
N samples, H units. Dropout multiplies the layer by a mask of zeros and
1/(1-p), drawn anew at every step:

    D1 = A1 * mask                (N, H), element by element
    dA1 = dD1 * mask              the same mask, element by element

A unit that is switched off in a sample has no effect on the loss, so its
derivative there is 0. Without the mask it receives an error for what it did
not do, and the units that are on receive theirs without the factor 1/(1-p).

Example (samples first)
-----------------------
The delta of the hidden layer does not know of the mask::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        mask = (rng.random((200, 16)) < 0.8) / 0.8
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        D1 = A1 * mask
        Z2 = D1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = D1.T @ dZ2
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
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        mask = (rng.random((16, 200)) < 0.8) / 0.8
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        D1 = A1 * mask
        Z2 = W2 @ D1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ D1.T
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
The same mask as in the forward pass::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        mask = (rng.random((200, 16)) < 0.8) / 0.8
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        D1 = A1 * mask
        Z2 = D1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = D1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * mask * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (features first)
----------------------------
The same mask as in the forward pass::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        mask = (rng.random((16, 200)) < 0.8) / 0.8
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        D1 = A1 * mask
        Z2 = W2 @ D1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ D1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * mask * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
A mask is an array of the layer's shape with zeros and one other number in
it, that hangs on neither parameters nor data. Randomness is frozen, so that
every run draws the same one. The rule fires if a delta that is not the
derivative it is used as becomes it when it is multiplied by a mask: error
above 1e-3 before, below 1e-5 after.

Fix safety
----------
The mask is added at the end of the expression under the name it has. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- A mask that is used without its factor 1/(1-p) in one of both passes gives
  a constant, not a wrong direction (BD311).
- Masks that are drawn anew in the backward pass are reported as BD300.

References
----------
- Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014),
  Dropout: a simple way to prevent neural networks from overfitting, JMLR
  15, 1929-1958.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.5: backpropagation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned
from backprop_doctor.rules._lines import masks, wrong_lines

SEVERITY = "error"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """Multiply each wrong delta by each mask of its shape."""
    for line in case.once(wrong_lines):
        value = np.asarray(case.value(line.value), np.float64)
        for mask in reversed(case.once(masks)):
            array = aligned(mask.value, value.shape) if np.size(mask.value) == value.size else None
            if array is None or mask.index > line.value.index or not line.fits(value * array).right:
                continue
            name = case.roles.names.get(mask.object, "")
            node = case.home(line.value)
            text = case.text(node)
            bare = not isinstance(node, ast.BinOp) or isinstance(node.op, (ast.Mult, ast.MatMult))
            yield Sighting(
                node=node,
                message=f"{line.value.name} does not go through {name}, and the forward pass does",
                label=f"{name} is missing",
                why="a unit that is switched off has no effect on the loss: its derivative is 0 where the mask is 0",
                evidence=line.evidence(f"the same times {name}", line.fits(value * array)),
                fix=f"* {name}",
                edits=(case.edit(node, f"{text if bare else f'({text})'} * {name}"),) if name.isidentifier() else (),
                objects=(line.value.object,),
            )
            break
