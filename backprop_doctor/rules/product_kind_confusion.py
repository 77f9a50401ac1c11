"""BD110 product-kind-confusion: a product is taken element by element where a matrix product belongs, or the reverse.

What it does
------------
Finds a line of the backward pass with a * where @ belongs, or the reverse,
also where the order of evaluation makes another product of it than it
seems.

Why it is wrong
---------------
* multiplies entry by entry and keeps the shape; @ sums over the axis that
both have in common:

    dA1 = dZ2 @ W2.T              (N, C) @ (C, H) = (N, H)
    dZ1 = dA1 * act'(Z1)          (N, H) * (N, H) = (N, H)

With square arrays both give the same shape, and only the numbers are wrong.
* and @ bind equally and are taken from left to right: f * d @ W.T is (f *
d) @ W.T and not f * (d @ W.T). Where the layers are of one width, that too
goes unnoticed.

Example (samples first)
-----------------------
The derivative is multiplied to the wrong factor, because * is taken first::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(X @ rng.normal(size=(8, 8)))
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        A2 = A1 @ W2 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (1 - A1**2) * dZ2 @ W2.T
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

Example (features first)
------------------------
An elementwise product where the error goes back through the weights::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(rng.normal(size=(8, 8)) @ X)
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    for step in range(15):
        A1 = np.tanh(W1 @ X + b1)
        A2 = W2 @ A1 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dA1 = W2.T * dZ2
        dZ1 = dA1 * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Parentheses say what is meant::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(X @ rng.normal(size=(8, 8)))
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((1, 8))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        A2 = A1 @ W2 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (1 - A1**2) * (dZ2 @ W2.T)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

Use instead (features first)
----------------------------
A matrix product::

    import numpy as np

    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 8))
    Y = np.sin(rng.normal(size=(8, 8)) @ X)
    W1, b1 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    W2, b2 = 0.4 * rng.normal(size=(8, 8)), np.zeros((8, 1))
    for step in range(15):
        A1 = np.tanh(W1 @ X + b1)
        A2 = W2 @ A1 + b2
        loss = np.sum((A2 - Y) ** 2) / 2
        dZ2 = A2 - Y
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dA1 = W2.T @ dZ2
        dZ1 = dA1 * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 -= 0.02 * dW1
        b1 -= 0.02 * db1
        W2 -= 0.02 * dW2
        b2 -= 0.02 * db2
        print(step, loss)

How it is detected
------------------
In a line that is not the derivative it is used as, each product is taken as
the other kind, from the arrays that reach it in a run: @ for *, * for @
where the shapes are equal, and f * (d @ W) for f * d @ W. The rule fires if
that turns an error above 1e-3 into one below 1e-5.

Fix safety
----------
The operator is exchanged, or parentheses are set, where the product is
written with an operator; for a call of np.dot or np.multiply the finding
says what to write. The changed program is examined again from another seed,
and the fix is called verified only if the finding is gone and no error is
new.

Known limits
------------
- Where the shapes do not allow the other product, the program breaks by
  itself.
- Products of the forward pass define the network, and are not judged.

References
----------
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536.
- Python reference, operator precedence:
  https://docs.python.org/3/reference/expressions.html#operator-precedence
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Edit
from backprop_doctor.rules._lines import Line, as_factor, wrong_lines

SEVERITY = "error"
LAST_RESORT = 1
Other = tuple[Any, str, tuple[Edit, ...]]


def examine(case: Case) -> Iterator[Sighting]:
    """Take each product of a wrong line as one of the other kind."""
    for line in case.once(wrong_lines):
        made = case.trace.by_key[line.value.birth]
        found = next((s for e in (*line.reads, made) if (s := _sighting(line, e, made=e is made))), None)
        if found is not None:
            yield found


def _sighting(line: Line, event: Event, *, made: bool) -> Sighting | None:
    case, node = line.case, line.case.site(event.key).node
    for array, text, edits in _others(case, event):
        fit = line.fits(array) if made else line.with_value(event, array)
        if fit.right:
            return Sighting(
                node=node,
                message=f"{case.text(node)} is another product than the one that belongs there: {line.value.name} is "
                f"not the gradient of {line.of.name}",
                label="the wrong kind of product",
                why="@ sums over an axis, * keeps it; both bind equally and are taken from left to right",
                evidence=line.evidence(f"the same with {text}", fit),
                fix=text,
                edits=edits,
                objects=(line.value.object, *line.made),
            )
    return None


def _others(case: Case, event: Event) -> Iterator[Other]:
    """The product as one of another kind: its value, how it is written, and the edits."""
    node = case.site(event.key).node
    operands = [e for e in case.children(event) if np.ndim(e.value) > 0]
    if len(operands) != 2:
        return
    left, right = (np.asarray(case.value(e.key), np.float64) for e in operands)
    one, two = (as_factor(case, case.site(e.key).node) for e in operands)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and isinstance(node.left, ast.BinOp):
        factors = [e for e in case.children(operands[0]) if np.ndim(e.value) > 0]
        if isinstance(node.left.op, ast.Mult) and len(factors) == 2 and case.text(node.left) in case.text(node):
            a, b = (np.asarray(case.value(e.key), np.float64) for e in factors)
            if b.ndim == right.ndim == 2 and b.shape[1] == right.shape[0] and a.shape == (len(b), right.shape[1]):
                inner = f"({as_factor(case, node.left.right)} @ {two})"
                text = f"{as_factor(case, node.left.left)} * {inner}"
                yield a * (b @ right), text, (case.edit(node, text),)
    if left.ndim != 2 or right.ndim != 2:
        return
    product = np.shape(case.value(event.key))
    name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
    sums = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
    if (sums or name in ("dot", "matmul")) and left.shape == right.shape == product:
        yield left * right, f"{one} * {two}", _operator(case, node, "@", "*")
    keeps = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
    if (keeps or name == "multiply") and left.shape[1] == right.shape[0]:
        yield left @ right, f"{one} @ {two}", _operator(case, node, "*", "@")


def _operator(case: Case, node: ast.AST, old: str, new: str) -> tuple[Edit, ...]:
    """Exchange the operator between two operands of one line."""
    if not isinstance(node, ast.BinOp):
        return ()
    start, end = case.source.position(node.left), case.source.position(node.right)
    between = case.source.line(start.end_line)[start.end_column - 1 : end.column - 1]
    if start.end_line != end.line or between.count(old) != 1:
        return ()
    column = start.end_column + between.index(old)
    gap = case.insertion(start.end_line, column, "").position
    return (Edit(type(gap)(gap.path, gap.line, column, gap.line, column + 1), new),)
