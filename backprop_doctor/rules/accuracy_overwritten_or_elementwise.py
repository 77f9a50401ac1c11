"""BD505 accuracy-overwritten-or-elementwise: the accuracy keeps the last sample only, or counts entries.

What it does
------------
Finds a count that is set for each sample instead of raised, and an accuracy
that counts entries of one-hot arrays instead of samples.

Why it is wrong
---------------
A count that is set again for each of N samples knows the last one alone: it
shows 0 or 1 / N.

Two one-hot rows of C classes that differ still agree in C - 2 entries. The
mean over all entries is therefore

    1 - 2 * (share of wrong samples) / C

and a predictor that is always wrong scores 1 - 2 / C, which is 0.8 for ten
classes.

Example (samples first)
-----------------------
Rounded probabilities and one-hot labels are compared entry by entry::

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
        accuracy = np.mean(np.round(P) == Y_test)
        print(epoch, "accuracy", accuracy)

Use instead (samples first)
---------------------------
Compare the classes, one number a sample::

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

How it is detected
------------------
The scores are replaced by predictions that are all wrong. A true accuracy is
0. If the metric is (C - 2) / C of its top, the comparison of C entries a
sample is blamed. If the metric depends on the last sample and on no other,
the assignment inside the loop that should add is blamed.

Fix safety
----------
An assignment becomes +=. For a comparison of entries no edit is made. The
changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- Counters have plain names.
- With two classes both ways of counting agree, and nothing is reported.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  1.5.1: the rate of misclassification over all samples.
- NumPy reference, numpy.argmax:
  https://numpy.org/doc/stable/reference/generated/numpy.argmax.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import Accuracy
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Only the last sample decides the metric, or a predictor that is always wrong scores points."""
    accuracy = case.accuracy
    if accuracy is None or accuracy.unit is not None:
        return
    yield from _elementwise(case, accuracy)
    yield from _overwritten(case, accuracy)


def _elementwise(case: Case, accuracy: Accuracy) -> Iterator[Sighting]:
    """Entries of one-hot arrays are compared: all those zeros that agree are counted."""
    axis, top, wrong = case.axes.output_samples, accuracy.perfect[0], accuracy.wrong
    if axis is None or wrong is None or not 0 < wrong < top:
        return
    for event in accuracy.traces[0].events[case.roles.training.start :]:
        node = case.program.sites[event.site].node
        value = np.asarray(event.value)
        if event.index > accuracy.event.index or not isinstance(node, (ast.Compare, ast.Call)) or value.ndim != 2:
            continue
        classes = value.shape[1 - axis]
        expected = top * (classes - 2) / classes
        if value.dtype.kind != "b" or value.shape[axis] != accuracy.samples or not value.all() or classes < 3:
            continue
        if abs(wrong - expected) > 1e-9 * top:
            continue
        yield Sighting(
            node=node,
            message=f"{case.text(node)} compares {classes} entries a sample: a predictor that is always wrong scores "
            f"{wrong:.3g}",
            label="compares entries, not samples",
            why=f"two one-hot rows of different classes still agree in {classes - 2} of {classes} entries",
            evidence=(
                Evidence(f"{accuracy.quantity.name} when every prediction is wrong", f"{wrong:.3g}", "0"),
                Evidence(f"{accuracy.quantity.name} when every prediction is right", f"{top:.3g}", f"{top:.3g}"),
            ),
            fix=f"compare the classes: np.argmax(..., axis={1 - axis}) of both",
            edits=_classes(case, node, 1 - axis),
            objects=(accuracy.quantity.object,),
        )
        return


def _classes(case: Case, node: ast.expr, axis: int) -> tuple[Edit, ...]:
    """The largest entries of both sides of a comparison in the place of all; rounding adds nothing to that."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq):
        return ()
    sides = [node.left, node.comparators[0]]
    inner = [s.args[0] if isinstance(s, ast.Call) and len(s.args) == 1 and not s.keywords else s for s in sides]
    inner = [s.left if isinstance(s, ast.Compare) else s for s in inner]
    return tuple(case.edit(side, f"np.argmax({case.text(s)}, axis={axis})") for side, s in zip(sides, inner))


def _overwritten(case: Case, accuracy: Accuracy) -> Iterator[Sighting]:
    """A counter that is set in the loop over the samples instead of raised."""
    training = case.program.sites[case.roles.training.loop].node
    loops = [n for n in ast.walk(case.source.tree) if isinstance(n, ast.For) and n is not training]
    assignments = [node for loop in loops for node in _set_in(loop)]
    # What sets the counter back for another turn does not hang on the predictions.
    counting = {id(case.program.sites[e.site].statement) for e in accuracy.chain}
    chosen = [a for a in assignments if id(a) in counting]
    if not chosen:
        return
    top, n = accuracy.perfect[0], accuracy.samples
    last = accuracy.score(lambda m: np.arange(m) == m - 1)
    others = accuracy.score(lambda m: np.arange(m) < m - 1)
    if last != top or others != accuracy.wrong or top == accuracy.wrong:
        return
    node = chosen[-1]
    name = case.text(node.targets[0])
    yield Sighting(
        node=node,
        message=f"{name} is set for each sample and never added to: only the last of the {n} samples counts",
        label="overwrites the count",
        why=f"{name} has to be raised by 1 for each hit; set again each time, it knows the last sample alone",
        evidence=(
            Evidence(
                f"{accuracy.quantity.name} when only the last prediction is right", f"{last:.3g}", f"1/{n} of the top"
            ),
            Evidence(
                f"{accuracy.quantity.name} when all but the last are right", f"{others or 0:.3g}", "nearly the top"
            ),
        ),
        fix=f"{name} += {case.text(node.value)}",
        edits=(case.edit(node, f"{name} += {case.text(node.value).lstrip('+ ')}"),),
        objects=(accuracy.quantity.object,),
    )


def _set_in(loop: ast.For) -> list[ast.Assign]:
    """Assignments of a number or a comparison to one name inside a loop, the name not being read in them."""
    found = []
    for node in ast.walk(loop):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            reads = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
            if node.targets[0].id not in reads:
                found.append(node)
    return found
