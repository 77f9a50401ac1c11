"""BD605 label-encoding: class numbers or broken rows stand where one-hot labels are needed.

What it does
------------
Finds class numbers that are subtracted from an output with an entry for each
class, and label rows that do not name exactly one class.

Why it is wrong
---------------
The gradient of softmax and cross-entropy is A - Y with one-hot Y, both of
shape (N, C). Class numbers y of shape (N, 1) are stretched by broadcasting:

    A - y   has entries  A[i, c] - y[i]

which asks every class of sample i to have the probability y[i]. A one-hot row
that is all zero, as when classes count from 1 and one column is missing, asks
all probabilities to be 0, while they sum to 1.

Example (samples first)
-----------------------
y is (200, 1), and A2 is (200, 3)::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = (X @ rng.normal(size=(6, 3))).argmax(axis=1).reshape(-1, 1)
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(A2[np.arange(200), Y[:, 0]] + 1e-12))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
One-hot rows::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

How it is detected
------------------
The labels that meet the output in a difference are looked at. One whole
number a sample, above 1, against several entries of output is reported; so
are rows of 0 and 1 that do not sum to 1, if the output of each sample does.

Fix safety
----------
Class numbers become rows of np.eye where they meet the output, and nowhere
else: where they are an index they are right. Columns that were taken of a
one-hot table from a later one on are taken from the first on. Other labels
are left to the author. The changed program is examined again on other images.

Known limits
------------
- Class numbers that are used as an index are right, and silent.
- Several labels a sample are right for sigmoid outputs, and silent.
- Labels in other ranges than a single output can reach are not looked at.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.2.2.3: softmax units.
- NumPy user guide, broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.oracles.order import scrambled
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._words import numpy_name

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Class numbers where the output has a column for each class, or label rows that do not name one class."""
    output, axis = case.roles.output, case.axes.output_samples
    if output is None or axis is None or len(output.shape) != 2 or output.shape[1 - axis] < 2:
        return
    labels = _met(case, output)
    if labels is None:
        return
    event, difference = labels
    node = case.program.sites[difference.site].node
    statement = case.program.sites[difference.site].statement
    spoiled = tuple({e.object for e in case.events_in(statement) if case.roles.backward(e)})
    value = np.asarray(event.value, np.float64)
    classes, samples = output.shape[1 - axis], output.shape[axis]
    name = case.text(case.program.sites[event.site].node)
    whole = bool(np.all(np.isfinite(value)) and np.array_equal(value, np.round(value)))
    if whole and value.size == samples != output.shape[0] * output.shape[1] and value.max() > 1:
        yield Sighting(
            node=node,
            message=f"{name} holds class numbers up to {value.max():.0f}, and the output {output.name} has {classes} "
            "entries a sample",
            label="class numbers, not one-hot",
            why=f"the difference stretches the number over all {classes} entries: every entry is asked to become "
            "the class number",
            evidence=(
                Evidence(f"range of {name}", f"{value.min():.0f} to {value.max():.0f}", "0 to 1"),
                Evidence(f"entries a sample in {name}", "1", str(classes)),
            ),
            fix=f"one-hot labels: np.eye({classes})[...]",
            edits=_one_hot(case, event, classes, axis),
            objects=spoiled,
        )
    elif value.shape == output.shape and normalised_over(case) == "classes" and set(np.unique(value)) <= {0.0, 1.0}:
        sums = value.sum(axis=1 - axis)
        wrong = int(np.sum(sums != 1))
        if wrong == 0 or any(scrambled(case)):
            return
        yield Sighting(
            node=node,
            message=f"{wrong} of {samples} rows of {name} do not name exactly one class, and the output shares 1 among "
            "the classes",
            label="not one class a sample",
            why="softmax gives probabilities that sum to 1; labels that sum to 0 or 2 cannot be reached",
            evidence=(
                Evidence(f"sum of the label of a sample in {name}", f"{sums.min():.0f} to {sums.max():.0f}", "1"),
            ),
            fix=f"one-hot labels: np.eye({classes})[...], with classes from 0 to {classes - 1}",
            edits=_other_end(case, event, axis),
            objects=spoiled,
        )


def _one_hot(case: Case, labels: Event, classes: int, axis: int) -> tuple[Edit, ...]:
    """A row or column with a single one for each class number, where the numbers meet the output."""
    node, value = case.program.sites[labels.site].node, np.asarray(labels.value)
    numpy = numpy_name(case.source_of(node).tree)
    if not numpy or value.min() < 0 or value.max() >= classes or value.ndim > 2:
        return ()
    text = case.text(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else f"({case.text(node)})"
    if value.ndim == 2:
        text += "[0]" if value.shape[0] == 1 else "[:, 0]"
    text += "" if value.dtype.kind in "iu" else ".astype(int)"
    return (case.edit(node, f"{numpy}.eye({classes})[{text}]{'.T' if axis else ''}"),)


def _other_end(case: Case, labels: Event, axis: int) -> tuple[Edit, ...]:
    """The columns from the first on, wherever those from a later one on were taken of rows that name one class."""
    edits: list[Edit] = []
    for event in case.trace.events[: labels.index]:
        site = case.program.sites[event.site]
        if not isinstance(site.node, ast.Subscript) or np.ndim(event.value) != 2 or event.object == -1:
            continue
        parts = site.node.slice.elts if isinstance(site.node.slice, ast.Tuple) else [site.node.slice]
        part = parts[1 - axis] if len(parts) > 1 - axis else None
        whole = next((o.value for o in case.children(event) if np.ndim(o.value) == 2), None)
        if whole is None or not isinstance(part, ast.Slice) or part.lower is None or part.upper or part.step:
            continue
        left = np.take(whole, range(np.shape(event.value)[1 - axis]), axis=1 - axis)
        if np.shape(left) == np.shape(event.value) and all(
            np.all(np.sum(t, axis=1 - axis) == 1) for t in (whole, left)
        ):
            edits.append(case.edit(part, f":-{case.text(part.lower)}"))
    return tuple(dict.fromkeys(edits))


def _met(case: Case, output: Quantity) -> tuple[Event, Event] | None:
    """The labels that meet the output, or what has its shape, in one difference, and that expression."""
    roles = case.roles
    found: tuple[Event, Event] | None = None
    for event in case.step_events:
        site = case.program.sites[event.site]
        if event.index < output.index or site.kind != "operation" or np.shape(event.value) != output.shape:
            continue
        operands = case.children(event)
        if len(operands) != 2:
            continue
        labels = [o for o in operands if roles.on_labels[o.index] and not roles.on_parameters[o.index]]
        others = [o for o in operands if roles.forward(o) and np.shape(o.value) == output.shape]
        if labels and others and isinstance(labels[0].value, np.ndarray):
            if isinstance(site.node, ast.BinOp) and isinstance(site.node.op, ast.Sub):
                return labels[0], event
            found = found or (labels[0], event)
    return found
