"""BD501 argmax-axis: the predicted class is searched along the samples, or in the whole array.

What it does
------------
Finds an accuracy whose argmax runs over the samples, or over the whole array,
instead of over the classes of each sample.

Why it is wrong
---------------
With N samples and C classes the scores P have shape (N, C). The predicted
class of sample i is the place of the largest of P[i, 0] ... P[i, C - 1]:

    np.argmax(P, axis=1)   N numbers, one a sample
    np.argmax(P, axis=0)   C numbers: the best sample of each class
    np.argmax(P)           1 number: a place in the flattened array

Compared with labels treated in the same way, the last two give a number
between 0 and 1 that looks like an accuracy and is none.

Example (samples first)
-----------------------
P is (100, 3); the argmax gives 3 numbers::

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
        accuracy = np.mean(P.argmax(axis=0) == Y_test.argmax(axis=0))
        print(epoch, "accuracy", accuracy)

Example (features first)
------------------------
P is (3, 100); the argmax gives 3 numbers::

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
        accuracy = np.mean(P.argmax(axis=1) == Y_test.argmax(axis=1))
        print(epoch, "accuracy", accuracy)

Use instead (samples first)
---------------------------
The classes lie along axis 1::

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
The classes lie along axis 0::

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
The scores are replaced by predictions that are all right, all wrong, or right
for the first half. A true accuracy of the last is one half. If it is not, the
calls on the way to the number whose result says where the scores are largest
are looked up, and the one that gives another count of numbers than there are
samples is blamed.

Fix safety
----------
The axis is changed in each such call, of the scores and of the labels. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- The metric must change when predictions do. One that stays as it is, or that
  is compared in shapes that do not fit, is not put to the test.
- Labels are one-hot or class numbers, and the output has a column a class.
- The metric must be reached in the first turns of the training loop or soon
  after it.

References
----------
- NumPy reference, numpy.argmax:
  https://numpy.org/doc/stable/reference/generated/numpy.argmax.html
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  1.5.1: the rate of misclassification over all samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.oracles.accuracy import Accuracy, ArgMax, argmaxes
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The metric is no accuracy, and on the way to it an argmax runs over the samples or over everything."""
    accuracy, axis = case.accuracy, case.axes.output_samples
    if accuracy is None or axis is None or accuracy.unit is not None:
        return
    before = [a for a in argmaxes(case, case.short) if a.event.index <= accuracy.event.index]
    wrong = [a for a in before if _is_wrong(a, axis, accuracy)]
    scores = [a for a in wrong if not _is_one_hot(a)]
    if not scores:
        return
    call = scores[-1]
    node = case.program.sites[call.event.site].node
    samples, classes = np.shape(call.operand.value)[axis], np.shape(call.operand.value)[1 - axis]
    count = int(np.size(call.event.value))
    over = "over the samples" if count > 1 else "over the whole array"
    operand = case.program.sites[call.operand.site]
    unit = 100.0 if accuracy.perfect[0] > 1.5 else 1.0
    yield Sighting(
        node=node,
        message=f"{case.text(node)} runs {over}: it gives {count} number{'s' * (count != 1)}, not one for each of the "
        f"{samples} samples",
        label=f"runs {over}",
        why=f"{case.text(operand.node)} has shape {np.shape(call.operand.value)}: the predicted class of a sample is "
        f"the place of the largest of its {classes} scores, along axis {1 - axis}",
        evidence=(
            Evidence("numbers that the argmax gives", str(count), str(samples)),
            Evidence(
                f"{accuracy.quantity.name} when half of the predictions are right",
                "unknown" if accuracy.half is None else f"{accuracy.half:.3g}",
                f"{unit * (samples // 2) / samples:.3g}",
            ),
        ),
        fix=f"axis = {1 - axis}",
        edits=_edits(case, wrong, 1 - axis),
        objects=(accuracy.quantity.object,),
    )


def _is_wrong(call: ArgMax, axis: int, accuracy: Accuracy) -> bool:
    shape = np.shape(call.operand.value)
    return 1 - axis not in call.axes and shape[axis] == accuracy.samples and shape[1 - axis] > 1


def _is_one_hot(call: ArgMax) -> bool:
    return bool(np.all(np.isin(call.operand.value, (0, 1))))


def _edits(case: Case, wrong: list[ArgMax], axis: int) -> tuple[Edit, ...]:
    nodes = {id(node): node for a in wrong if (node := case.program.sites[a.event.site].node)}
    return tuple(e for node in nodes.values() for e in axis_edits(case, node, axis, keepdims=False))  # type: ignore[arg-type]
