"""BD502 accuracy-loop-bounds: the accuracy looks at a few samples and divides by all of them.

What it does
------------
Finds an accuracy that looks at the first few samples only and divides by all
of them.

Why it is wrong
---------------
N samples, C classes, labels Y of shape (N, C). A loop over range(Y.shape[1])
has C turns, one for each class, and counts at most C hits:

    accuracy = hits / N  <=  C / N

With 10,000 images and ten classes a perfect network shows 0.001, or 0.1 %.
The network may be sound; only the number shown is wrong. With samples in
columns, Y of shape (C, N), it is range(Y.shape[0]) that counts the classes.

Example (samples first)
-----------------------
Y_test is (100, 3); the loop has 3 turns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train, X_test, Y_test = X[:200], Y[:200], X[200:], Y[200:]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))


    def forward(X):
        E = np.exp(X @ W + b - np.max(X @ W + b, axis=1, keepdims=True))
        return E / E.sum(axis=1, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / len(X_train)
        W = W - 0.5 * X_train.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        P = forward(X_test)
        correct = 0
        for i in range(Y_test.shape[1]):
            if np.argmax(P[i]) == np.argmax(Y_test[i]):
                correct = correct + 1
        print(epoch, "accuracy", correct / Y_test.shape[0])

Use instead (samples first)
---------------------------
One turn for each sample. Without a loop the accuracy is
np.mean(P.argmax(axis=1) == Y_test.argmax(axis=1))::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train, X_test, Y_test = X[:200], Y[:200], X[200:], Y[200:]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))


    def forward(X):
        E = np.exp(X @ W + b - np.max(X @ W + b, axis=1, keepdims=True))
        return E / E.sum(axis=1, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / len(X_train)
        W = W - 0.5 * X_train.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        P = forward(X_test)
        correct = 0
        for i in range(Y_test.shape[0]):
            if np.argmax(P[i]) == np.argmax(Y_test[i]):
                correct = correct + 1
        print(epoch, "accuracy", correct / Y_test.shape[0])

How it is detected
------------------
The metric is the number that jumps when predictions change and stands still
when the output moves by a billionth. The output is replaced, on its way to
the metric, by predictions that are all right, all wrong, or right for the
first k samples. If the first k alone decide the number, and a loop on the way
has as many turns as another axis has entries, that loop is blamed.

Fix safety
----------
Where the bound is read off a shape, the index is changed to the sample axis;
where it is a part of a number of samples, small edits of it are tried.
The changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- The labels are one-hot or class numbers, every class occurs among them, and
  the output has one column (or row) a class.
- The accuracy must be computed in the first turn of the training loop; one
  that is only computed when training is over is not reported.
- A slice such as P[:10] has no loop to blame, and is not reported.

References
----------
- NumPy reference, numpy.argmax:
  https://numpy.org/doc/stable/reference/generated/numpy.argmax.html
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  1.5.1: the rate of misclassification over all samples.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import loops_over
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Only the first k of N predictions matter to the metric, and a loop runs k times."""
    accuracy = case.accuracy
    if accuracy is None or accuracy.looked_at >= accuracy.samples:
        return
    k, n, top = accuracy.looked_at, accuracy.samples, accuracy.perfect[0]
    size = next(
        (s for name, s in case.axes.sizes.items() if s >= k and name != "samples" and loops_over(case, s, accuracy)), k
    )
    # Some of the samples, divided by as many, are a choice; as many as there are units or classes are none.
    if size == k and any(abs(top - unit) < 1e-9 * unit for unit in (1.0, 100.0)) and n != 100 * k:
        size = next((s for name, s in case.axes.sizes.items() if s == k and name != "samples"), 0)
    for loop in loops_over(case, size, accuracy)[:1]:
        over = next((a for a, s in case.axes.sizes.items() if s == size), "")
        fix, edits = _fix(case, loop, n)
        yield Sighting(
            node=loop.iter,
            message=f"the accuracy looks at {size} of the {n} samples: the loop runs over the {over or 'first few'}",
            label=f"{size} turns, not {n}",
            why=f"with one turn for each of the {size} {over} at most {size} hits are counted, and they are "
            f"divided by {n}",
            evidence=(
                Evidence(
                    f"{accuracy.quantity.name} when every prediction is right",
                    f"{top:.3g}",
                    "100" if top * n / size > 1.5 else "1",
                ),
                Evidence("predictions that can change it", f"the first {size}", f"all {n}"),
            ),
            fix=fix,
            edits=edits,
            objects=(accuracy.quantity.object,),
        )


def _fix(case: Case, loop: ast.For, n: int) -> tuple[str, tuple[Edit, ...]]:
    """Swap the index of the shape in ``range(...)`` for the axis with the samples."""
    for node in ast.walk(loop.iter):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
            continue
        base = node.value.value if isinstance(node.value, ast.Attribute) else None
        if isinstance(node.value, ast.Call) and node.value.args:
            base = node.value.args[0]
        for event in case.trace.events:
            if base is not None and case.program.sites[event.site].node is base and n in np.shape(event.value):
                axis = np.shape(event.value).index(n)
                return f"{case.text(node.value)}[{axis}]", (case.edit(node.slice, str(axis)),)
    return f"loop over all {n} samples", ()
