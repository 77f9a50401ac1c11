"""BD204 loss-broadcast-pair: outputs and labels of different shapes give every output less every label.

What it does
------------
Finds a difference (or a product) of outputs and labels in which one has an
axis more than the other, so that each output meets each label.

Why it is wrong
---------------
N samples. Broadcasting lines shapes up from the right:

    (N, 1) - (N,)   =   (N, 1) - (1, N)   =   (N, N)

Entry [i, j] is the output of sample i less the label of sample j. The mean
over all N * N of them is no error of a prediction: it is smallest when
every output is the mean of the labels. Nothing fails, and the number is a
number.

Example (samples first)
-----------------------
p is (120, 1) and y is (120,)::

    import numpy as np

    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 5))
    y = np.sin(X @ rng.normal(size=5))
    W1, b1 = rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2, b2 = rng.normal(size=(8, 1)), np.zeros((1, 1))
    for i in range(20):
        h = np.tanh(X @ W1 + b1)
        p = h @ W2 + b2
        cost = np.mean((p - y) ** 2)
        delta = 2 * (p - y[:, None]) / len(X)
        back = (delta @ W2.T) * (1 - h**2)
        W2 = W2 - 0.1 * h.T @ delta
        b2 = b2 - 0.1 * delta.sum(axis=0, keepdims=True)
        W1 = W1 - 0.1 * X.T @ back
        b1 = b1 - 0.1 * back.sum(axis=0, keepdims=True)
        print(i, cost)

Use instead (samples first)
---------------------------
y gets the axis that it lacks::

    import numpy as np

    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 5))
    y = np.sin(X @ rng.normal(size=5))
    W1, b1 = rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2, b2 = rng.normal(size=(8, 1)), np.zeros((1, 1))
    for i in range(20):
        h = np.tanh(X @ W1 + b1)
        p = h @ W2 + b2
        cost = np.mean((p - y[:, None]) ** 2)
        delta = 2 * (p - y[:, None]) / len(X)
        back = (delta @ W2.T) * (1 - h**2)
        W2 = W2 - 0.1 * h.T @ delta
        b2 = b2 - 0.1 * delta.sum(axis=0, keepdims=True)
        W1 = W1 - 0.1 * X.T @ back
        b1 = b1 - 0.1 * back.sum(axis=0, keepdims=True)
        print(i, cost)

How it is detected
------------------
Each operation of the step that takes an array of outputs and one of labels,
with as many entries each, and gives more than that. The shapes are those of
the run.

Fix safety
----------
The labels are given the shape of the outputs. The changed program is
examined again from another seed, and the fix is called verified only if the
finding is gone and no error is new.

Known limits
------------
- Differences of all pairs among outputs, or among labels, are left alone:
  they may be meant.
- With samples in columns, (1, N) and (N,) line up by themselves.

References
----------
- NumPy user guide, broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.rules._lines import wrong_lines

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Operations on as many outputs as labels that give more than that."""
    roles = case.roles
    seen: set[int] = set()
    for event in case.step_events:
        node = case.program.sites[event.site].node
        if event.site in seen or not isinstance(node, ast.BinOp) or isinstance(node.op, ast.MatMult):
            continue
        seen.add(event.site)
        operands = [e for e in case.children(event) if np.ndim(e.value)]
        if len(operands) != 2 or np.size(operands[0].value) != np.size(operands[1].value):
            continue
        labels = [e for e in operands if roles.on_labels[e.index] and not roles.on_parameters[e.index]]
        outputs = [e for e in operands if roles.forward(e) and roles.on_inputs[e.index]]
        if len(labels) != 1 or len(outputs) != 1 or np.size(event.value) <= np.size(labels[0].value):
            continue
        wrong = [n.value.object for n in case.once(wrong_lines) if n.link.given != "adjoint"]
        yield _sighting(case, event, outputs[0], labels[0], "output", (event.object, *wrong))
    yield from _compared(case)


def _compared(case: Case) -> Iterator[Sighting]:
    """Predictions and labels that are as many, and are asked each with each whether they are the same."""
    seen: set[int] = set()
    for event in case.short.events[case.roles.training.start :]:
        site = case.program.sites[event.site]
        if event.site in seen or not isinstance(site.node, ast.Compare) or not isinstance(site.node.ops[0], ast.Eq):
            continue
        operands = case.short.operands(event, site.children)
        sizes = {np.size(e.value) for e in operands}
        if len(operands) != 2 or len(sizes) > 1 or np.size(event.value) <= max(sizes):
            continue
        seen.add(event.site)
        flat = [e for e in operands if np.ndim(e.value) == 1]
        wide = [e for e in operands if np.ndim(e.value) == 2]
        # What is laid across on purpose says so.
        if len(flat) == 1 and len(wide) == 1 and not any(_is_laid_across(case, e) for e in operands):
            yield _sighting(case, event, wide[0], flat[0], "prediction", ())


def _is_laid_across(case: Case, event: Event) -> bool:
    node = case.program.sites[event.site].node
    return isinstance(node, ast.Subscript) and any(word in case.text(node.slice) for word in ("None", "newaxis"))


def _sighting(case: Case, event: Event, output: Event, label: Event, what: str, objects: tuple[int, ...]) -> Sighting:
    node = case.program.sites[event.site].node
    one, other = case.program.sites[label.site].node, case.program.sites[output.site].node
    given, wanted, made = np.shape(label.value), np.shape(output.value), np.shape(event.value)
    fitted = f"{case.text(one)}.reshape({_shape(case, output)})"
    return Sighting(
        node=node,
        message=f"{case.text(node)} takes every {what} with every label: {case.text(other)} {case.describe(wanted)} "
        f"and {case.text(one)} {case.describe(given)} give {case.describe(made)}",
        label=case.describe(made),
        why="shapes are lined up from the right, so that (N,) is taken as one row",
        evidence=(Evidence(f"entries of {case.text(node)}", f"{np.size(event.value)}", f"{np.size(label.value)}"),),
        fix=fitted,
        edits=(case.edit(one, fitted),) if isinstance(one, (ast.Name, ast.Attribute, ast.Subscript)) else (),
        objects=objects,
    )


def _shape(case: Case, output: Event) -> str:
    """The shape of an output as it may be written down: that of a name, or by its lengths of 1."""
    node = case.program.sites[output.site].node
    if isinstance(node, (ast.Name, ast.Attribute)):
        return f"{case.text(node)}.shape"
    return ", ".join("1" if n == 1 else "-1" for n in np.shape(output.value))
