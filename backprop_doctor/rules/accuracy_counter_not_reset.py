"""BD503 accuracy-counter-not-reset: hits of earlier epochs are counted again in later ones.

What it does
------------
Finds a counter of hits that is set to zero once, before the epochs, so that
every epoch adds to the hits of all earlier ones.

Why it is wrong
---------------
With N samples and h[k] hits in epoch k, the accuracy of epoch k is h[k] / N.
Without a reset the program shows

    (h[1] + h[2] + ... + h[k]) / N

which grows from epoch to epoch even if nothing is learned, and passes 1 (or
100 %) as soon as the hits of all epochs together exceed N.

Example (samples first)
-----------------------
correct is set once, above the loop over the epochs::

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


    correct = 0
    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / len(X_train)
        W = W - 0.5 * X_train.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        P = forward(X_test)
        for i in range(Y_test.shape[0]):
            if np.argmax(P[i]) == np.argmax(Y_test[i]):
                correct = correct + 1
        print(epoch, "accuracy", correct / Y_test.shape[0])

Use instead (samples first)
---------------------------
Start every count at zero::

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
The output is replaced by perfect predictions in the first two turns of the
training loop. A true accuracy is the same twice. If the second number is
larger, and a name on the way to it is set to a number outside the loop and
changed inside, that line is blamed.

Fix safety
----------
The line is moved to the start of the loop over the epochs, in the indentation
it needs there. The changed program is examined again from another seed, and
the fix is called verified only if the finding is gone and no error is new.

Known limits
------------
- The counter is a plain name set to a plain number; counters that are
  attributes or list entries are not followed.
- A counter that is set in a loop around the training loop, or now and then
  inside it, is not reported: it counts over batches.
- The labels are one-hot or class numbers, every class occurs among them, and
  the output has one column (or row) a class.
- The metric must be reached in each of the first two turns of the training
  loop; one shown every hundredth epoch is not put to the test.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  1.5.1: the rate of misclassification over all samples.
- The Python tutorial, section 4.2, for statements:
  https://docs.python.org/3/tutorial/controlflow.html#for-statements
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeGuard

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import counter_names
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A perfect predictor scores more in the second turn than in the first."""
    accuracy = case.accuracy
    if accuracy is None or len(accuracy.perfect) < 2 or accuracy.perfect[0] <= 0:
        return
    first, second = accuracy.perfect[:2]
    if second <= first * (1 + 1e-9):
        return
    found = _initialisation(case, counter_names(case, accuracy))
    if found is None:
        return
    statement, loop = found
    name = case.text(statement.targets[0])
    yield Sighting(
        node=statement,
        message=f"{name} is set before the epoch loop and never reset: hits carry over from epoch to epoch",
        label="set once, outside the epoch loop",
        why=f"after k epochs {name} holds the hits of all k of them",
        evidence=(
            Evidence(
                f"{accuracy.quantity.name} of a perfect predictor, epochs 1 and 2",
                f"{first:.3g}, {second:.3g}",
                "the same twice",
            ),
        ),
        fix=f"{case.text(statement)} inside the epoch loop",
        edits=_move(case, statement, loop),
        objects=(accuracy.quantity.object,),
    )


def _initialisation(case: Case, names: list[str]) -> tuple[ast.Assign, ast.For | ast.While] | None:
    """The assignment of a number to one of the names, outside the training loop and in its block."""
    loop = case.program.sites[case.roles.training.loop].node
    assert isinstance(loop, (ast.For, ast.While))
    changed = {
        ast.unparse(t)
        for n in ast.walk(loop)
        if isinstance(n, (ast.Assign, ast.AugAssign))
        for t in (n.targets if isinstance(n, ast.Assign) else [n.target])
    }
    # A counter that is reset now and then, or in an outer loop, counts over batches, as it should.
    reset = {ast.unparse(n.targets[0]) for n in ast.walk(loop) if _is_start(n)}
    outer = [
        n
        for n in ast.walk(case.source_of(loop).tree)
        if isinstance(n, (ast.For, ast.While)) and n is not loop and any(inner is loop for inner in ast.walk(n))
    ]
    within = {id(inner) for n in outer for inner in ast.walk(n)}
    for node in ast.walk(case.source.tree):
        if (
            _is_start(node)
            and id(node) not in within
            and not (loop.lineno <= node.lineno <= (loop.end_lineno or 0))
            and ast.unparse(node.targets[0]) in (changed & set(names)) - reset
        ):
            return node, loop
    return None


def _is_start(node: ast.AST) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.end_lineno is not None


def _move(case: Case, statement: ast.Assign, loop: ast.For | ast.While) -> tuple[Edit, ...]:
    """Take the line out and put it first into the loop body, in the body's indentation."""
    text, own = case.source_of(statement).line(statement.lineno).strip(), case.text(statement)
    alone = text.startswith(own) and text[len(own) :].strip()[:1] in ("", "#")
    if not alone or statement.lineno != statement.end_lineno:
        return ()
    body = loop.body[0]
    indent = case.source_of(body).line(body.lineno)[: body.col_offset]
    if indent.strip() or body.lineno == loop.lineno:
        return ()
    whole = case.insertion(statement.lineno, 1, "", statement).position
    newline = "\r\n" if "\r\n" in case.source_of(body).text else "\n"
    return (
        Edit(replace(whole, end_line=statement.lineno + 1), ""),
        case.insertion(body.lineno, 1, f"{indent}{text}{newline}", body),
    )
