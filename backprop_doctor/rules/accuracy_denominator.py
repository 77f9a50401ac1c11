"""BD504 accuracy-denominator: the hits are divided by another number than that of the samples scored.

What it does
------------
Finds hits that are divided by another number than that of the samples they
were counted among, or divided with //.

Why it is wrong
---------------
The accuracy of a set of N samples is hits / N. With another number M the
program shows

    hits / M  =  (hits / N) * (N / M)

so that a perfect network shows N / M, and every other one is off by the same
factor. With // every share below 1 becomes 0.

Example (samples first)
-----------------------
100 test samples are scored, and 200 is the number of training samples::

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
        accuracy = correct / len(X_train)
        print(epoch, "accuracy", accuracy)

Use instead (samples first)
---------------------------
Divide by the number of samples that were looked at::

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
The scores are replaced by predictions that are all right, all wrong, or right
for the first half. If the metric is proportional to the share of right
predictions, and what a perfect predictor gets is neither 1, 100 nor the
number of samples, the division that takes the hits of all samples is blamed.
A // that turns half of the hits into 0 is blamed as well.

Fix safety
----------
The divisor is replaced by the length of the labels that are compared, where
they have a name, or of what the loop goes through in which hits are counted;
// becomes /. A share of hits never becomes their number. The changed program
is examined again from another seed, and the fix is called verified only if
the finding is gone and no error is new.

Known limits
------------
- A count of hits that is shown as such is no fault, and not reported.
- Means of the accuracies of batches of unequal size are not recomputed.
- The metric must be reached in the first turns of the training loop or soon
  after it.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  1.5.1: the rate of misclassification over all samples.
- The Python reference, binary arithmetic operations:
  https://docs.python.org/3/reference/expressions.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import as_target
from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import Accuracy, loops_over
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A perfect predictor scores neither 1 nor 100, or half a predictor scores nothing, and a division is why."""
    accuracy = case.accuracy
    if accuracy is None or accuracy.unit is not None or accuracy.looked_at != accuracy.samples:
        return
    if accuracy.half is None or not accuracy.starts_low:
        return
    top, half, samples = accuracy.perfect[0], accuracy.half, accuracy.samples
    share = (samples // 2) / samples
    proportional = abs(half - top * share) < 1e-9 * top
    for node, hits, divisor in _divisions(case, accuracy):
        floor = isinstance(node.op, ast.FloorDiv)
        if floor and 0 <= hits < divisor and half < top * share * 0.9:
            yield _sighting(
                case,
                accuracy,
                node,
                f"{case.text(node)} is a whole number: every share below 1 becomes 0",
                "cuts the share off to 0",
                Evidence(
                    f"{accuracy.quantity.name} when half of the predictions are right",
                    f"{half:.3g}",
                    f"{_unit(top) * share:.3g}",
                ),
                "divide with /",
                (case.edit(node, f"{case.text(node.left)} / {case.text(node.right)}"),),
            )
            return
        if floor or not proportional or not _is_out_of(hits, divisor, top, samples):
            continue
        text, edits = _fix(case, accuracy, node) if hits >= samples else ("", ())
        if not edits:
            said = f"the {samples} samples that are scored" if hits >= samples else f"the {hits:g} batches"
            text, edits = _turns(case, accuracy, node, samples if hits >= samples else round(hits), said)
        yield _sighting(
            case,
            accuracy,
            node,
            f"the hits among {samples} samples are divided by {divisor:g}: a perfect predictor scores {top:.3g}"
            if hits >= samples
            else f"the shares of {hits:g} batches are added up and divided by {divisor:g}: a perfect predictor scores "
            f"{top:.3g}",
            f"divides by {divisor:g}, not {samples if hits >= samples else round(hits)}",
            Evidence(f"{accuracy.quantity.name} when every prediction is right", f"{top:.3g}", f"{_unit(top):g}"),
            text,
            edits,
        )
        return


def _unit(top: float) -> float:
    return 100.0 if top > 10 else 1.0


def _sighting(
    case: Case,
    accuracy: Accuracy,
    node: ast.BinOp,
    message: str,
    label: str,
    evidence: Evidence,
    fix: str,
    edits: tuple[Edit, ...],
) -> Sighting:
    return Sighting(
        node=node,
        message=message,
        label=label,
        why=f"the accuracy is the share of the hits among the {accuracy.samples} samples that were looked at",
        evidence=(evidence,),
        fix=fix,
        edits=edits,
        objects=(accuracy.quantity.object,),
    )


def _is_out_of(hits: float, divisor: float, top: float, samples: int) -> bool:
    """Whether all hits of the set, as a number or in percent, are divided by another number than its samples."""
    counted = any(abs(hits - samples * factor) < 1e-9 * abs(hits) for factor in (1, 100))
    # Shares of batches that were added up are as many as there are batches.
    counted = counted or (1 <= hits < samples and hits == round(hits) and top < 1)
    return counted and divisor > 0 and any(abs(top - u * hits / divisor) < 1e-9 * top for u in (1.0, 100.0))


def _divisions(case: Case, accuracy: Accuracy) -> Iterator[tuple[ast.BinOp, float, float]]:
    """Divisions on the way to the metric: node, numerator for a perfect (or half-right) predictor, divisor."""
    for trace in accuracy.traces[:2]:
        latest: dict[int, Event] = {}
        for event in trace.events:
            if event.index > accuracy.event.index + 1:
                break
            latest[event.site] = event
            node = case.program.sites[event.site].node
            near = any(event.site == e.site for e in accuracy.chain)
            if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Div, ast.FloorDiv)):
                continue
            if not near and not isinstance(node.op, ast.FloorDiv):
                continue
            numbers = [_operand(case, node.left, latest, event.site), _operand(case, node.right, latest, event.site)]
            if numbers[0] is not None and numbers[1]:
                yield node, numbers[0], numbers[1]


