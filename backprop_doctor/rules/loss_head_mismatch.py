"""BD205 loss-head-mismatch: the loss of one kind of output is taken for another kind.

What it does
------------
Finds the cross-entropy of a softmax, which looks at the outputs with label
1 only, taken over outputs that are sigmoids of their own.

Why it is wrong
---------------
With a softmax the C outputs of a sample share a total of 1, and pushing the
right one up pushes the others down: - sum(y log p) is enough. Sigmoids
share nothing. Then

    - sum(y log p)

is smallest, namely 0, where every output is 1, whatever the labels are.
What an output says where its label is 0 is never counted. The loss for
sigmoids has both terms: - sum(y log p + (1 - y) log(1 - p)), over N samples
and C outputs.

Example (samples first)
-----------------------
The loss counts outputs with label 1 alone, and the gradient is exact::

    import numpy as np

    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 8))
    Y = (X @ rng.normal(size=(8, 4)) > 0).astype(float)
    W, b = 0.3 * rng.normal(size=(8, 4)), np.zeros((1, 4))
    for step in range(15):
        P = 1 / (1 + np.exp(-(X @ W + b)))
        Q = np.clip(P, 1e-9, 1 - 1e-9)
        loss = -np.sum(Y * np.log(Q)) / len(X)
        d = -Y * (1 - P) / len(X)
        W = W - 0.5 * X.T @ d
        b = b - 0.5 * d.sum(axis=0, keepdims=True)
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(1)
    X = rng.normal(size=(8, 150))
    Y = (rng.normal(size=(4, 8)) @ X > 0).astype(float)
    W, b = 0.3 * rng.normal(size=(4, 8)), np.zeros((4, 1))
    for step in range(15):
        P = 1 / (1 + np.exp(-(W @ X + b)))
        Q = np.clip(P, 1e-9, 1 - 1e-9)
        loss = -np.sum(Y * np.log(Q)) / X.shape[1]
        d = -Y * (1 - P) / X.shape[1]
        W = W - 0.5 * d @ X.T
        b = b - 0.5 * d.sum(axis=1, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
Both terms, and their gradient::

    import numpy as np

    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 8))
    Y = (X @ rng.normal(size=(8, 4)) > 0).astype(float)
    W, b = 0.3 * rng.normal(size=(8, 4)), np.zeros((1, 4))
    for step in range(15):
        P = 1 / (1 + np.exp(-(X @ W + b)))
        Q = np.clip(P, 1e-9, 1 - 1e-9)
        loss = -np.sum(Y * np.log(Q) + (1 - Y) * np.log(1 - Q)) / len(X)
        d = (P - Y) / len(X)
        W = W - 0.5 * X.T @ d
        b = b - 0.5 * d.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (features first)
----------------------------
Both terms, and their gradient::

    import numpy as np

    rng = np.random.default_rng(1)
    X = rng.normal(size=(8, 150))
    Y = (rng.normal(size=(4, 8)) @ X > 0).astype(float)
    W, b = 0.3 * rng.normal(size=(4, 8)), np.zeros((4, 1))
    for step in range(15):
        P = 1 / (1 + np.exp(-(W @ X + b)))
        Q = np.clip(P, 1e-9, 1 - 1e-9)
        loss = -np.sum(Y * np.log(Q) + (1 - Y) * np.log(1 - Q)) / X.shape[1]
        d = (P - Y) / X.shape[1]
        W = W - 0.5 * d @ X.T
        b = b - 0.5 * d.sum(axis=1, keepdims=True)
        print(step, loss)

How it is detected
------------------
The declared loss equals - sum(y log p), up to an average, and the outputs
of a sample do not sum to 1. All outputs are set to 1 in a run: the loss
drops to 0. It is an error where the gradient descends that loss, and a note
where it descends another one and the number is only shown.

Fix safety
----------
No edit is proposed: a softmax for the output or both terms in the loss is a
choice.

Known limits
------------
- One output alone is the matter of BD202 and BD209.
- Sums up to a small number inside the logarithm are recognised; other forms
  of the loss are not.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4: the softmax of several classes and its gradient.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.2, equation 4.90: the cross-entropy of two classes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"
TOLERANCE = 1e-4


def examine(case: Case) -> Iterator[Sighting]:
    """A loss that counts outputs with label 1 alone, over outputs that share no total."""
    output, target, declared = case.roles.output, case.judgement.target, case.judgement.declared
    if output is None or target is None or declared is None or not {0.0, 1.0} >= set(np.unique(target)):
        return
    # Of a softmax that is wrong, the samples share no total either.
    if set(case.errors) & {"BD102", "BD103", "BD104"}:
        return
    p, axis = np.asarray(case.value(output), np.float64), case.axes.output_samples
    if p.shape != target.shape or axis is None or p.ndim != 2 or p.shape[1 - axis] < 2:
        return
    if np.any(p <= 0) or np.any(p >= 1) or np.allclose(p.sum(axis=1 - axis), 1, atol=1e-6):
        return
    total, value = -float(np.sum(target * np.log(p))), float(np.sum(case.value(declared)))
    if not total or not any(abs(value * n - total) < TOLERANCE * total for n in (1, *p.shape, p.size)):
        return
    gradients = [g for g in case.judgement.gradients.values() if g is not None]
    descended = bool(gradients) and all(g.right and case.chain(g)[-1].given == "declared" for g in gradients)
    after = case.changed({output.birth: lambda v: np.full_like(p, 1 - 1e-12)}, declared.birth)
    sums = p.sum(axis=1 - axis)
    yield Sighting(
        node=case.home(declared),
        message=f"{declared.name} counts outputs with label 1 alone, and the outputs of {output.name} share no total: "
        "it is smallest when all of them are 1",
        label="outputs with label 0 are never counted",
        why="- sum(y log p) is the loss of a softmax; sigmoids need the term (1 - y) log(1 - p) as well",
        evidence=(
            Evidence(f"{declared.name} with every output at 1", f"{float(np.sum(after)):.2g}", "large"),
            Evidence("sum of the outputs of a sample", f"{sums.min():.3g} to {sums.max():.3g}", "1, for this loss"),
        ),
        fix="both terms, or a softmax",
        edits=_second_term(case, target, p),
        severity=None if descended else "note",
        objects=(declared.object,),
    )


def _second_term(case: Case, target: NDArray[np.float64], p: NDArray[np.float64]) -> tuple[Edit, ...]:
    """``(1 - y) * log(1 - p)`` behind a product that is ``y * log(p)``."""
    for event in case.step_events:
        node = case.program.sites[event.site].node
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult) or np.shape(event.value) != p.shape:
            continue
        if not np.allclose(case.value(event.key), target * np.log(p)):
            continue
        label, log = node.left, node.right
        if isinstance(log, ast.Call) and len(log.args) == 1:
            y, q = case.text(label), case.text(log.args[0])
            return (case.edit(node, f"({case.text(node)} + (1 - {y}) * {case.text(log.func)}(1 - {q}))"),)
    return ()
