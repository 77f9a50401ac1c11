"""BD107 activation-applied-twice-forward: the output is the softmax of probabilities, or the sigmoid of a sigmoid.

What it does
------------
Finds an output that has gone through its activation twice.

Why it is wrong
---------------
C classes. A softmax of probabilities p in 0..1 has differences of at most 1
to work with, so that its largest entry is

    exp(1) / (exp(1) + C - 1)

at most: 0.232 for ten classes, 0.576 for three, however large the weights.
The cross-entropy cannot fall below ln(1 + (C - 1) / e), 1.461 for ten
classes. A sigmoid of a sigmoid stays between 0.5 and 0.731. Rows still sum
to 1, and training goes on, so that nothing looks wrong but the loss that
stops high.

Example (samples first)
-----------------------
softmax is called on probabilities::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))

    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        A2 = softmax(softmax(Z2))
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

    def softmax(z):
        e = np.exp(z - z.max(axis=0, keepdims=True))
        return e / e.sum(axis=0, keepdims=True)

    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        A2 = softmax(softmax(Z2))
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

Use instead (samples first)
---------------------------
softmax is called once, on the scores::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))

    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        A2 = softmax(Z2)
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
softmax is called once, on the scores::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))

    def softmax(z):
        e = np.exp(z - z.max(axis=0, keepdims=True))
        return e / e.sum(axis=0, keepdims=True)

    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        A2 = softmax(Z2)
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
An output that equals the softmax (or the sigmoid) of an earlier value,
number by number, where that value itself is a softmax over the classes (or
the sigmoid of an earlier value). The scores are then set to +-1000 in a
run, and the largest output is shown: it has to be near 1.

Fix safety
----------
One of the two calls is taken away, where one stands in the other. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- A softmax of bounded values that are no probabilities, such as tanh units,
  is allowed and not reported.
- ReLU applied twice changes nothing, and is not reported.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4: the softmax of several classes and its gradient.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.2.2.3: softmax output units.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._lines import wrong_lines

SEVERITY = "error"
Array = NDArray[np.float64]


def examine(case: Case) -> Iterator[Sighting]:
    """The output is act(q), and q is act(r): drive r to its limits and look at the output."""
    output = case.roles.output
    p = None if output is None else np.asarray(case.value(output), np.float64)
    if output is None or p is None or p.ndim == 0:
        return
    axis = None if case.axes.output_samples is None or p.ndim < 2 else 1 - case.axes.output_samples
    earlier = [q for q in case.judgement.forward if q.index < output.index and q.shape == p.shape]
    for name, act in (("softmax", lambda z: _softmax(z, axis)), ("sigmoid", lambda z: 1 / (1 + np.exp(-z)))):
        for inner in earlier:
            q = np.asarray(case.value(inner), np.float64)
            between = np.all(q >= 0) and np.all(q <= 1)
            if not between or np.array_equal(q, p) or not np.allclose(act(q), p, rtol=1e-7):
                continue
            start = next((r for r in earlier if r.index < inner.index and _is_act(case, act, r, q)), None)
            if start is not None:
                yield _sighting(case, name, output, inner, start)
                return


def _is_act(case: Case, act: object, start: Quantity, q: Array) -> bool:
    return np.allclose(act(np.asarray(case.value(start), np.float64)), q, rtol=1e-7)  # type: ignore[operator]


def _softmax(z: Array, axis: int | None) -> Array:
    if axis is None or z.shape[axis] < 2:
        return np.full(z.shape, np.nan)
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    result: Array = e / e.sum(axis=axis, keepdims=True)
    return result


def _sighting(case: Case, name: str, output: Quantity, inner: Quantity, start: Quantity) -> Sighting:
    signs = np.where(np.arange(np.size(case.value(start))) % 3 == 0, 1000.0, -1000.0).reshape(start.shape)
    top = float(np.max(case.changed({start.birth: lambda value: signs}, output.birth)))
    bound = case.binding.get(output.object)
    node = bound.node if bound is not None else case.home(output)
    spoiled = [line.value.object for line in case.once(wrong_lines) if line.of.index <= inner.index]
    return Sighting(
        node=node,
        message=f"{output.name} is the {name} of values that have gone through {name} already: it cannot come near 1",
        label=f"{name} twice",
        why="the second one has only differences between 0 and 1 to work with",
        evidence=(Evidence(f"largest {output.name} with scores of +-1000", f"{top:.3g}", "1"),),
        fix="once",
        edits=_edits(case, node),
        objects=(output.object, *spoiled),
    )


def _edits(case: Case, node: ast.AST) -> tuple[Edit, ...]:
    """What the outer call is given in the place of it: the inner call, or a name for its result."""
    inner = node.args[0] if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords else None
    is_same = (
        isinstance(inner, ast.Call) and isinstance(node, ast.Call) and case.text(inner.func) == case.text(node.func)
    )
    if inner is not None and (is_same or isinstance(inner, (ast.Name, ast.Attribute))):
        return (case.edit(node, case.text(inner)),)
    return ()
