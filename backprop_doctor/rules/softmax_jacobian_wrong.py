"""BD309 softmax-jacobian-wrong: the derivative of a softmax is treated as if each output hung on its own input alone.

What it does
------------
Finds a delta that goes back through a softmax with s * (1 - s), or with no
derivative at all, where the loss is not the one for which s - y is right.

Why it is wrong
---------------
C classes, one sample. Every probability hangs on every input:

    ds[j] / dz[k] = s[j] * (1 - s[k])     for j = k
                  = - s[j] * s[k]         for j != k

so that, with the upstream gradient g = dL/ds, of shape (C,),

    dz = s * (g - sum(g * s))

s * (1 - s) is the diagonal alone. A test: the same number added to all z
changes nothing, so that the entries of dz sum to 0 for each sample. For
cross-entropy g is -y / s, and the formula comes to s - y; any other loss
needs all of it.

Example (samples first)
-----------------------
The derivative of the sigmoid, for a softmax::

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
        loss = np.sum((A2 - Y) ** 2) / 2
        G = A2 - Y
        dZ2 = G * A2 * (1 - A2)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.02 * dW1
        b1 = b1 - 0.02 * db1
        W2 = W2 - 0.02 * dW2
        b2 = b2 - 0.02 * db2
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
        loss = np.sum((A2 - Y) ** 2) / 2
        G = A2 - Y
        dZ2 = G * A2 * (1 - A2)
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.02 * dW1
        b1 = b1 - 0.02 * db1
        W2 = W2 - 0.02 * dW2
        b2 = b2 - 0.02 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
The diagonal and the rest::

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
        loss = np.sum((A2 - Y) ** 2) / 2
        G = A2 - Y
        dZ2 = A2 * (G - np.sum(G * A2, axis=1, keepdims=True))
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.02 * dW1
        b1 = b1 - 0.02 * db1
        W2 = W2 - 0.02 * dW2
        b2 = b2 - 0.02 * db2
        print(step, loss)

Use instead (features first)
----------------------------
The diagonal and the rest::

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
        loss = np.sum((A2 - Y) ** 2) / 2
        G = A2 - Y
        dZ2 = A2 * (G - np.sum(G * A2, axis=0, keepdims=True))
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.02 * dW1
        b1 = b1 - 0.02 * db1
        W2 = W2 - 0.02 * dW2
        b2 = b2 - 0.02 * db2
        print(step, loss)

How it is detected
------------------
For a delta of z that is not the derivative it is used as, and s =
softmax(z) in the forward pass (compared number by number), two readings are
tried: the delta divided by s * (1 - s), and the delta itself, each as the
upstream gradient g. If s * (g - sum(g * s)) is the right delta (error below
1e-5), only the diagonal was used, or nothing. The sum over the classes is
shown, which has to be 0.

Fix safety
----------
The product with s * (1 - s) is written out as the whole derivative, in the
names of the program, where g has a name; else the formula is shown. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- s - y with cross-entropy is right and not reported.
- Softmax of one- or two-dimensional arrays, over any of their axes.
- A full Jacobian that is built and contracted over the wrong axis is
  reported as BD300.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.5: backpropagation.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  4.3.4, equation 4.106.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._lines import Line, as_factor, wrong_lines

SEVERITY = "error"
LAST_RESORT = 1
Array = NDArray[np.float64]


def examine(case: Case) -> Iterator[Sighting]:
    """Take a wrong delta as diagonal alone, or as nothing at all, and write out the whole derivative."""
    for line in case.once(wrong_lines):
        for output, s, axis in _softmaxes(line):
            value = aligned(case.value(line.value), s.shape)
            if value is None:
                continue
            diagonal = value / (s * (1 - s))
            readings = ((diagonal, "only the diagonal s * (1 - s)"), (value, "no derivative"))
            for g, text in readings:
                fit = line.fits(s * (g - np.sum(g * s, axis=axis, keepdims=True)))
                if fit.right:
                    yield _sighting(line, output, s, axis, text, line.evidence("the same with all of it", fit))
                    break


def _sighting(line: Line, output: Quantity, s: Array, axis: int, text: str, evidence: tuple[Evidence, ...]) -> Sighting:
    case, b, a = line.case, line.value, output.name
    value = np.reshape(case.value(b), s.shape)
    sums = float(np.abs(value.sum(axis=axis)).max() / np.abs(value).max())
    formula, edits = _whole(line, a, s, axis)
    return Sighting(
        node=case.home(b),
        message=f"{b.name} goes back through the softmax {a} with {text}: every {a} hangs on every {line.of.name}",
        label="not the derivative of a softmax",
        why="with g the gradient of s = softmax(z): dz = s * (g - sum(g * s)), the sum over the classes of a sample",
        evidence=(
            Evidence(f"{b.name} summed over the classes, in parts of its largest entry", f"{sums:.3g}", "0"),
            *evidence,
        ),
        fix=formula,
        edits=edits,
        objects=(b.object,),
    )


def _softmaxes(line: Line) -> Iterator[tuple[Quantity, Array, int]]:
    """Values that are the softmax of what the delta belongs to, with the axis it runs over."""
    case = line.case
    z = np.asarray(case.value(line.of), np.float64)
    for axis in range(z.ndim):
        e = np.exp(z - z.max(axis=axis, keepdims=True))
        s = e / e.sum(axis=axis, keepdims=True)
        for later in case.judgement.forward:
            fits = s.shape[axis] > 1 and later.index > line.of.index and later.shape == s.shape
            if fits and later.object in case.binding and np.allclose(case.value(later), s, rtol=1e-6):
                yield later, s, axis
                break


def _whole(line: Line, name: str, s: Array, axis: int) -> tuple[str, tuple[Edit, ...]]:
    """The whole derivative in the place of a product ``g * s * (1 - s)`` with a plain name g."""
    case, node = line.case, line.case.home(line.value)
    formula = f"{name} * (g - np.sum(g * {name}, axis={axis}, keepdims=True))"
    values = {id(case.site(e.key).node): case.value(e.key) for e in line.reads}
    inner = node.left if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else node
    factors = _factors(inner)
    for g in factors:
        rest = [values.get(id(f)) for f in factors if f is not g]
        known = all(r is not None and np.shape(r) == s.shape for r in rest)
        if known and rest and np.allclose(np.prod(np.stack(rest), axis=0), s * (1 - s)):  # type: ignore[arg-type]
            text = as_factor(case, g)
            whole = formula.replace("(g - np.sum(g ", f"({text} - np.sum({text} ")
            return whole, (case.edit(inner, whole),)
    return formula, ()


def _factors(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_factors(node.left), *_factors(node.right)]
    return [node] if isinstance(node, ast.expr) else []
