"""BD703 log-of-zero: the loss becomes infinite or NaN when a probability saturates.

What it does
------------
Warns that the loss takes the logarithm of a probability that can become
exactly 0.

Why it is wrong
---------------
Mathematically a softmax is never 0; in float64 exp(-746) is. For one sample
with logits z, shape (C,), the probability of class c is exp(z[c] - max z) /
sum, and is 0 as soon as z[c] lies some 750 below the largest. Then

    np.log(0) = -inf,    and for the other classes, y = 0, 0 * -inf = NaN

The gradient A - Y is not touched by this, so training goes on while the loss
shows nan: it looks like a broken network and is a broken display.

Example (samples first)
-----------------------
Nothing keeps A away from 0::

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
        loss = -np.sum(Y * np.log(A)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Add a constant far below any probability that matters, or clip A. Exact, and
best, is the logarithm of the softmax itself: Z less its row maximum, less
np.log of the row sum of E::

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

How it is detected
------------------
The output is replaced by zeros and ones that disagree with the labels, as a
saturated network may give them. The first call after the output that is not
finite and has an exact 0 among its operands is reported, with what becomes of
the loss; not, though, where the output stays above 0 whatever the logits are,
because it was clipped on the way.

Fix safety
----------
No edit is made, and none is needed for training. A constant of 1e-12 changes
the loss of a sample by at most 1e-8 as long as the probability of its class
is above 1e-4.

Known limits
------------
- It is a warning: with small weights and short training no probability comes
  near 0.
- The labels have to be one-hot (zeros and ones), and the loss has to be
  computed from the output.
- A constant inside the logarithm caps the loss of a sample, at 27.6 for
  1e-12.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  4.1: overflow and underflow, with the softmax as the example.
- Blanchard, Higham and Higham (2021), Accurately computing the log-sum-exp
  and softmax functions, IMA Journal of Numerical Analysis 41.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity

SEVERITY = "warning"

# Logits so far apart give exactly 0 in a softmax, and in a sigmoid; the smaller ones do not overflow exp.
SPANS = (400.0, 750.0)
TRIED = 8


def examine(case: Case) -> Iterator[Sighting]:
    """Put exact zeros and ones in place of the output, as float64 does for logits 750 apart."""
    output, target = case.roles.output, case.judgement.target
    if output is None or target is None or not case.judgement.losses:
        return
    saturated = np.roll(np.asarray(target, np.float64), 1, axis=-1) if np.ndim(target) else np.asarray(target)
    if np.array_equal(saturated, target):
        saturated = 1.0 - target
    if set(np.unique(saturated)) - {0.0, 1.0}:
        return
    trace = case.measurement.run({output.birth: always(saturated)})
    for event in case.step_events:
        if event.index < output.index:
            continue
        site = case.program.sites[event.site]
        value = trace.value(event.key)
        if value is None or not isinstance(site.node, ast.Call) or np.all(np.isfinite(np.asarray(value, float))):
            continue
        if not any(
            np.any(np.asarray(trace.value(c.key)) == 0) for c in case.children(event) if trace.value(c.key) is not None
        ):
            continue
        if not _reaches(case, output, saturated):
            return
        loss = case.judgement.declared
        shown = trace.value(loss.birth) if loss else None
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} is -infinity when a probability is exactly 0, and the loss "
            f"becomes {'NaN' if shown is not None and np.any(np.isnan(shown)) else 'infinite'}",
            label="log of 0",
            why="a softmax or sigmoid gives exactly 0 in float64 for logits some 750 apart; 0 * log(0) is NaN",
            evidence=(
                Evidence(
                    "loss with saturated probabilities",
                    "NaN" if shown is not None and np.any(np.isnan(shown)) else "infinite",
                    "finite",
                ),
            ),
            fix="add a small constant inside the log, np.log(p + 1e-12), or clip p",
            objects=(),
        )
        return


def _reaches(case: Case, output: Quantity, saturated: NDArray[np.float64]) -> bool:
    """Whether the output can be exactly 0 at all: it may be a copy that was clipped before."""
    before = [q for q in case.judgement.forward if q.index < output.index and q.shape == output.shape][-TRIED:]
    finite = False
    for logits in before:
        for span in SPANS:
            value = case.changed({logits.birth: always((2 * saturated - 1) * span)}, output.birth)
            if value is None or not np.all(np.isfinite(value)):
                continue
            if np.any(value == 0):
                return True
            finite = True
    return not finite
