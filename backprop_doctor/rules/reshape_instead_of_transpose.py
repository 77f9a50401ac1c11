"""BD604 reshape-instead-of-transpose: reshape puts the numbers of several samples into one.

What it does
------------
Finds a reshape that is used to exchange the axes of samples and features.

Why it is wrong
---------------
An array of N samples with D features lies in memory sample after sample.
reshape keeps that order and only changes the places of the commas: entry (0,
i) of X.reshape(D, N) is entry i of the flattened array, which for i >= D
belongs to another sample. The transposed array has X[i, 0] there.

    X.reshape(D, N)[:, i]    numbers of many samples
    X.reshape(N, D).T[:, i]  the features of sample i

Example (samples first)
-----------------------
Rows of 20 features become columns by reshape::

    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 20))
    X = rows.reshape(20, 300)
    labels = (rows @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[:, labels]
    X_train, Y_train = X[:, :200], Y[:, :200]
    X_test, Y_test = X[:, 200:], Y[:, 200:]
    W, b = 0.1 * rng.normal(size=(3, 20)), np.zeros((3, 1))


    def forward(X):
        Z = W @ X + b
        E = np.exp(Z - np.max(Z, axis=0, keepdims=True))
        return E / E.sum(axis=0, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / X_train.shape[1]
        W = W - 0.5 * dZ @ X_train.T
        b = b - 0.5 * dZ.sum(axis=1, keepdims=True)
        P = forward(X_test)
        accuracy = np.mean(P.argmax(axis=0) == Y_test.argmax(axis=0))
        print(epoch, "accuracy", accuracy)

Use instead (samples first)
---------------------------
Rows become columns by .T::

    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 20))
    X = rows.T
    labels = (rows @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[:, labels]
    X_train, Y_train = X[:, :200], Y[:, :200]
    X_test, Y_test = X[:, 200:], Y[:, 200:]
    W, b = 0.1 * rng.normal(size=(3, 20)), np.zeros((3, 1))


    def forward(X):
        Z = W @ X + b
        E = np.exp(Z - np.max(Z, axis=0, keepdims=True))
        return E / E.sum(axis=0, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / X_train.shape[1]
        W = W - 0.5 * dZ @ X_train.T
        b = b - 0.5 * dZ.sum(axis=1, keepdims=True)
        P = forward(X_test)
        accuracy = np.mean(P.argmax(axis=0) == Y_test.argmax(axis=0))
        print(epoch, "accuracy", accuracy)

How it is detected
------------------
A call that makes an array with the samples last of one with the samples
first, and leaves the numbers in their order, is compared with the transposed
array. If they differ, the right one is put in its place: if that changes the
inputs or the labels of the first step, the call is blamed.

Fix safety
----------
x.reshape(d, n) becomes x.reshape(n, d).T. The changed program is examined
again from another seed, and the fix is called verified only if the finding is
gone and no error is new.

Known limits
------------
- The samples are taken to be the first axis of what is reshaped. If the last
  axis is as long, nothing is said.
- Arrays with as many samples as features are not judged.

References
----------
- NumPy reference, numpy.reshape:
  https://numpy.org/doc/stable/reference/generated/numpy.reshape.html
- NumPy reference, numpy.transpose:
  https://numpy.org/doc/stable/reference/generated/numpy.transpose.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.order import scrambled
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A call that gives the samples' axis the last place and leaves the numbers in their old order."""
    for found in scrambled(case):
        yield _sighting(case, case.program.sites[found.result.site].node, found.operand, found.result)


def _sighting(case: Case, node: ast.AST, operand: Event, event: Event) -> Sighting:
    old, new = np.asarray(operand.value), np.asarray(event.value)
    samples = old.shape[0]
    column = np.arange(old.size).reshape(new.shape).reshape(-1, samples)[:, 0]
    mixed = np.unique(column // (old.size // samples)).size
    name = case.text(case.program.sites[operand.site].node)
    edits = _edits(case, node)
    return Sighting(
        node=node,
        message=f"{case.text(node)} makes {new.shape} of {old.shape} and mixes the samples: its first column holds "
        f"numbers of {mixed} samples",
        label="mixes the samples",
        why="reshape keeps the numbers in the order they lie in memory, sample after sample; only .T exchanges axes",
        evidence=(
            Evidence("samples whose numbers are in column 0", str(mixed), "1"),
            Evidence(
                "entries of column 0 that belong to sample 0",
                f"{int(np.sum(column < old.size // samples))} of {column.size}",
                f"{column.size} of {column.size}",
            ),
        ),
        fix=edits[0].replacement if edits else f"{name}.reshape({samples}, -1).T",
        edits=edits,
    )


def _edits(case: Case, node: ast.AST) -> tuple[Edit, ...]:
    """``x.reshape(d, n)`` becomes ``x.reshape(n, d).T``."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.keywords:
        return ()
    of_numpy = isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "numpy")
    base, rest = (node.args[0], node.args[1:]) if of_numpy and node.args else (node.func.value, node.args)
    sides = rest[0].elts if len(rest) == 1 and isinstance(rest[0], ast.Tuple) else rest
    if len(sides) != 2 or node.func.attr != "reshape":
        return ()
    first, last = (case.text(side) for side in sides)
    return (case.edit(node, f"{case.text(base)}.reshape({last}, {first}).T"),)
