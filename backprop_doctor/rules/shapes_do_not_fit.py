"""BD114 shapes-do-not-fit: the program stops, because two arrays do not fit each other.

What it does
------------
Explains a program that stops with an exception about shapes: which two
operands they were, what their axes mean, where they were made, and what would
fit.

Why it is wrong
---------------
N samples, D features, H hidden units. A product runs over the last axis of
its left factor and the first of its right one, (N, D) @ (D, H): both are to
be as long, and what they count has to be the same thing. Elements are paired
from the last axis on, (N, H) + (1, H), and only an axis of length 1, or one
that is missing on the left, is repeated. With samples in rows it is X @ W and
a bias (1, H); with samples in columns it is W @ X and a bias (H, 1). Most
such exceptions come from a line of the one layout in a program of the other.

Example (samples first)
-----------------------
W is (20, 3), and comes first::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        print(step)
        Z = W.dot(X) + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        dZ = (A - Y) / len(X)
        W = W - 0.5 * X.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        print(-np.mean(np.log(A[Y == 1] + 1e-12)))

Example (features first)
------------------------
b is (3,), a row, and has to be a column::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros(3)
    for step in range(12):
        print(step)
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        dZ = (A - Y) / X.shape[1]
        W = W - 0.5 * dZ @ X.T
        b = b - 0.5 * dZ.sum(axis=1, keepdims=True)
        print(-np.mean(np.log(A[Y == 1] + 1e-12)))

Use instead (samples first)
---------------------------
Samples in rows, and W on the right::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        print(step)
        Z = X.dot(W) + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        dZ = (A - Y) / len(X)
        W = W - 0.5 * X.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        print(-np.mean(np.log(A[Y == 1] + 1e-12)))

Use instead (features first)
----------------------------
A column of biases::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    for step in range(12):
        print(step)
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        dZ = (A - Y) / X.shape[1]
        W = W - 0.5 * dZ @ X.T
        b = b - 0.5 * dZ.sum(axis=1, keepdims=True)
        print(-np.mean(np.log(A[Y == 1] + 1e-12)))

How it is detected
------------------
The program is run until it stops. Of the operations in the line that raised,
the one is found whose operands passed and do not fit. Samples, classes and
features are told by the labels: whole numbers, or rows or columns with a
single one.

Fix safety
----------
Small changes are tried where the operands meet and where they were made. One
is proposed if the program then runs on and most of its lines can be judged,
and called verified only if no error is left, from another seed.

Known limits
------------
- Exceptions inside a library, and reshape and concatenate, are shown as they
  are.
- What is behind the line cannot be judged unless a change is found that makes
  the program run on.

References
----------
- NumPy user guide, Broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
- NumPy reference, numpy.matmul:
  https://numpy.org/doc/stable/reference/generated/numpy.matmul.html
"""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.crashes import Clash, Crash, Operand
from backprop_doctor.records import Evidence

SEVERITY = "error"

ORDINALS = ("first", "second", "third", "fourth")


def examine(case: Case) -> Iterator[Sighting]:
    """A program that runs has no such fault."""
    yield from ()


def examine_crash(crash: Crash) -> Iterator[Sighting]:
    """The operation that stopped the program, with both operands."""
    clash = crash.clash
    if clash is None:
        return
    left, right = clash.left, clash.right
    one, other = (_length(crash, side, axis) for side, axis in zip((left, right), clash.axes, strict=True))
    doing = "cannot be multiplied with" if clash.is_product else "does not fit"
    yield Sighting(
        node=clash.node,
        message=f"{left.text} {crash.describe(left.shape)} {doing} {right.text} {crash.describe(right.shape)}: "
        f"{one} against {other}",
        label=f"{one} against {other}",
        why="a product runs over the last axis of its left factor and the "
        f"{'first' if len(right.shape) < 3 else 'last but one'} of its right one: they have to be the same"
        if clash.is_product
        else "elements are paired from the last axis on: both have to be as long, or one of them 1"
        + (", and what is changed in place keeps its shape" if _keeps_shape(clash) else ""),
        evidence=tuple(
            _evidence(crash, clash, side, axis) for side, axis in zip((left, right), clash.axes, strict=True)
        ),
    )


def _keeps_shape(clash: Clash) -> bool:
    return clash.sign.endswith("=") and clash.sign != "=="


def _length(crash: Crash, operand: Operand, axis: int) -> str:
    """The length of an axis, with its meaning."""
    return crash.describe(operand.shape[axis : axis + 1]).strip("(,)")


def _evidence(crash: Crash, clash: Clash, operand: Operand, axis: int) -> Evidence:
    other = clash.right if operand is clash.left else clash.left
    needed = other.shape[clash.axes[1] if operand is clash.left else clash.axes[0]]
    where = "last" if axis == len(operand.shape) - 1 else ORDINALS[axis]
    grown = crash.earlier_shape(operand)
    made = f"made in line {crash.birth(operand.event).line}"
    if grown is not None:
        made = f"{crash.describe(grown[0])} until line {grown[1]} changed it"
    either = "" if clash.is_product or needed == 1 or _keeps_shape(clash) else " or 1"
    return Evidence(f"{operand.text}, {made}", crash.describe(operand.shape), f"{where} axis {needed}{either}")
