"""BD313 bias-column-not-dropped: the error that comes back through a column of ones is passed on to the wrong units.

What it does
------------
Finds a delta that drops another row or column than the one of the bias,
where the bias is a row or column of ones among the units.

Why it is wrong
---------------
N samples, H units. With a column of ones in front, H = [1, A1] is (N, H +
1), and going back

    dH = dZ2 @ W2.T               (N, H + 1)

has one column for the ones, which no weight made and which leads nowhere:
it is dropped, and dH[:, 1:] of shape (N, H) goes on. dH[:, :-1] has the
same shape. It gives each unit the error of its neighbour, and the first one
the error of the ones.

Example (samples first)
-----------------------
The ones are the first column, and the last one is dropped::

    import numpy as np

    rng = np.random.default_rng(0)
    X = np.hstack([np.ones((200, 1)), rng.normal(size=(200, 20))])
    labels = (X @ rng.normal(size=(21, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1 = 0.3 * rng.normal(size=(21, 16))
    W2 = 0.3 * rng.normal(size=(17, 3))
    for step in range(12):
        A1 = np.tanh(X @ W1)
        H = np.hstack([np.ones((200, 1)), A1])
        Z2 = H @ W2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dH = dZ2 @ W2.T
        dZ1 = dH[:, :-1] * (1 - A1**2)
        dW2 = H.T @ dZ2
        dW1 = X.T @ dZ1
        W1 = W1 - 0.5 * dW1
        W2 = W2 - 0.5 * dW2
        print(step, loss)

Example (features first)
------------------------
The ones are the first row, and the last one is dropped::

    import numpy as np

    rng = np.random.default_rng(0)
    X = np.vstack([np.ones((1, 200)), rng.normal(size=(20, 200))])
    labels = (rng.normal(size=(3, 21)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1 = 0.3 * rng.normal(size=(16, 21))
    W2 = 0.3 * rng.normal(size=(3, 17))
    for step in range(12):
        A1 = np.tanh(W1 @ X)
        H = np.vstack([np.ones((1, 200)), A1])
        Z2 = W2 @ H
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dH = W2.T @ dZ2
        dZ1 = dH[:-1] * (1 - A1**2)
        dW2 = dZ2 @ H.T
        dW1 = dZ1 @ X.T
        W1 = W1 - 0.5 * dW1
        W2 = W2 - 0.5 * dW2
        print(step, loss)

Use instead (samples first)
---------------------------
The column of ones is dropped::

    import numpy as np

    rng = np.random.default_rng(0)
    X = np.hstack([np.ones((200, 1)), rng.normal(size=(200, 20))])
    labels = (X @ rng.normal(size=(21, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1 = 0.3 * rng.normal(size=(21, 16))
    W2 = 0.3 * rng.normal(size=(17, 3))
    for step in range(12):
        A1 = np.tanh(X @ W1)
        H = np.hstack([np.ones((200, 1)), A1])
        Z2 = H @ W2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dH = dZ2 @ W2.T
        dZ1 = dH[:, 1:] * (1 - A1**2)
        dW2 = H.T @ dZ2
        dW1 = X.T @ dZ1
        W1 = W1 - 0.5 * dW1
        W2 = W2 - 0.5 * dW2
        print(step, loss)

Use instead (features first)
----------------------------
The row of ones is dropped::

    import numpy as np

    rng = np.random.default_rng(0)
    X = np.vstack([np.ones((1, 200)), rng.normal(size=(20, 200))])
    labels = (rng.normal(size=(3, 21)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1 = 0.3 * rng.normal(size=(16, 21))
    W2 = 0.3 * rng.normal(size=(3, 17))
    for step in range(12):
        A1 = np.tanh(W1 @ X)
        H = np.vstack([np.ones((1, 200)), A1])
        Z2 = W2 @ H
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dH = W2.T @ dZ2
        dZ1 = dH[1:] * (1 - A1**2)
        dW2 = dZ2 @ H.T
        dW1 = dZ1 @ X.T
        W1 = W1 - 0.5 * dW1
        W2 = W2 - 0.5 * dW2
        print(step, loss)

How it is detected
------------------
In a line that is not the derivative it is used as, each slice that leaves
out one row or column is exchanged for the one that leaves out the other
end. If that turns an error above 1e-3 into one below 1e-5, the wrong end
was dropped.

Fix safety
----------
The slice is rewritten, as 1: or :-1. The changed program is examined again
from another seed, and the fix is called verified only if the finding is
gone and no error is new.

Known limits
------------
- Where nothing is dropped the shapes do not fit, and the program breaks by
  itself.
- A column that is dropped by np.delete or by a mask is judged, but reported
  as BD300.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.1.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, the four equations of backpropagation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Edit
from backprop_doctor.rules._lines import Line, wrong_lines

SEVERITY = "error"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """Leave out the other end in each slice that leaves out one row or column."""
    for line in case.once(wrong_lines):
        made = case.trace.by_key[line.value.birth]
        found = next((s for e in (*line.reads, made) if (s := _sighting(line, e, made=e is made))), None)
        if found is not None:
            yield found


def _sighting(line: Line, event: Event, *, made: bool) -> Sighting | None:
    case, site = line.case, line.case.program.sites[event.site]
    whole = next((e for e in case.children(event) if np.ndim(e.value) > 0), None)
    if not isinstance(site.node, ast.Subscript) or whole is None:
        return None
    full, part = np.asarray(case.value(whole.key)), np.asarray(case.value(event.key))
    axis = next((i for i in range(part.ndim) if _lacks_one(full.shape, part.shape, i)), None)
    if axis is None:
        return None
    first = np.array_equal(np.delete(full, 0, axis), part)
    other = np.delete(full, -1 if first else 0, axis)
    fit = line.fits(other) if made else line.with_value(event, other)
    if not fit.right:
        return None
    text = ":-1" if first else "1:"
    return Sighting(
        node=site.node,
        message=f"{case.text(site.node)} drops the {'first' if first else 'last'} of {full.shape[axis]}, and the one "
        f"that stands for the ones is the {'last' if first else 'first'}: {line.value.name} mixes up the units",
        label=f"the ones are at the {'end' if first else 'beginning'}",
        why="what comes back to the ones belongs to no unit; the rest goes on in the order of the units",
        evidence=line.evidence(f"the same with {text} in that place", fit),
        fix=text,
        edits=_edit(case, site.node, axis, text),
        objects=(line.value.object,),
    )


def _lacks_one(full: tuple[int, ...], part: tuple[int, ...], axis: int) -> bool:
    return len(full) == len(part) and (*full[:axis], full[axis] - 1, *full[axis + 1 :]) == part


def _edit(case: Case, node: ast.Subscript, axis: int, text: str) -> tuple[Edit, ...]:
    slices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return (case.edit(slices[axis], text),) if axis < len(slices) and isinstance(slices[axis], ast.Slice) else ()
