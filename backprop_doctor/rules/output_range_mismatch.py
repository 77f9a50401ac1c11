"""BD108 output-range-mismatch: the output activation cannot reach the targets.

What it does
------------
Finds an output whose activation keeps it in a range that some of the
targets lie outside of.

Why it is wrong
---------------
A sigmoid gives numbers between 0 and 1, tanh between -1 and 1, ReLU none
below 0. A target outside of that range is never reached, whatever the
weights are, and the loss cannot fall below what is left. With targets of -1
and 1, a sigmoid is off by at least 1 for every -1. Units that have to
strain for it end up saturated, where the gradient vanishes.

Example (samples first)
-----------------------
Targets are -1 and 1, and the output is a sigmoid::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.sign(X @ rng.normal(size=(6, 2)))
    W1, b1 = 0.5 * rng.normal(size=(6, 10)), np.zeros((1, 10))
    W2, b2 = 0.5 * rng.normal(size=(10, 2)), np.zeros((1, 2))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        A2 = 1 / (1 + np.exp(-Z2))
        loss = np.sum((A2 - Y) ** 2) / (2 * len(X))
        dZ2 = (A2 - Y) * A2 * (1 - A2) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.3 * dW1
        b1 = b1 - 0.3 * db1
        W2 = W2 - 0.3 * dW2
        b2 = b2 - 0.3 * db2
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 200))
    Y = np.sign(rng.normal(size=(2, 6)) @ X)
    W1, b1 = 0.5 * rng.normal(size=(10, 6)), np.zeros((10, 1))
    W2, b2 = 0.5 * rng.normal(size=(2, 10)), np.zeros((2, 1))
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        A2 = 1 / (1 + np.exp(-Z2))
        loss = np.sum((A2 - Y) ** 2) / (2 * X.shape[1])
        dZ2 = (A2 - Y) * A2 * (1 - A2) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.3 * dW1
        b1 = b1 - 0.3 * db1
        W2 = W2 - 0.3 * dW2
        b2 = b2 - 0.3 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
tanh reaches from -1 to 1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.sign(X @ rng.normal(size=(6, 2)))
    W1, b1 = 0.5 * rng.normal(size=(6, 10)), np.zeros((1, 10))
    W2, b2 = 0.5 * rng.normal(size=(10, 2)), np.zeros((1, 2))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        A2 = np.tanh(Z2)
        loss = np.sum((A2 - Y) ** 2) / (2 * len(X))
        dZ2 = (A2 - Y) * (1 - A2**2) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.3 * dW1
        b1 = b1 - 0.3 * db1
        W2 = W2 - 0.3 * dW2
        b2 = b2 - 0.3 * db2
        print(step, loss)

Use instead (features first)
----------------------------
tanh reaches from -1 to 1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 200))
    Y = np.sign(rng.normal(size=(2, 6)) @ X)
    W1, b1 = 0.5 * rng.normal(size=(10, 6)), np.zeros((10, 1))
    W2, b2 = 0.5 * rng.normal(size=(2, 10)), np.zeros((2, 1))
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        A2 = np.tanh(Z2)
        loss = np.sum((A2 - Y) ** 2) / (2 * X.shape[1])
        dZ2 = (A2 - Y) * (1 - A2**2) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.3 * dW1
        b1 = b1 - 0.3 * db1
        W2 = W2 - 0.3 * dW2
        b2 = b2 - 0.3 * db2
        print(step, loss)

How it is detected
------------------
An output that is the sigmoid, tanh or ReLU of an earlier value, number by
number. That value is set to -1000 and to 1000 in two runs; what comes out
is the range. The rule fires if a target lies outside of it.

Fix safety
----------
No edit is proposed: to scale the targets, or to let the output be linear,
is a choice.

Known limits
------------
- Targets at the very ends of the range, such as 0 and 1 for a sigmoid, are
  usual and not reported.
- Only the first batch of targets is looked at.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.2: the output activation goes with the kind of target.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.2.2: output units.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity

SEVERITY = "warning"
ABOUT_DATA = True
Array = NDArray[np.float64]
FAR = 1000.0


def examine(case: Case) -> Iterator[Sighting]:
    """The range of the output, found by running, and the targets."""
    output, target = case.roles.output, case.judgement.target
    if output is None or target is None or not np.any(target):
        return
    # Where no gradient follows a loss, what was taken for targets may be none.
    if not any(gradient is not None and gradient.right for gradient in case.judgement.gradients.values()):
        return
    p = np.asarray(case.value(output), np.float64)
    # Only where a target lies outside of what the output happens to be is there anything to ask.
    if p.size == 0 or not np.all(np.isfinite(p)) or (target.min() >= p.min() and target.max() <= p.max()):
        return
    found = _input(case, output, p)
    if found is None:
        return
    name, z = found
    limits = (np.full_like(p, -FAR), np.full_like(p, FAR))
    ends = [case.changed({z.birth: always(at)}, output.birth) for at in limits]
    if any(end is None or not np.all(np.isfinite(end)) for end in ends):
        return
    low, high = float(np.min(ends[0])), float(np.max(ends[1]))
    high = float("inf") if high >= FAR else high
    if target.min() >= low - 1e-6 and target.max() <= high + 1e-6:
        return
    left = float(np.mean((target - np.clip(target, low, high)) ** 2))
    yield Sighting(
        node=case.home(output) if output.object not in case.binding else case.binding[output.object].node,
        message=f"{output.name} is a {name} and lies between {low:.3g} and {high:.3g}; the targets go from "
        f"{target.min():.3g} to {target.max():.3g}",
        label=f"never outside {low:.3g} to {high:.3g}",
        why="what the output cannot reach is left over as a loss, whatever the weights are",
        evidence=(
            Evidence(f"{output.name} with its input at -1000 and at 1000", f"{low:.3g} and {high:.3g}", "the targets"),
            Evidence("squared error that is left at best, a number", f"{left:.3g}", "0"),
        ),
        fix="scale the targets, or take another output",
    )


def _input(case: Case, output: Quantity, p: Array) -> tuple[str, Quantity] | None:
    """The usual function that the output is, and of which value."""
    for z in reversed(case.judgement.forward):
        if z.index >= output.index or z.shape != p.shape:
            continue
        value = np.asarray(case.value(z), np.float64)
        usual = {"sigmoid": 1 / (1 + np.exp(-value)), "tanh": np.tanh(value)}
        if np.any(value < 0):  # of what is above 0 a clip, or a sum divided by itself, cannot be told from a ReLU
            usual["ReLU"] = np.maximum(value, 0)
        for name, result in usual.items():
            if np.any(value != p) and np.allclose(result, p, rtol=1e-7, atol=1e-12):
                return name, z
    return None
