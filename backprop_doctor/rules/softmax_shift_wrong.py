"""BD702 softmax-shift-wrong: the number subtracted from the logits is not the largest of each sample.

What it does
------------
Finds a softmax that subtracts the largest logit of the whole batch, or of
each class over the samples, instead of the largest of each sample.

Why it is wrong
---------------
Softmax is unchanged when one number is subtracted from all logits of a
sample:

    exp(z[i, c] - k[i]) / sum over c of exp(z[i, c] - k[i])

so that k[i] = max over c of z[i, c] only keeps exp from overflowing. The
largest of the whole batch keeps it from overflowing too, but a sample whose
logits lie 750 below becomes 0 / 0. A number for each class, k[c], does not
cancel: the probabilities of a sample then depend on the other samples, which
is an error.

Example (samples first)
-----------------------
The largest of the whole batch::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train = X[:200], Y[:200]
    X_test, Y_test = X[200:], Y[200:]
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))


    def forward(X):
        Z = X @ W + b
        E = np.exp(Z - np.max(Z))
        return E / E.sum(axis=1, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / len(X_train)
        W = W - 0.5 * X_train.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        P = forward(X_test)
        accuracy = np.mean(P.argmax(axis=1) == Y_test.argmax(axis=1))
        print(epoch, "accuracy", accuracy)

Example (features first)
------------------------
The largest of the whole batch::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 300))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[:, labels]
    X_train, Y_train = X[:, :200], Y[:, :200]
    X_test, Y_test = X[:, 200:], Y[:, 200:]
    W, b = 0.1 * rng.normal(size=(3, 20)), np.zeros((3, 1))


    def forward(X):
        Z = W @ X + b
        E = np.exp(Z - np.max(Z))
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
The largest of each row::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train = X[:200], Y[:200]
    X_test, Y_test = X[200:], Y[200:]
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))


    def forward(X):
        Z = X @ W + b
        E = np.exp(Z - np.max(Z, axis=1, keepdims=True))
        return E / E.sum(axis=1, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / len(X_train)
        W = W - 0.5 * X_train.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        P = forward(X_test)
        accuracy = np.mean(P.argmax(axis=1) == Y_test.argmax(axis=1))
        print(epoch, "accuracy", accuracy)

Use instead (features first)
----------------------------
The largest of each column::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 300))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
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
If the output of each sample sums to 1, calls on the way to it that give the
largest logit of all samples, or of each class, are put to the test. In the
first case the logits of one sample are lowered by 1000: its probabilities
have to stay as they are, and to sum to 1. In the second those of another
sample are raised: the probabilities of the first have to stay as they are.

Fix safety
----------
For the error the axis of the maximum is changed, with keepdims. The changed
program is examined again from another seed, and the fix is called verified
only if the finding is gone and no error is new.

Known limits
------------
- The whole batch's maximum is a warning: at the program's own weights nothing
  may ever underflow.
- If the sum runs over the samples as well, that is BD102.

References
----------
- Blanchard, Higham and Higham (2021), Accurately computing the log-sum-exp
  and softmax functions, IMA Journal of Numerical Analysis 41.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  4.1: overflow and underflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Reduction, Sighting, axis_edits
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.records import Evidence

SEVERITY = "warning"

FAR = 1000.0
NEAR = 5.0


def examine(case: Case) -> Iterator[Sighting]:
    """The largest logit that is subtracted is that of the whole batch, or of a class over the samples."""
    output, axis = case.roles.output, case.axes.output_samples
    if output is None or axis is None or normalised_over(case) != "classes":
        return
    forward = [e for e in case.step_events if case.roles.forward(e) and e.index <= output.index]
    for reduction in case.reductions(forward):
        values = np.asarray(reduction.operand.value)
        if values.shape != output.shape:
            continue
        if not np.array_equal(np.ravel(reduction.event.value), np.ravel(values.max(axis=reduction.axes))):
            continue
        if reduction.axes == (0, 1):
            yield from _far_below(case, reduction, axis)
        elif reduction.axes == (axis,):
            yield from _shifted_by_others(case, reduction, axis)


def _moved(case: Case, reduction: Reduction, axis: int, sample: int, by: float) -> NDArray[np.float64] | None:
    """The output when all logits of one sample are raised by a number."""

    def shift(value: Any) -> Any:
        new = np.array(value, np.float64)
        np.moveaxis(new, axis, 0)[sample] += by
        return new

    output = case.roles.output
    assert output is not None
    value = case.measurement.run({case.first(reduction.operand).key: shift}).value(output.birth)
    return None if value is None else np.moveaxis(np.asarray(value, np.float64), axis, 0)


def _far_below(case: Case, reduction: Reduction, axis: int) -> Iterator[Sighting]:
    """One sample's logits far below the others': shifting them all changes nothing in exact arithmetic."""
    near, far = _moved(case, reduction, axis, 0, -1.0), _moved(case, reduction, axis, 0, -FAR)
    plain = np.moveaxis(np.asarray(case.value(case.roles.output), np.float64), axis, 0)  # type: ignore[arg-type]
    if near is None or far is None or not np.allclose(near[0], plain[0], rtol=1e-6):
        return
    total = float(far[0].sum())
    if abs(total - 1) < 1e-6:
        return
    yield Sighting(
        node=reduction.node,
        message=f"{case.text(reduction.node)} is the largest logit of the whole batch: a sample whose logits lie "
        f"{FAR:g} lower gets 0 / 0",
        label="the maximum of all samples",
        why="exp(-1000) is 0 in float64: where all entries of a sample underflow their sum is 0",
        evidence=(
            Evidence(
                f"sum of the probabilities of a sample {FAR:g} below the others",
                f"{total:.3g}".upper() if np.isnan(total) else f"{total:.3g}",
                "1",
            ),
        ),
        fix=f"axis = {1 - axis}, keepdims = True",
    )


def _shifted_by_others(case: Case, reduction: Reduction, axis: int) -> Iterator[Sighting]:
    """Other samples' logits raised: the probabilities of a sample must not change."""
    plain = np.moveaxis(np.asarray(case.value(case.roles.output), np.float64), axis, 0)  # type: ignore[arg-type]
    worst = 0.0
    for raised in range(1, min(len(plain), 4)):
        moved = _moved(case, reduction, axis, raised, FAR)
        if moved is not None:
            worst = max(worst, float(np.nanmax(np.abs(np.where(np.isfinite(moved[0]), moved[0], 1.0) - plain[0]))))
    lone = _lone(case, reduction, axis)
    worst = max(worst, lone)
    if worst < 1e-6:
        return
    yield Sighting(
        node=reduction.node,
        message=f"{case.text(reduction.node)} is subtracted class by class, the largest over the samples: the "
        "probabilities of a sample depend on the other samples",
        label="the maximum over the samples",
        why="softmax is unchanged by one number a sample; another number for each class changes it",
        evidence=(Evidence("change of a sample's probabilities by another sample's logits", f"{worst:.3g}", "0"),),
        fix=f"axis = {1 - axis}, keepdims = True",
        edits=axis_edits(case, reduction.node, 1 - axis, keepdims=True),
        severity="error",
    )


def _lone(case: Case, reduction: Reduction, axis: int) -> float:
    """Change of the first sample's probabilities when one logit of the second is raised far above all others."""
    output = case.roles.output
    assert output is not None

    def raise_one(value: Any) -> Any:
        new = np.array(value, np.float64)
        np.moveaxis(new, axis, 0)[1, 0] = float(np.abs(new).max()) + NEAR
        return new

    value = case.measurement.run({case.first(reduction.operand).key: raise_one}).value(output.birth)
    if value is None:
        return 0.0
    plain = np.moveaxis(np.asarray(case.value(output), np.float64), axis, 0)[0]
    moved = np.moveaxis(np.asarray(value, np.float64), axis, 0)[0]
    return float(np.abs(moved - plain).max()) if np.all(np.isfinite(moved)) else 1.0
