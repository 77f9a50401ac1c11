"""BD206 sum-vs-mean: loss and gradient are summed over the samples, so that the step grows with their number.

What it does
------------
Notes that the loss and its gradient are sums over the samples and not
means.

Why it is wrong
---------------
A sum over N samples has N times the gradient of the mean, with arrays of
the same shape:

    W = W - rate * sum of g[i]  =  W - (rate * N) * mean of g[i]

Nothing is wrong with that. But a rate that was found with 100 samples is a
hundred times too large with 10,000, and losses of sets of different sizes
cannot be compared. Textbooks use both.

Example (samples first)
-----------------------
Neither loss nor gradient is divided by the number of samples::

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
        loss = -np.sum(Y * np.log(A2 + 1e-12))
        dZ2 = A2 - Y
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
        loss = -np.sum(Y * np.log(A2 + 1e-12))
        dZ2 = A2 - Y
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
Both are means::

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
Both are means::

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
The declared loss is compared, number by number, with the sum of the usual
losses over all samples, and each gradient with the derivative of that sum:
the note is made where all agree with a factor of 1 (or 2 or 1/2) and the
batch has more than four samples.

Fix safety
----------
No edit is proposed: the rate would have to change with it.

Known limits
------------
- A convention, not a fault.
- Where loss and gradient differ by a constant, BD201 says so.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.3: stochastic gradient descent and momentum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "note"
FEW = 4
SIMPLE = (1.0, 2.0, 0.5)


def examine(case: Case) -> Iterator[Sighting]:
    """Losses and gradients that are sums over the samples."""
    output, target, declared, n = case.roles.output, case.judgement.target, case.judgement.declared, case.samples
    if output is None or target is None or declared is None or n <= FEW or not case.judgement.declared_fits:
        return
    p = np.asarray(case.value(output), np.float64)
    if p.shape != target.shape:
        return
    with np.errstate(all="ignore"):
        sums = (
            float(np.sum((p - target) ** 2)),
            -float(np.sum(target * np.log(p))),
            -float(np.sum(target * np.log(p) + (1 - target) * np.log(1 - p))),
        )
    value = float(np.sum(case.value(declared)))
    found = [s for s in sums if np.isfinite(s) and s and any(abs(value / (k * s) - 1) < 1e-6 for k in SIMPLE)]
    gradients = [case.gradient(p) for p in case.roles.parameters]
    totals = [case.total_factor(g) if g is not None and g.right else None for g in gradients]
    if not found or not all(t is not None and any(abs(abs(t) / k - 1) < 1e-4 for k in SIMPLE) for t in totals):
        return
    yield Sighting(
        node=case.home(declared),
        message=f"{declared.name} and the gradients are sums over the {n} samples: the step grows with their number",
        label="a sum, not a mean",
        evidence=(Evidence(f"{declared.name} over the mean of the samples", f"{n}", "1, for a mean"),),
    )