def _operand(case: Case, node: ast.expr, latest: dict[int, Event], site: int) -> float | None:
    if isinstance(node, ast.Constant):
        number = case.number(node)
        return None if number is None else float(number)
    for child in case.program.sites[site].children:
        if case.program.sites[child].node is node and child in latest and np.size(latest[child].value) == 1:
            return float(np.squeeze(latest[child].value))
    return None


def _fix(case: Case, accuracy: Accuracy, node: ast.BinOp) -> tuple[str, tuple[Edit, ...]]:
    """The length of the labels that were compared, where they have a name."""
    axis = case.axes.output_samples or 0
    classes = case.axes.sizes.get("classes", 1)
    shape = (accuracy.samples, classes) if axis == 0 else (classes, accuracy.samples)
    for event in reversed(accuracy.traces[0].events[case.roles.training.start : accuracy.event.index]):
        site = case.program.sites[event.site]
        if event.object == -1 or not isinstance(site.node, ast.Name) or not isinstance(event.value, np.ndarray):
            continue
        target = as_target(event.value, shape)
        if target is None or set(np.unique(target)) - {0.0, 1.0}:
            continue
        if classes > 1 and not np.all(target.sum(axis=1 - axis) == 1):
            continue
        name, sides = case.text(site.node), np.shape(event.value)
        where = sides.index(accuracy.samples)
        text = f"len({name})" if where == 0 else f"{name}.shape[{where}]"
        return f"divide by {text}", (case.edit(node.right, text),)
    return "", ()


def _turns(case: Case, accuracy: Accuracy, node: ast.BinOp, count: int, said: str) -> tuple[str, tuple[Edit, ...]]:
    """The number of turns of the loop in which the hits or the shares are added up."""
    for loop in loops_over(case, count, accuracy):
        counted = _counted(loop.iter)
        if counted is not None and case.source_of(loop) is case.source_of(node):
            text = f"len({case.text(counted)})"
            return f"divide by {text}", (case.edit(node.right, text),)
    return f"divide by {said}", ()


def _counted(iterated: ast.expr) -> ast.expr | None:
    """What a loop goes through that has a length, if reading it once more has no effect."""
    if isinstance(iterated, ast.Call):
        name = getattr(iterated.func, "id", "")
        if name == "range":
            return iterated
        return _counted(iterated.args[0]) if name in ("zip", "enumerate", "reversed") and iterated.args else None
    return iterated if isinstance(iterated, (ast.Name, ast.Attribute, ast.Subscript)) else None
