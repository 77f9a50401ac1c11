"""BD317 gradient-without-labels: a parameter moves by what the labels have no part in.

What it does
------------
Finds a parameter whose step stays the same whatever the labels are, while
the slope of the loss does not: its gradient was made from a value of the
forward pass, where the delta of that layer belongs.

Why it is wrong
---------------
The gradient of a loss is a product with the error.  With delta dZ (N, H) and
incoming activations A (N, D) the weights have A.T @ dZ (D, H) and the bias
has dZ summed over N.  A.T @ Z has the same shape and passes without a word,
but no label went into it: the step cannot know what the network should have
answered.

Example
-------
The bias follows the sum of Z1 where dZ1 belongs::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    Y = np.eye(3)[(X @ rng.normal(size=(5, 3))).argmax(axis=1)]
    W1, b1 = 0.3 * rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2, b2 = 0.3 * rng.normal(size=(8, 3)), np.zeros((1, 3))
    for epoch in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        P = E / E.sum(axis=1, keepdims=True)
        print(epoch, -np.sum(Y * np.log(P + 1e-12)) / len(X))
        dZ2 = (P - Y) / len(X)
        dZ1 = dZ2 @ W2.T * (1 - A1**2)
        db1 = Z1.sum(axis=0, keepdims=True)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * db1

Use instead
-----------
The delta of the layer::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    Y = np.eye(3)[(X @ rng.normal(size=(5, 3))).argmax(axis=1)]
    W1, b1 = 0.3 * rng.normal(size=(5, 8)), np.zeros((1, 8))
    W2, b2 = 0.3 * rng.normal(size=(8, 3)), np.zeros((1, 3))
    for epoch in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        P = E / E.sum(axis=1, keepdims=True)
        print(epoch, -np.sum(Y * np.log(P + 1e-12)) / len(X))
        dZ2 = (P - Y) / len(X)
        dZ1 = dZ2 @ W2.T * (1 - A1**2)
        db1 = dZ1.sum(axis=0, keepdims=True)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * db1

How it is detected
------------------
One step is run with the labels as they are and with the labels of other
samples: what is added to the parameter is bit for bit the same.  The slope
of the loss along the parameter, from central differences, is another.

Fix safety
----------
The value that was taken is replaced by another array that the function has at
hand, if the line is the derivative of the parameter with it. The changed
program is examined again from another seed, and the fix is called verified
only if the finding is gone and no error is new.

Known limits
------------
- Only parameters are looked at to which the update adds something; what is
  made anew in each step is a state.
- A parameter that comes back by the same share in each element when it is
  moved counts as a running average.
- At least one other parameter has to have its gradient, so that the loss is
  known.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, equations BP3 and BP4.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.dependence import disturbed
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.rules._lines import Line
from backprop_doctor.rules._rewrites import mended
from backprop_doctor.values import is_real

SEVERITY = "error"
SAME = 1e-6


def examine(case: Case) -> Iterator[Sighting]:
    """Parameters that are added to, but by nothing in which the labels have a part."""
    for parameter in case.roles.parameters:
        update = case.trace.by_key[parameter.updates[-1]]
        if case.roles.on_labels[update.index] or case.gradient(parameter) is not None:
            continue
        slopes = _slopes(case, parameter)
        if slopes is None or abs(slopes[0] - slopes[1]) <= SAME * max(map(abs, slopes)):
            continue
        source = _source(case, parameter, update)
        node = case.program.sites[source.site].node
        name = case.program.sites[source.site].target or case.text(node)
        better = mended(Line.of_event(case, source, parameter))
        yield Sighting(
            node=node,
            message=f"the labels have no part in {name}, by which {parameter.name} moves: it is no gradient",
            label="no label goes into this",
            why="the gradient of a loss is a product with the error, and the error is made from the labels",
            evidence=(
                Evidence(
                    f"change of {name} when the labels are exchanged",
                    "0",
                    f"not 0: the slope of the loss goes from {slopes[0]:.3g} to {slopes[1]:.3g}",
                ),
            ),
            fix=better.text if better else "the error of the layer in place of a value of the forward pass",
            edits=better.edits if better else (),
            objects=(source.object, parameter.successor),
        )


def _slopes(case: Case, parameter: Parameter) -> tuple[float, float] | None:
    """How the loss moves along a parameter with the labels as they are and with others, by an error that is right."""
    tangent = case.measurement.tangents(parameter.birth)[0]
    for claim in case.judgement.claims:
        moved = tangent.derivatives.get(claim.of.birth)
        if not claim.right or moved is None or not np.any(moved):
            continue
        labels = case.roles.labels[0]
        other = case.measurement.run({labels.birth: _exchanged}, keep=frozenset({claim.value.birth}))
        errors = case.measurement.value(claim.value.birth), other.value(claim.value.birth)
        if all(np.shape(error) == np.shape(moved) for error in errors):
            return float(np.sum(errors[0] * moved)), float(np.sum(errors[1] * moved))
    return None


def _exchanged(labels: Any) -> Any:
    """The labels of other samples, where there are several here."""
    array = np.asarray(labels)
    rolled = np.roll(array, 1, axis=int(np.argmax(array.shape))) if array.ndim else array
    return disturbed(labels) if np.array_equal(rolled, array) else rolled


def _source(case: Case, parameter: Parameter, update: Event) -> Event:
    """What is added to a parameter, where it is made; the update itself if it is made there."""
    sites = case.program.sites
    statement = sites[update.site].statement
    for event in reversed(case.step_events):
        site = sites[event.site]
        before = event.index < update.index and site.statement is statement and site.kind == "load"
        if before and event.object != parameter.object:
            made = next((e for e in case.step_events if e.object == event.object), event)
            if is_real(event.value) and isinstance(sites[made.site].statement, (ast.Assign, ast.AugAssign)):
                return made
    return update
