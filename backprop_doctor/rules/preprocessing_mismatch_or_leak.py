"""BD603 preprocessing-mismatch-or-leak: the samples scored are scaled in another way than those trained on.

What it does
------------
Warns that the samples that are scored reach the network in another scale than
those it was trained on.

Why it is wrong
---------------
Weights fit the inputs they were trained on. With test inputs s times as large
every sum is s times as large, and the scores are those of another network.
Standardised by its own mean and spread a test set is shifted against the
training set: the same picture becomes other numbers.

Example (samples first)
-----------------------
The training inputs are divided by 50, the test inputs are not::

    import numpy as np

    rng = np.random.default_rng(0)
    X = 50 * rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train = X[:200] / 50, Y[:200]
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

Use instead (samples first)
---------------------------
Both divided by the same number::

    import numpy as np

    rng = np.random.default_rng(0)
    X = 50 * rng.normal(size=(300, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    X_train, Y_train = X[:200] / 50, Y[:200]
    X_test, Y_test = X[200:] / 50, Y[200:]
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
Arrays that meet the first weights once training has begun, and have another
number of samples, are compared with the inputs trained on. A largest entry
more than ten times as large or as small is reported, and so are two sets that
both have mean 0 and spread 1 in every feature to rounding.

Fix safety
----------
No edit is made: where the sets come from is known to the author.

Known limits
------------
- It is a warning: sets may differ by nature, and only a factor of ten or
  exact standardisation of both is reported.
- Statistics taken over training and test samples together are not found.

References
----------
- Hastie, Tibshirani and Friedman (2009), The Elements of Statistical
  Learning, second edition, Springer, section 7.10.2: the wrong and right way
  to do cross-validation.
- LeCun, Bottou, Orr and Mueller (1998), Efficient BackProp, in Neural
  Networks: Tricks of the Trade, Springer, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence

SEVERITY = "warning"

RATIO = 10.0
EXACT = 1e-6


def examine(case: Case) -> Iterator[Sighting]:
    """Inputs that meet the first weights after training began, in another scale than those trained on."""
    axis = case.axes.input_samples
    batch = case.trace.value(case.roles.batch.birth)
    if axis is None or batch is None or np.ndim(batch) != 2:
        return
    trained = _by_sample(np.asarray(batch, np.float64), axis)
    whole = _whole(case, axis)
    reference = trained if whole is None else whole
    for event in _scored(case, np.shape(batch), axis):
        other = _by_sample(np.asarray(event.value, np.float64), axis)
        name = case.text(case.program.sites[event.site].node)
        sizes = float(np.abs(reference).max()), float(np.abs(other).max())
        if min(sizes) > 0 and not 1 / RATIO < sizes[1] / sizes[0] < RATIO:
            yield Sighting(
                node=case.program.sites[event.site].node,
                message=f"{name} reaches up to {sizes[1]:.4g}, and the inputs trained on up to {sizes[0]:.4g}: they "
                "are not scaled alike",
                label="another scale than in training",
                why="weights fit inputs of the scale they were trained on; in another they mean nothing",
                evidence=(Evidence(f"largest entry of {name}", f"{sizes[1]:.4g}", f"about {sizes[0]:.4g}"),),
                fix="scale both sets by the same numbers",
            )
            return
        if len(other) > 3 and len(reference) > 3 and _is_standard(reference) and _is_standard(other):
            worst = float(np.abs(other.mean(axis=0)).max())
            yield Sighting(
                node=case.program.sites[event.site].node,
                message=f"{name} has mean 0 and spread 1 by itself, as the inputs trained on have: it was scaled by "
                "statistics of its own",
                label="scaled by its own statistics",
                why="the same picture becomes other numbers in another set; mean and spread of the training set hold "
                "for both",
                evidence=(
                    Evidence(f"largest mean of a feature of {name}", f"{worst:.1g}", f"about {len(other) ** -0.5:.1g}"),
                ),
                fix="subtract the training mean and divide by the training spread",
            )
            return


def _by_sample(value: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return value if axis == 0 else value.T


def _whole(case: Case, axis: int) -> NDArray[np.float64] | None:
    """All inputs, where the batch is a part of them."""
    value = case.trace.value(case.roles.inputs[0].birth)
    same = value is not None and np.ndim(value) == 2 and np.asarray(value).dtype.kind == "f"
    features = np.shape(case.trace.value(case.roles.batch.birth))[1 - axis]
    return _by_sample(np.asarray(value), axis) if same and np.shape(value)[1 - axis] == features else None


def _is_standard(rows: NDArray[np.float64]) -> bool:
    """Whether every feature that varies has mean 0 and spread 1 to rounding."""
    spread = rows.std(axis=0)
    varying = spread > EXACT
    if not varying.any() or np.abs(rows.mean(axis=0)).max() > EXACT:
        return False
    return bool(np.all(np.abs(spread[varying] - 1) < 1e-3))


def _scored(case: Case, shape: tuple[int, ...], axis: int) -> Iterator[Event]:
    """Other sets that meet the first weights in one expression, once training has begun."""
    matrices = [p for p in case.roles.parameters if sum(n > 1 for n in p.shape) == 2]
    # A layer of the same shape takes activations, not inputs.
    if not matrices or any(p.shape == matrices[0].shape for p in matrices[1:]):
        return
    first = matrices[0]
    events = case.short.events
    latest: dict[int, Event] = {}
    own = case.trace.by_key[case.roles.batch.birth].object
    seen: set[int] = {own}
    roles = case.roles
    computed = {e.site for e in case.step_events if roles.on_parameters[e.index] or roles.on_labels[e.index]}
    # Deltas and activations meet weights too, and their size says nothing of the inputs.
    births = {e.object: e.site for e in reversed(events) if e.object != -1}
    for event in events[case.roles.training.start :]:
        if event.object == -1:
            continue
        latest[event.site] = event
        operands = [latest[c] for c in case.program.sites[event.site].children if c in latest]
        if not any(np.shape(o.value) == first.shape for o in operands):
            continue
        for operand in operands:
            sides = np.shape(operand.value)
            fits = len(sides) == 2 and sides[1 - axis] == shape[1 - axis] and sides[axis] not in (0, 1, shape[axis])
            is_data = births[operand.object] not in computed
            if fits and is_data and operand.object not in seen and sides != first.shape:
                seen.add(operand.object)
                yield operand
