"""BD506 evaluated-on-training-data: the accuracy shown is taken on the images the network was trained on.

What it does
------------
Warns that the accuracy shown is taken on the samples the network was trained
on, and that no other samples are scored.

Why it is wrong
---------------
The number is a right number with a modest meaning. D * C weights are chosen
to fit the N training samples, so the accuracy on these N says how well they
are fitted, not how well samples never seen are recognised. A network with
enough weights reaches 100 % on labels drawn by lot. What was learned shows on
samples that had no part in training.

Example (samples first)
-----------------------
A is the output on X, and X is what the step trains on::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        hits = A.argmax(axis=1) == labels
        print(step, "accuracy", np.mean(hits))

Use instead (samples first)
---------------------------
Keep some samples apart, train without them, and score on them::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train, X_test, Y_test = X[:200], Y[:200], X[200:], Y[200:]
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))


    def forward(X):
        E = np.exp(X @ W + b - np.max(X @ W + b, axis=1, keepdims=True))
        return E / E.sum(axis=1, keepdims=True)


    for epoch in range(12):
        A = forward(X_train)
        dZ = (A - Y_train) / len(X_train)
        W = W - 0.5 * X_train.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        P = forward(X_test)
        hits = P.argmax(axis=1) == Y_test.argmax(axis=1)
        print(epoch, "accuracy", np.mean(hits))

How it is detected
------------------
The rows of all arrays of inputs that are read once training has begun are
compared with those of the batches. If all of them were trained on, and one of
the arrays has as many samples as the accuracy is about, the figure is one on
training data. Where rows cannot be compared, right and wrong predictions are
put in the place of the training step's own output: if they alone decide the
accuracy, and no other set with known labels is scored, that tells the same.

Fix safety
----------
No edit is proposed: which samples to keep apart is a decision about the data.

Known limits
------------
- A training set that was changed in the meantime, scaled anew or with noise
  added, is not recognised.
- Fewer than 20 samples are taken for all there are, such as a truth table.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, sections
  5.2 and 5.3: generalization, and sets kept apart for testing.
- Hastie, Tibshirani and Friedman (2009), The Elements of Statistical
  Learning, second edition, Springer, chapter 7: training error against test
  error.
- LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to
  document recognition, Proceedings of the IEEE 86, 2278-2324: the MNIST
  training and test sets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence

SEVERITY = "warning"
ABOUT_DATA = True

FEW = 20  # so few samples are all there are: a truth table, say
MANY = 20_000  # rows that are compared


def examine(case: Case) -> Iterator[Sighting]:
    """The metric reads the output of the training step itself or its inputs again, and no other set is ever read."""
    accuracy = case.accuracy
    if accuracy is None or accuracy.samples < FEW:
        return
    sizes = _sizes_known(case)
    if not (accuracy.trained_on if sizes is None else accuracy.samples in sizes):
        return
    # Accuracy on the training batch while training goes on is common and useful when a test follows;
    # the claim is only that this run shows no other figure.
    yield Sighting(
        node=case.program.sites[accuracy.quantity.birth[0]].node,
        message=f"{accuracy.quantity.name} is taken on the images the network was trained on: it is not a test result",
        label="scored on the training images",
        why="a network can learn its training images by heart; only images it never saw tell what it learned",
        evidence=(
            Evidence("images scored that were also trained on", f"{accuracy.samples} of {accuracy.samples}", "0"),
        ),
        fix="score on images kept apart from training",
        objects=(),
    )


def _sizes_known(case: Case) -> set[int] | None:
    """The sizes of the sets of samples that are read from training on, if all were trained on; None if unknown.

    Empty where samples are read that were not trained on.
    """
    axis, short, batch = case.axes.input_samples, case.short, case.roles.batch
    if axis is None or len(batch.shape) != 2 or short.ended != "finished":
        return None
    trained = {row for event in _batches(case) for row in _rows(event.value, axis)}
    sizes, seen = set[int](), set[int]()
    for event in short.events[case.roles.training.start :]:
        value = event.value
        if event.object in seen or np.ndim(value) != 2 or np.shape(value)[1 - axis] != batch.shape[1 - axis]:
            continue
        seen.add(event.object)
        if np.shape(value)[axis] > MANY or len(trained) > MANY:
            return None
        known = [row in trained for row in _rows(value, axis)]
        # A layer as wide as the inputs is computed, and has other numbers in it.
        if not all(known) and (any(known) or case.program.sites[event.site].kind == "load"):
            return set()
        sizes |= {len(known)} if all(known) else set()
    return sizes


def _batches(case: Case) -> list[Event]:
    """The inputs of the steps of the first turns: what passes at that place when a set is scored is no batch."""
    step, birth = case.roles.step, case.roles.batch.birth
    if case.roles.batch.index < step.start:
        return [case.trace.by_key[birth]]
    ticks = [e.index for e in case.short.events if e.object == -1 and e.occurrence >= 0 and e.site == step.loop]
    passed = case.short.at(birth[0])
    place = sum(step.start <= e.index < case.roles.batch.index for e in passed)
    edges = zip(ticks, [*ticks[1:], len(case.short.events)], strict=True)
    turns = ([e for e in passed if start <= e.index < end] for start, end in edges)
    return [turn[place] for turn in turns if len(turn) > place]


def _rows(value: NDArray[np.float64], axis: int) -> list[bytes]:
    """The samples of an array of inputs, as they lie in memory."""
    rows = np.asarray(value, np.float64)
    return [row.tobytes() for row in (rows if axis == 0 else rows.T)] if rows.ndim == 2 else []
