"""BD508 labels-of-another-set: predictions are compared with the labels of other samples.

What it does
------------
Finds predictions for one set of samples that are compared with the labels of
another.

Why it is wrong
---------------
Prediction i and label i have to belong to one sample. With C classes in equal
shares, predictions and the labels of other samples agree in one case of C: a
perfect network shows 0.1 for ten classes.

Example (samples first)
-----------------------
P are the predictions for X_test, and the labels are those of X_train::

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
        correct = 0
        for i in range(len(X_test)):
            if np.argmax(P[i]) == np.argmax(Y_train[i]):
                correct = correct + 1
        accuracy = correct / len(X_test)
        print(epoch, "accuracy", accuracy)

Use instead (samples first)
---------------------------
The labels of the samples that are scored::

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
        correct = 0
        for i in range(len(X_test)):
            if np.argmax(P[i]) == np.argmax(Y_test[i]):
                correct = correct + 1
        accuracy = correct / len(X_test)
        print(epoch, "accuracy", accuracy)

How it is detected
------------------
The scores are replaced by labels: those of their own set, and the first N of
each longer array of labels that the program reads. If its own labels do not
give the full metric and the others do, the line that reads these is blamed.
Arrays of inputs that begin with the samples scored clear their labels.

Fix safety
----------
No edit is made: which labels belong to the samples is known to the author.

Known limits
------------
- Two sets of the same size cannot be told apart, and nothing is reported.
- Labels are one-hot or class numbers, and the output has a column a class.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  1.5.1: the rate of misclassification over all samples.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import as_target
from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import Accuracy
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The metric is full when the predictions are the first labels of a set of another size."""
    accuracy, axis = case.accuracy, case.axes.output_samples
    if accuracy is None or axis is None or accuracy.unit is not None:
        return
    final = _final(case, accuracy)
    perfect, _, none = (_number(trace.value(final.key)) for trace in accuracy.traces)
    if not perfect or not none:
        return
    classes = case.axes.sizes.get("classes", 0)
    for event, length in _others(case, accuracy, final, axis):
        target = as_target(event.value, (length, classes) if axis == 0 else (classes, length))
        for n in accuracy.sets if target is not None else ():
            if n >= length or _belongs_to_scored(case, length, n):
                continue
            trace = accuracy.predict(target[:n] if axis == 0 else target[:, :n])  # type: ignore[index]
            full = _number(trace.value(final.key)) if trace else None
            # A counter's first value is 1 whatever is predicted.
            if (
                full is None
                or full == none
                or not any(abs(full - unit) < 1e-9 * unit for unit in (1.0, 100.0, float(n)))
            ):
                continue
            node = case.program.sites[event.site].node
            name = case.program.sites[final.site].target or accuracy.quantity.name
            yield Sighting(
                node=node,
                message=f"the predictions for {n} samples are compared with the first {n} of the {length} labels "
                f"{case.text(node)}: labels of another set",
                label=f"labels of {length} samples, predictions for {n}",
                why="prediction i and label i have to belong to one sample; two sets agree by chance only",
                evidence=(
                    Evidence(
                        f"{name} when the predictions are the labels of their own set", f"{perfect:.3g}", f"{full:g}"
                    ),
                    Evidence(f"{name} when they are the first {n} of {case.text(node)}", f"{full:.3g}", "by chance"),
                ),
                fix="the labels that belong to the samples that are scored",
                edits=_own_labels(case, event, length, n),
                objects=(accuracy.quantity.object,),
            )
            return


def _own_labels(case: Case, event: Event, length: int, n: int) -> tuple[Edit, ...]:
    """Labels of as many samples as there are predictions, where one name alone stands for such."""
    wanted = tuple(n if side == length else side for side in np.shape(event.value))
    site = case.program.sites[event.site]
    names = set()
    for other in case.trace.events:
        place = case.program.sites[other.site]
        target = place.target or ""
        fits = np.shape(other.value) == wanted and place.scope in ("", site.scope) and target.isidentifier()
        if fits and np.all(np.isin(other.value, event.value)):
            names.add(target)
    return (case.edit(site.node, names.pop()),) if len(names) == 1 and isinstance(site.node, ast.Name) else ()


def _final(case: Case, accuracy: Accuracy) -> Event:
    """The last number of the first turn that depends on predictions: what is shown."""
    # The chain was seen in the run in which all predictions are right, which counts more than others do.
    events = accuracy.traces[0].events
    ticks = [e.index for e in events if e.object == -1 and e.site == case.roles.training.loop]
    end = ticks[1] if len(ticks) > 1 else len(events)
    inside = [e for e in accuracy.chain if e.index < end]
    return (inside or list(accuracy.chain))[-1]


def _number(value: object) -> float | None:
    return None if value is None or np.size(np.asarray(value)) != 1 else float(np.squeeze(np.asarray(value)))


def _others(case: Case, accuracy: Accuracy, final: Event, axis: int) -> Iterator[tuple[Event, int]]:
    """Longer arrays of labels that are read once training has begun, near the metric first."""
    classes = case.axes.sizes.get("classes", 0)
    seen: set[int] = set()
    for event in reversed(accuracy.traces[0].events[case.roles.training.start : final.index]):
        site = case.program.sites[event.site]
        if event.object == -1 or event.object in seen or site.kind != "load" or not isinstance(event.value, np.ndarray):
            continue
        seen.add(event.object)
        sides = event.value.shape
        length = sides[0] if len(sides) == 1 or axis == 0 else sides[1] if len(sides) == 2 else 0
        named = len(sides) == 1 or sides[1 - axis] in (1, classes)
        if length > 1 and named and np.all(event.value == np.round(event.value)):
            yield event, length


def _belongs_to_scored(case: Case, length: int, n: int) -> bool:
    """Whether the scored inputs are the first of an array of that length: then its labels are theirs."""
    sides = case.axes.input_samples or 0
    arrays = {
        e.object: np.asarray(e.value) if sides == 0 else np.asarray(e.value).T
        for e in case.short.events
        if e.object != -1 and np.ndim(e.value) == 2 and np.asarray(e.value).dtype.kind in "fiu"
    }
    scored = [a for a in arrays.values() if len(a) == n]
    long = [a for a in arrays.values() if len(a) == length and a.shape[1] > 1]
    features = case.axes.sizes.get("features")
    return any(s.shape[1] == w.shape[1] == features and np.array_equal(s, w[:n]) for s in scored for w in long)
