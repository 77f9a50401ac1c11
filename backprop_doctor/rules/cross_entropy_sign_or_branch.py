"""BD202 cross-entropy-sign-or-branch: a sign or a branch of the two-class cross-entropy is wrong.

What it does
------------
Finds a cross-entropy of two classes in which one of both terms has the
wrong sign, or both have each other's labels.

Why it is wrong
---------------
For a label y of 0 or 1 and a probability p, one number a sample,

    L = - (y log p + (1 - y) log(1 - p))

is 0 for p = y and grows without bound the further p is from y. A minus
before y alone,

    L = - y log p + (1 - y) log(1 - p)

counts samples with y = 0 the wrong way: the worse they are, the lower is L,
without limit. With y and 1 - y exchanged, both are. The gradient may be
right all the same, if p - y is written down and not derived; then only the
number that is shown is wrong.

Example (samples first)
-----------------------
The minus belongs to the first term alone::

    import numpy as np

    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 5))
    y = (X[:, :1] * X[:, 1:2] > 0).astype(float)
    W1, b1 = rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2, b2 = rng.normal(size=(8, 1)), np.zeros((1, 1))

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    for i in range(20):
        hidden = sigmoid(X @ W1 + b1)
        p = sigmoid(hidden @ W2 + b2)
        q = np.clip(p, 1e-9, 1 - 1e-9)
        cost = np.mean(-y * np.log(q) + (1 - y) * np.log(1 - q))
        delta = (p - y) / len(X)
        back = (delta @ W2.T) * hidden * (1 - hidden)
        W2 = W2 - 1.0 * hidden.T @ delta
        b2 = b2 - 1.0 * delta.sum(axis=0, keepdims=True)
        W1 = W1 - 1.0 * X.T @ back
        b1 = b1 - 1.0 * back.sum(axis=0, keepdims=True)
        print(i, cost)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(2)
    X = rng.normal(size=(5, 120))
    y = (X[:1] * X[1:2] > 0).astype(float)
    W1, b1 = rng.normal(size=(8, 5)), np.zeros((8, 1))
    W2, b2 = rng.normal(size=(1, 8)), np.zeros((1, 1))

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    for i in range(20):
        hidden = sigmoid(W1 @ X + b1)
        p = sigmoid(W2 @ hidden + b2)
        q = np.clip(p, 1e-9, 1 - 1e-9)
        cost = np.mean(-y * np.log(q) + (1 - y) * np.log(1 - q))
        delta = (p - y) / X.shape[1]
        back = (W2.T @ delta) * hidden * (1 - hidden)
        W2 = W2 - 1.0 * delta @ hidden.T
        b2 = b2 - 1.0 * delta.sum(axis=1, keepdims=True)
        W1 = W1 - 1.0 * back @ X.T
        b1 = b1 - 1.0 * back.sum(axis=1, keepdims=True)
        print(i, cost)

Use instead (samples first)
---------------------------
One minus for both::

    import numpy as np

    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 5))
    y = (X[:, :1] * X[:, 1:2] > 0).astype(float)
    W1, b1 = rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2, b2 = rng.normal(size=(8, 1)), np.zeros((1, 1))

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    for i in range(20):
        hidden = sigmoid(X @ W1 + b1)
        p = sigmoid(hidden @ W2 + b2)
        q = np.clip(p, 1e-9, 1 - 1e-9)
        cost = -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
        delta = (p - y) / len(X)
        back = (delta @ W2.T) * hidden * (1 - hidden)
        W2 = W2 - 1.0 * hidden.T @ delta
        b2 = b2 - 1.0 * delta.sum(axis=0, keepdims=True)
        W1 = W1 - 1.0 * X.T @ back
        b1 = b1 - 1.0 * back.sum(axis=0, keepdims=True)
        print(i, cost)

Use instead (features first)
----------------------------
One minus for both::

    import numpy as np

    rng = np.random.default_rng(2)
    X = rng.normal(size=(5, 120))
    y = (X[:1] * X[1:2] > 0).astype(float)
    W1, b1 = rng.normal(size=(8, 5)), np.zeros((8, 1))
    W2, b2 = rng.normal(size=(1, 8)), np.zeros((1, 1))

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    for i in range(20):
        hidden = sigmoid(W1 @ X + b1)
        p = sigmoid(W2 @ hidden + b2)
        q = np.clip(p, 1e-9, 1 - 1e-9)
        cost = -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
        delta = (p - y) / X.shape[1]
        back = (W2.T @ delta) * hidden * (1 - hidden)
        W2 = W2 - 1.0 * delta @ hidden.T
        b2 = b2 - 1.0 * delta.sum(axis=1, keepdims=True)
        W1 = W1 - 1.0 * back @ X.T
        b1 = b1 - 1.0 * back.sum(axis=1, keepdims=True)
        print(i, cost)

How it is detected
------------------
The two terms are summed from output and labels, and the loss is compared
with what the usual slips would make of them (relative error below 1e-4,
small numbers inside the log allowed). Then the outputs of all samples with
label 1, and of those with label 0, are moved a little towards their labels
in two runs: the loss has to fall in both.

Fix safety
----------
Where the slip is one sign between the two terms, it is changed. The changed
program is examined again from another seed, and the fix is called verified
only if the finding is gone and no error is new.

Known limits
------------
- Cross-entropy of two classes for each output; the one of several classes
  has one term.
- A log-likelihood that rises as a whole is a convention, and is not
  reported.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.2, equation 4.90: the cross-entropy of two classes.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 3: the cross-entropy cost function.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"
TOLERANCE = 1e-4
Array = NDArray[np.float64]


def examine(case: Case) -> Iterator[Sighting]:
    """Compare the loss with slips of the cross-entropy, and move the output towards the labels."""
    output, target, declared = case.roles.output, case.judgement.target, case.judgement.declared
    if output is None or target is None or declared is None or not {0.0, 1.0} >= set(np.unique(target)):
        return
    p = np.asarray(case.value(output), np.float64)
    if p.shape != target.shape or np.any(p <= 0) or np.any(p >= 1) or target.min() == target.max():
        return
    value = float(np.sum(case.value(declared)))
    slip = _slip(value, p, target)
    if slip is None:
        return
    rises = {label: _change(case, p, target, label) for label in (1.0, 0.0)}
    if not any(change > 0 for change in rises.values()):
        return
    node = case.home(declared)
    edits = _edits(case, target, p)
    exchanged = _exchanged(case, p) if edits is None and "exchanged" in slip else None
    yield Sighting(
        node=edits[1] if edits else node,
        message=f"{slip} in {declared.name}: it rises as the output comes nearer to the labels",
        label="the loss rises towards the labels",
        why="the cross-entropy is -(y log p + (1 - y) log(1 - p)): one minus for both terms",
        evidence=tuple(
            Evidence(
                f"change of {declared.name} when outputs of label {label:.0f} move towards it", f"{c:+.2g}", "below 0"
            )
            for label, c in rises.items()
        ),
        fix=edits[2] if edits else "-(y log p + (1 - y) log(1 - p))",
        edits=edits[0] if edits else exchanged[0] if exchanged else (),
        objects=(declared.object,),
    )


def _slip(value: float, p: Array, target: Array) -> str | None:
    """Which slip makes the terms into the loss, up to an average."""
    one, zero = float(np.sum(target * np.log(p))), float(np.sum((1 - target) * np.log(1 - p)))
    swapped = float(np.sum((1 - target) * np.log(p)) + np.sum(target * np.log(1 - p)))
    slips = {
        zero - one: "the minus stands before one of the two terms",
        one - zero: "the minus stands before one of the two terms",
        -swapped: "y and 1 - y are exchanged",
    }
    counts = {1, *p.shape, p.size}
    for total, text in slips.items():
        right = -(one + zero)
        for n in counts:
            if abs(value * n - total) < TOLERANCE * abs(right) and abs(value * n - right) > 0.01 * abs(right):
                return text
    return None


def _change(case: Case, p: Array, target: Array, label: float) -> float:
    """Change of the loss when outputs of one label move a hundredth of the way towards it."""
    output, declared = case.roles.output, case.judgement.declared
    assert output is not None
    assert declared is not None
    moved = np.where(target == label, p + 0.01 * (target - p), p)
    after = case.changed({output.birth: lambda value: moved}, declared.birth)
    return 0.0 if after is None else float(np.sum(after) - np.sum(case.value(declared)))


def _edits(case: Case, target: Array, p: Array) -> tuple[tuple[Edit, ...], ast.AST, str] | None:
    """The sign between two operands that are the two terms, made the same for both."""
    terms = (np.abs(target * np.log(p)), np.abs((1 - target) * np.log(1 - p)))
    for event in case.step_events:
        node = case.site(event.key).node
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Add, ast.Sub)):
            continue
        operands = [np.asarray(case.value(e.key), np.float64) for e in case.children(event)]
        if len(operands) != 2 or not all(o.shape == p.shape for o in operands):
            continue
        if not all(np.allclose(np.abs(o), t, atol=1e-6) for o, t in zip(operands, terms, strict=True)):
            continue
        same = np.sum(operands[0]) * np.sum(operands[1]) > 0
        if same == isinstance(node.op, ast.Add):
            continue
        if _is_first(case, p, target):
            first = case.source.position(node.left)
            minus = case.text(node.left).startswith("-")
            at = replace(first, end_line=first.line, end_column=first.column + minus)
            return (Edit(at, "" if minus else "-"),), node, f"{'no ' * minus}- before the first term"
        old, new = ("+", "-") if isinstance(node.op, ast.Add) else ("-", "+")
        start = case.source.position(node.left)
        column = case.source.line(start.end_line).find(old, start.end_column - 1)
        if column < 0 or case.source.position(node.right).line != start.end_line:
            return None
        where = case.insertion(start.end_line, column + 1, "").position
        return (Edit(replace(where, end_column=column + 2), new),), node, f"{new} instead of {old}"
    return None


def _is_first(case: Case, p: Array, target: Array) -> bool:
    """Whether it is the term of the labels 1, rather than the other, that has the wrong sign in the loss."""
    declared = case.judgement.declared
    assert declared is not None
    value = float(np.sum(case.value(declared)))
    return value * float(np.sum(target * np.log(p)) - np.sum((1 - target) * np.log(1 - p))) > 0


def _exchanged(case: Case, p: Array) -> tuple[tuple[Edit, ...], ast.AST, str] | None:
    """Each of the two logarithms in the place of the other, if there is one of each in the loss."""
    found: dict[int, ast.AST] = {}
    for event in case.step_events:
        node = case.program.sites[event.site].node
        if isinstance(node, ast.Call) and np.shape(event.value) == p.shape:
            for number, log in enumerate((np.log(p), np.log(1 - p))):
                if np.allclose(case.value(event.key), log, atol=1e-6):
                    found.setdefault(number, node)
    if len(found) < 2:
        return None
    one, other = found[0], found[1]
    edits = case.edit(one, case.text(other)), case.edit(other, case.text(one))
    return edits, one, "each logarithm in the place of the other"
