"""BD701 exp-overflow: an activation overflows to infinity or NaN for large arguments.

What it does
------------
Warns that an activation written with np.exp turns into NaN or infinity when
its argument is large.

Why it is wrong
---------------
The formula is right and float64 is not wide enough for it: np.exp(z) is
infinite from z = 710 on. For tanh, written out for an array of shape (N, H),

    (exp(z) - exp(-z)) / (exp(z) + exp(-z))  ->  inf / inf = NaN

although tanh(710) is 1. One NaN reaches the whole network through the next
product and the next update. It works as long as weights and inputs are small,
and fails on the day they are not: with inputs that were not scaled, a large
learning rate, or long training.

Example (samples first)
-----------------------
tanh from four exponentials::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = (np.exp(Z1) - np.exp(-Z1)) / (np.exp(Z1) + np.exp(-Z1))
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

Use instead (samples first)
---------------------------
np.tanh is finite everywhere::

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

How it is detected
------------------
The weight matrices are made 100,000 times as large, one after the other, and
the forward pass is run. If the output is not finite, the first expression
whose value is not finite is reported, with the matrix that was enlarged.

Fix safety
----------
No edit is made. np.tanh replaces a tanh; a softmax becomes safe by
subtracting the largest entry of each sample from its logits first, which
changes no probability; a sigmoid can be written as 0.5 * (1 + np.tanh(z /
2)).

Known limits
------------
- It is a warning: at the program's own weights nothing may ever overflow.
- 1 / (1 + np.exp(-z)) overflows inside for very negative z and gives 0, which
  is right. numpy prints a warning; this rule is silent, since the output
  stays finite.
- Only overflow on the way to the output is looked at. For the logarithm in
  the loss there is BD703.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  4.1: overflow and underflow.
- Blanchard, Higham and Higham (2021), Accurately computing the log-sum-exp
  and softmax functions, IMA Journal of Numerical Analysis 41.
- NumPy reference, numpy.tanh:
  https://numpy.org/doc/stable/reference/generated/numpy.tanh.html
"""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.saturation import LARGE, blowups
from backprop_doctor.records import Evidence

SEVERITY = "warning"


def examine(case: Case) -> Iterator[Sighting]:
    """Make the weights very large; a NaN in the output is reported where it first appears."""
    seen: set[int] = set()
    for blowup in blowups(case):
        site = case.program.sites[blowup.event.site]
        if blowup.underflow or id(site.statement) in seen:
            continue
        seen.add(id(site.statement))
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} overflows when its argument is large: the output becomes {blowup.output}",
            label="overflows",
            why="exp(710) is infinite in float64, and infinity / infinity is NaN",
            evidence=(Evidence(f"output with {blowup.pushed.name} {LARGE:g} times as large", blowup.output, "finite"),),
            fix="np.tanh, or subtract the largest argument first",
        )
