"""BD106 bias-missing: no parameter can move the output for an input of zeros.

What it does
------------
Notes that the network has no bias anywhere, so that its output for an input
of zeros is fixed.

Why it is wrong
---------------
A layer without a bias maps 0 to act(0):

    act(0 @ W) = act(0)           whatever W of shape (D, H) is

and with it the output at 0 is the same for all weights: 0 for tanh, one
half for the sigmoid, equal parts for a softmax. Every boundary of a first
layer goes through 0. With data that are centred this may do no harm, and
small examples often leave biases out on purpose.

Example (samples first)
-----------------------
No layer has a bias::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5))
    Y = np.tanh(X @ rng.normal(size=(5, 2)) + 1)
    W1 = rng.normal(size=(5, 8))
    W2 = 0.3 * rng.normal(size=(8, 2))
    for step in range(15):
        H = np.tanh(X @ W1)
        P = np.tanh(H @ W2)
        loss = np.sum((P - Y) ** 2) / (2 * len(X))
        D = (P - Y) * (1 - P**2) / len(X)
        back = (D @ W2.T) * (1 - H**2)
        W2 = W2 - 0.5 * H.T @ D
        W1 = W1 - 0.5 * X.T @ back
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 100))
    Y = np.tanh(rng.normal(size=(2, 5)) @ X + 1)
    W1 = rng.normal(size=(8, 5))
    W2 = 0.3 * rng.normal(size=(2, 8))
    for step in range(15):
        H = np.tanh(W1 @ X)
        P = np.tanh(W2 @ H)
        loss = np.sum((P - Y) ** 2) / (2 * X.shape[1])
        D = (P - Y) * (1 - P**2) / X.shape[1]
        back = (W2.T @ D) * (1 - H**2)
        W2 = W2 - 0.5 * D @ H.T
        W1 = W1 - 0.5 * back @ X.T
        print(step, loss)

Use instead (samples first)
---------------------------
The first layer has one::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5))
    Y = np.tanh(X @ rng.normal(size=(5, 2)) + 1)
    W1, b1 = rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2 = 0.3 * rng.normal(size=(8, 2))
    for step in range(15):
        H = np.tanh(X @ W1 + b1)
        P = np.tanh(H @ W2)
        loss = np.sum((P - Y) ** 2) / (2 * len(X))
        D = (P - Y) * (1 - P**2) / len(X)
        back = (D @ W2.T) * (1 - H**2)
        W2 = W2 - 0.5 * H.T @ D
        W1 = W1 - 0.5 * X.T @ back
        b1 = b1 - 0.5 * back.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (features first)
----------------------------
The first layer has one::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 100))
    Y = np.tanh(rng.normal(size=(2, 5)) @ X + 1)
    W1, b1 = rng.normal(size=(8, 5)), np.zeros((8, 1))
    W2 = 0.3 * rng.normal(size=(2, 8))
    for step in range(15):
        H = np.tanh(W1 @ X + b1)
        P = np.tanh(W2 @ H)
        loss = np.sum((P - Y) ** 2) / (2 * X.shape[1])
        D = (P - Y) * (1 - P**2) / X.shape[1]
        back = (W2.T @ D) * (1 - H**2)
        W2 = W2 - 0.5 * D @ H.T
        W1 = W1 - 0.5 * back @ X.T
        b1 = b1 - 0.5 * back.sum(axis=1, keepdims=True)
        print(step, loss)

How it is detected
------------------
Only where no parameter has the form of a bias, one number a unit: the
inputs are set to 0 in two runs, with two sets of weights. The note is made
if the output is the same in both.

Fix safety
----------
No edit is proposed: a bias needs a gradient and an update as well.

Known limits
------------
- A column of ones among the inputs is a bias; inputs with a column that
  never changes are not reported.
- A choice, not a fault.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.1: biases as weights of an input that is always 1.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 1: perceptrons and biases.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.records import Evidence

SEVERITY = "note"


def examine(case: Case) -> Iterator[Sighting]:
    """The output for inputs of zeros, with two sets of weights."""
    output, batch, parameters = case.roles.output, case.roles.batch, case.roles.parameters
    if output is None or any(sum(n > 1 for n in p.shape) < 2 for p in [*parameters, *case.roles.constants]):
        return
    inputs = np.asarray(case.value(batch), np.float64)
    if inputs.ndim != 2 or any(np.any(np.ptp(inputs, axis=a) == 0) for a in (0, 1)):
        return
    still = {batch.birth: always(np.zeros_like(inputs))}
    other = {p.birth: always(2 * np.asarray(case.value(p), np.float64)) for p in parameters}
    first, second = case.changed(still, output.birth), case.changed({**still, **other}, output.birth)
    if first is None or second is None or not np.allclose(first, second, rtol=1e-12, atol=1e-12):
        return
    moved = case.changed(other, output.birth)
    if moved is None or np.allclose(moved, case.value(output)):
        return
    yield Sighting(
        node=case.home(output) if output.object not in case.binding else case.binding[output.object].node,
        message=f"no parameter moves {output.name} for an input of zeros: there is no bias",
        label="no bias",
        evidence=(Evidence(f"change of {output.name} at 0 when all weights are doubled", "0", "not 0, with a bias"),),
    )
